"""Events with a field left empty, or with a word in it: the candidate makes of each what the deployed release's own wheel makes
of it (check 6).

What a release recorded of an event has every field filled, with values that mean nothing; a branch for an empty field, or for
a word that the service knows (`words`), shows only beside the release itself.
"""

import asyncio
import itertools
import re
import tempfile
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import Message

from breakwater.compat import events, messages, wheels, world
from breakwater.compat.artifacts import ArtifactError, Release
from breakwater.compat.candidate import Candidate, CandidateError, running
from breakwater.compat.checks.events import DIMENSION, Party
from breakwater.compat.checks.words import Word, Words
from breakwater.compat.events import Event
from breakwater.compat.interface import EventInterface
from breakwater.compat.messages import Leaf, Messages
from breakwater.compat.peers import standing_in
from breakwater.compat.vectors import ACCEPT, REJECT
from breakwater.compat.verdict import CheckResult, Finding, Verdict
from breakwater.compat.world import World
from breakwater.local.topology import PROCESSES

LATER_TIMEOUT_S = 3.0
"""How long rows are looked at again for what a service does after it took an event in."""
_POLL_S = 0.1
INT_MAX = 2**31 - 1
"""The largest number that every field for one takes."""

Made = frozenset[frozenset[str]] | None
"""The used fields of an event whose values a service's rows show, those of one row together; None where it refused it.

Together, as a value may show elsewhere as well: a customer who is known is not yet the customer of the invoice.
"""


@dataclass(frozen=True, slots=True)
class Edit:
    """What differs from a sample; nothing where neither is given."""

    empty: str = ""
    """The path of the field that is left empty."""
    words: tuple[tuple[str, Word], ...] = ()
    """What is said, each with the path of its field."""

    def apply(self, message: Message) -> None:
        """Edits a sample."""
        if self.empty:
            messages.clear(message, self.empty)
        for path, word in self.words:
            messages.say(message, path, word)

    def leaves(self, path: str) -> bool:
        """Whether the field at `path` keeps the value of its own."""
        return path not in dict(self.words) and not (self.empty and f"{path}.".startswith(f"{self.empty}."))

    def __str__(self) -> str:
        """For a sentence: `with stage Closed Won and kind Existing Business `; empty for a whole event."""
        said = " and ".join(f"{path} {word}" for path, word in self.words)
        return f"with {said} " if said else f"with {self.empty} left empty " if self.empty else ""


@dataclass(frozen=True, slots=True)
class Sparse:
    """An event of a deployed publisher with one field left empty, or with words in one or two; or whole, to see that all else
    works.
    """

    publisher: Party
    type: str
    edit: Edit
    event: Event
    shown: Mapping[str, str]
    """How the value of each used field shows in rows, by path. No two events share a value."""


def of(tree: Messages, before: EventInterface, providers: Sequence[Party], spoken: Words) -> list[Sparse]:
    """Each event that the deployed release takes in: whole, with each of its fields left empty, with `spoken` in its fields."""
    found: list[Sparse] = []
    for event_type, old in before.consumes.items():
        party = next((each for each in providers if event_type in each.interface.publishes), None)
        if party is None or not tree.has(event_type):
            continue
        for edit in _edits(tree.sample(event_type)[1], spoken):
            body, leaves = tree.sample(event_type, len(found) + 1)
            edit.apply(body)
            published = party.interface.publishes[event_type].renewed()
            event = Event(published.subject, published.headers, body.SerializeToString())
            left = [leaf for leaf in leaves if edit.leaves(leaf.path)]
            shown = {leaf.path: leaf.shown for leaf in left if leaf.shown and leaf.path in old.uses}
            found.append(Sparse(party, event_type, edit, event, shown))
    return found


def _edits(leaves: Sequence[Leaf], spoken: Words) -> Iterator[Edit]:
    yield Edit()
    paths = {leaf.path for leaf in leaves}
    # A message on the way to a field may be missing as a whole.
    outer = {path[: end.start()] for path in paths for end in re.finditer(r"\.", path)}
    yield from (Edit(empty=empty) for empty in sorted(paths | outer))
    told = [
        [
            (leaf.path, word)
            for word in sorted(spoken.get(leaf.path.rpartition(".")[2], ()), key=str)
            if _fits(leaf, word)
        ]
        for leaf in leaves
    ]
    # Two at a time: a branch may hang on both.
    yield from (Edit(words=(one,)) for one in itertools.chain(*told))
    yield from (Edit(words=pair) for a, b in itertools.combinations(told, 2) for pair in itertools.product(a, b))


def _fits(leaf: Leaf, word: Word) -> bool:
    return type(word) is leaf.kind and (isinstance(word, str) or 0 <= word <= INT_MAX)


