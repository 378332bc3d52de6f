"""Reading, trying and changing the words of messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from breakwater.chassis.clock import Clock
from breakwater.chassis.errors import InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role
from services.notify.templates.domain import Template, Wordbook

VERSIONS_MAX: Final = 50
_AUTHORS: Final = frozenset({Role.MANAGER, Role.ADMIN})


class TemplateBook(Protocol):
    """Where templates are kept."""

    async def wordbook(self) -> Wordbook: ...

    async def versions(self, name: str, language: str, limit: int) -> Sequence[Template]: ...

    async def change(self, template: Template, by: str, at: datetime) -> Template: ...


@dataclass(frozen=True, slots=True)
class Wording:
    """The verbs of this capability."""

    book: TemplateBook
    clock: Clock

    async def show(self) -> Wordbook:
        """Every template in force."""
        return await self.book.wordbook()

    async def versions(self, name: str, language: str) -> Sequence[Template]:
        """The newest `VERSIONS_MAX` versions, down to the one that came with the service. Raises `NotFoundError`."""
        words = await self.book.wordbook()
        if (name, language) not in words.templates:
            raise NotFoundError("no such template")
        return await self.book.versions(name, language, VERSIONS_MAX)

    async def preview(self, name: str, language: str, title: str, body: str) -> tuple[str, str]:
        """The words as they would look with the sample's values; empty ones are those in force.

        Raises `InvalidRequestError` naming the fields.
        """
        words = await self.book.wordbook()
        current = words.templates.get((name, language))
        template = Template(
            name,
            language,
            title or (current.title if current else ""),
            body or (current.body if current else ""),
        )
        _require(words, template)
        return template.render(words.samples[name])

    async def change(self, actor: Actor, template: Template) -> Template:
        """The next version, in force at once. Raises `InvalidRequestError`, `PermissionDeniedError`."""
        if actor.role not in _AUTHORS:
            raise PermissionDeniedError("only managers and administrators change templates")
        _require(await self.book.wordbook(), template)
        return await self.book.change(template, actor.sub, self.clock.now())


def _require(words: Wordbook, template: Template) -> None:
    faults = words.faults(template.name, template.language, template.title, template.body)
    if faults:
        raise InvalidRequestError("the template cannot be used as it is", errors=faults)
