"""Templates on disk: `templates/NAME/VERSION/` with `template.typ`, `schema.json` and what they show, such as a logo.

A version is a whole number, the newest is the largest. What a version made once it makes again: its folder never changes
(its hash is kept in each document's record), a change is a new folder.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.files.documents.domain import Field, Kind, Stamp, UnknownTemplateError

FOLDER: Final = Path(__file__).with_name("templates")
SOURCE: Final = "template.typ"
FILES_MAX: Final = 20
SIZE_BYTES_MAX: Final = 1024 * 1024
"""Of all files of a version together."""

_VERSION = re.compile(r"[1-9][0-9]{0,5}")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,40}")
_PACKAGE = re.compile(rb'"@')


class TemplateRefusedError(Exception):
    """A template that is too large, leaves its folder or asks for a package."""


@dataclass(frozen=True, slots=True)
class Template:
    """A version of a template: its folder, from which it cannot read further, and what it takes."""

    stamp: Stamp
    folder: Path
    schema: Mapping[str, Field]

    @property
    def source(self) -> Path:
        return self.folder / SOURCE


def load(name: str, version: str, folder: Path = FOLDER) -> Template:
    """A version of a template, the newest one for "". Raises UnknownTemplateError, TemplateRefusedError."""
    home = folder / name if _NAME.fullmatch(name) else folder / "-"
    there = sorted((path.name for path in home.glob("*") if _VERSION.fullmatch(path.name)), key=int)
    if not there:
        raise UnknownTemplateError(f"There is no template {name[:60]!r}.")
    chosen = version or there[-1]
    if chosen not in there:
        raise UnknownTemplateError(f"Template {name} has no version {version[:20]!r}; there are {', '.join(there)}.")
    home = home / chosen
    return Template(Stamp(name, chosen, _hash(home)), home, _schema(home))


def _hash(home: Path) -> str:
    files = sorted(path for path in home.rglob("*") if not path.is_dir())
    if len(files) > FILES_MAX:
        raise TemplateRefusedError(f"{home} has more than {FILES_MAX} files")
    if any(path.is_symlink() for path in home.rglob("*")):
        raise TemplateRefusedError(f"{home} has a link, which may lead out of it")
    digest, size_bytes = hashlib.sha256(), 0
    for path in files:
        size_bytes += path.stat().st_size
        if size_bytes > SIZE_BYTES_MAX:
            raise TemplateRefusedError(f"{home} has more than {SIZE_BYTES_MAX} bytes")
        content = path.read_bytes()
        if path.suffix == ".typ" and _PACKAGE.search(content):
            raise TemplateRefusedError(f"{path} asks for a package; nothing is fetched while a document is made")
        name = path.relative_to(home).as_posix().encode()
        digest.update(b"%d %b %d " % (len(name), name, len(content)) + content)
    return digest.hexdigest()


def _schema(home: Path) -> dict[str, Field]:
    fields = json.loads((home / "schema.json").read_bytes())
    return {
        name: Field(Kind(each["kind"]), each["characters_max"], each.get("items_max", 0))
        for name, each in fields.items()
    }