@contextmanager
def unpacked(release: Release) -> Iterator[Path]:
    """The tree of a release's wheel. Raises `WheelError`."""
    with tempfile.TemporaryDirectory(prefix="breakwater-release-") as place:
        yield wheels.unpack(release.wheel, Path(place) / "wheel")


@asynccontextmanager
async def by_release(
    place: World, tree: Path, release: Release, before: EventInterface, sent: Sequence[Sparse]
) -> AsyncIterator[asyncio.Task[list[Made]]]:
    """What the release that runs from `tree` makes of what is `sent`, found out beside whatever the block does.

    The task raises `ArtifactError` where the release does not run, or takes in less than it was released with.
    """
    task = asyncio.create_task(_by_release(place, tree, release, before, sent))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _by_release(
    place: World, tree: Path, release: Release, before: EventInterface, sent: Sequence[Sparse]
) -> list[Made]:
    service, said = release.service, f"{release.service} {release.version}, run from its released wheel,"
    try:
        # A NATS and neighbours of its own: the candidate's must not see what it does.
        async with (
            world.with_own_nats(place) as own,
            standing_in(name for name in PROCESSES if name != service) as peers,
        ):
            await events.prepare_streams(own)
            settings = {"ENVIRONMENT": "production"}
            async with running(own, tree, service, peers.addresses, settings=settings) as deployed:
                await events.consumed(own, service, len(before.consumes))
                made = await _made(own, deployed, service, sent)
    except CandidateError as error:
        raise ArtifactError(f"{said} fails: {error}") from error
    refused = [each.type for each, now in zip(sent, made, strict=True) if each.edit == Edit() and now is None]
    if refused:
        raise ArtifactError(f"{said} does not take in {', '.join(refused)}")
    return made


async def taken_in(
    place: World,
    candidate: Candidate,
    service: str,
    version: str,
    sent: Sequence[Sparse],
    before: Sequence[Made],
    approved: Collection[str] = (),
) -> CheckResult:
    """What the running candidate makes of sparse events, beside what the release of `version` made of each.

    The values of an `approved` type of event may lie in several rows from now on.
    """
    rules = [_scattered(then) if each.type in approved else then for each, then in zip(sent, before, strict=True)]
    now = await _made(place, candidate, service, sent, rules)
    found = []
    for each, then, made in zip(sent, rules, now, strict=True):
        # What is taken in that was refused is no loosening: it is the publisher's own message, nobody spoilt it.
        lost = _lost(then, made)
        if not lost:
            continue
        kept = made is not None and not _lost(_scattered(then), made)
        cure = f"Make of it what {version} does" + (f", have `apart: {each.type}` approved" if kept else "")
        subject = f"{each.publisher.name} {each.publisher.version}"
        detail = f"publishes {each.type}; {each.edit}{service} {lost}"
        found.append(Finding(Verdict.BREAKING, DIMENSION, subject, detail, f"{cure}, or stay on {version}."))
    return CheckResult(f"sparse events taken in, beside {version}", len(sent), tuple(found))


def _scattered(made: Made) -> Made:
    """The same values, wherever they lie."""
    return None if made is None else frozenset(frozenset({path}) for row in made for path in row)


async def _made(
    place: World, candidate: Candidate, service: str, sent: Sequence[Sparse], expected: Sequence[Made] = ()
) -> list[Made]:
    hoped = [REJECT if each is None else ACCEPT for each in expected]
    labels = await events.take(place, candidate, service, [each.event for each in sent], hoped)
    deadline_s = time.monotonic() + LATER_TIMEOUT_S
    while True:
        rows = await events.rows_text(place, candidate, service)
        made = [_shown(each, rows) if label == ACCEPT else None for each, label in zip(sent, labels, strict=True)]
        late = any(now is not None and _lost(then, now) for then, now in zip(expected, made, strict=False))
        if not late or time.monotonic() > deadline_s:
            return made
        await asyncio.sleep(_POLL_S)


def _shown(sparse: Sparse, rows: str) -> Made:
    found = (
        frozenset(path for path, shown in sparse.shown.items() if shown in row and _is_whole(shown, row))
        for row in rows.splitlines()
    )
    return frozenset(each for each in found if each)


def _is_whole(shown: str, row: str) -> bool:
    # A number within a longer one, such as a row's own time, is none.
    end = r"(?!\d)" if shown[-1].isdigit() else ""
    return re.search(rf"(?<!\d){re.escape(shown)}{end}", row) is not None


def _lost(then: Made, now: Made) -> str:
    """What the candidate does no more, in words; empty where it does all that was done."""
    if then is None:
        return ""
    if now is None:
        return "refuses it"
    gone = frozenset().union(*then) - frozenset().union(*now)
    if gone:
        return f"makes nothing of {', '.join(sorted(gone))} any more"
    apart = [sorted(row) for row in then if not any(row <= each for each in now)]
    return f"keeps {', '.join(min(apart))} in no one row any more" if apart else ""
