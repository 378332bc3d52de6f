"""Templates in PostgreSQL: every version stays, the newest of each is used."""

from collections.abc import Sequence
from datetime import datetime

from asyncpg import Record

from breakwater.chassis.database import Database, Reader, UniqueViolationError
from breakwater.chassis.errors import ConflictError
from services.notify.templates.domain import Template, Wordbook

_CURRENT = """
SELECT DISTINCT ON (name, language) name, language, version, title, body, changed_by, changed_at
FROM templates ORDER BY name, language, version DESC
"""
_VERSIONS = """
SELECT name, language, version, title, body, changed_by, changed_at
FROM templates WHERE name = $1 AND language = $2 ORDER BY version DESC LIMIT $3
"""
# Of two at once the key lets one through.
_CHANGE = """
INSERT INTO templates (name, language, version, title, body, changed_by, changed_at)
SELECT $1, $2, coalesce(max(version), 0) + 1, $3, $4, $5, $6 FROM templates WHERE name = $1 AND language = $2
RETURNING name, language, version, title, body, changed_by, changed_at
"""


async def wordbook_of(reader: Reader, defaults: Wordbook) -> Wordbook:
    """The words in force."""
    found = [_template(row) for row in await reader.fetch(_CURRENT)]
    return defaults.changed({(each.name, each.language): each for each in found})


class TemplateStore:
    """The templates for requests."""

    def __init__(self, database: Database, defaults: Wordbook) -> None:
        self._database = database
        self._defaults = defaults

    async def wordbook(self) -> Wordbook:
        """The words in force."""
        async with self._database.read() as reader:
            return await wordbook_of(reader, self._defaults)

    async def versions(self, name: str, language: str, limit: int) -> Sequence[Template]:
        """The newest changes of one template, then the words it came with."""
        async with self._database.read() as reader:
            changes = [_template(row) for row in await reader.fetch(_VERSIONS, name, language, limit)]
        return [*changes, self._defaults.templates[name, language]]

    async def change(self, template: Template, by: str, at: datetime) -> Template:
        """Stores the next version."""
        given = (template.name, template.language, template.title, template.body, by, at)
        try:
            async with self._database.transaction() as tx:
                [row] = await tx.fetch(_CHANGE, *given)
        except UniqueViolationError:
            raise ConflictError("somebody else changed the template at the same time") from None
        return _template(row)


def _template(row: Record) -> Template:
    return Template(**dict(row))
