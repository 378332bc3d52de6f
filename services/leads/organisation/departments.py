"""Departments of a directory export as teams, and the words it names supervisors by as ids (4). Pure."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.leads.organisation.domain import HIERARCHY_DEPTH_MAX, Person

_WITH_ID = re.compile(r"(.+?)\s*[(（]\s*(.+?)\s*[)）]")
"""王芳(wangfang)"""


@dataclass(frozen=True, slots=True)
class Department:
    """A department as a team. `id` follows from the whole path, so that the same department is the same team again."""

    id: str
    name: str
    parent_id: str


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of one person and one department of theirs."""

    team_id: str
    person_id: str
    is_head: bool


def departments_of(path: Sequence[str]) -> list[Department]:
    """The department of a path and those above it, from the top; raises ValueError for one that is too deep."""
    if len(path) >= HIERARCHY_DEPTH_MAX:
        raise ValueError(f"has more than {HIERARCHY_DEPTH_MAX - 1} levels")
    found: list[Department] = []
    for depth, name in enumerate(path, start=1):
        digest = hashlib.sha256("\x1f".join(path[:depth]).encode()).hexdigest()[:20]
        found.append(Department(f"dept-{digest}", name[:120], found[-1].id if found else ""))
    return found


def settled(people: Iterable[Person], everybody: Mapping[str, Person]) -> list[Person]:
    """Those of `people` whose supervisor is named by a word for exactly one of `everybody`, with the id in its place.

    A word is an id, a name, an e-mail, or a name with the id in brackets. A word for nobody, or for two, stays as it is:
    it is resolved when its person comes, and is a finding until then.
    """
    names = Counter(person.name for person in everybody.values())
    ids = {person.name: person.id for person in everybody.values() if names[person.name] == 1}
    ids |= {person.email: person.id for person in everybody.values() if person.email}
    changed = []
    for person in people:
        word = person.supervisor_id
        if not word or word in everybody:
            continue
        supervisor_id = _named(word, ids, everybody)
        if supervisor_id and supervisor_id != person.id:
            changed.append(replace(person, supervisor_id=supervisor_id))
    return changed


def _named(word: str, ids: Mapping[str, str], everybody: Mapping[str, Person]) -> str:
    match = _WITH_ID.fullmatch(word)
    if match is None:
        return ids.get(word, "")
    name, inner = match.groups()
    return inner if inner in everybody else ids.get(name, "")
