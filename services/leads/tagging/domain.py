"""What texts are tagged with, as an organisation's dictionary says (11, 71). Pure.

services/leads/tagging/README.md describes the format.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from breakwater.chassis.errors import FieldError, InvalidRequestError
from services.leads.documents.domain import DocumentReader
from services.leads.followups.domain import FORWARD
from services.leads.intake.domain import OPEN_STAGES, Stage
from services.leads.tagging.matching import WORD_CHARS_MAX, Matcher, fold

TAGS = "tags"
"""The kind of document the dictionary is."""

TEXT_CHARS_MAX = 20_000
"""Of a text: more than an hour of speech."""
TAGS_MAX = 500
WORDS_OF_TAG_MAX = 200
WORDS_MAX = 10_000

_TAG_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_TAG_KEYS = frozenset({"id", "title", "words", "stage", "pain"})


class Kind(StrEnum):
    """Where a text comes from."""

    CALL = "call"
    EMAIL = "email"
    CHAT = "chat"


@dataclass(frozen=True, slots=True)
class Tag:
    """One entry of the dictionary."""

    id: str
    title: str
    words: tuple[str, ...]
    stage: Stage | None
    """A lead whose group chat has one of the words is at least there (71)."""
    pain: bool
    """Goes to the customer's profile (12)."""


@dataclass(frozen=True, slots=True)
class Highlight:
    """A word in a text; offsets count code points of the text as it was given."""

    tag: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FoundTag:
    """A tag, and how often its words were found."""

    id: str
    title: str
    count: int


@dataclass(frozen=True, slots=True)
class Tagged:
    """What was found in a text."""

    dictionary_version: int
    tags: tuple[FoundTag, ...]
    """The most frequent first."""
    highlights: tuple[Highlight, ...]
    """As they stand in the text."""
    pain_tags: tuple[str, ...]
    stage: Stage | None
    """The furthest stage a found tag speaks for."""
    stage_tags: tuple[str, ...]
    """Titles of those tags that speak for a stage."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A text of a lead with its tags, as it is kept."""

    id: str
    lead_id: str
    customer_id: str
    author_id: str
    kind: Kind
    text: str
    occurred_at: datetime
    dictionary_version: int
    tags: tuple[FoundTag, ...]
    highlights: tuple[Highlight, ...]
    pain_tags: tuple[str, ...] = ()


class Dictionary:
    """One version."""

    def __init__(self, version: int, tags: tuple[Tag, ...]) -> None:
        self.version = version
        self._tags = tags
        of_word = {fold(word): tag for tag in tags for word in tag.words}
        self._tag_of = tuple(of_word.values())
        self._matcher = Matcher(tuple(of_word))

    def tag(self, text: str) -> Tagged:
        """Everything the dictionary finds in a text."""
        matches = self._matcher.find(text)
        counts: dict[str, int] = {}
        for match in matches:
            tag_id = self._tag_of[match.word].id
            counts[tag_id] = counts.get(tag_id, 0) + 1
        found = sorted((tag for tag in self._tags if tag.id in counts), key=lambda tag: (-counts[tag.id], tag.id))
        stages = [tag.stage for tag in found if tag.stage is not None]
        return Tagged(
            self.version,
            tuple(FoundTag(tag.id, tag.title, counts[tag.id]) for tag in found),
            tuple(Highlight(self._tag_of[match.word].id, match.start, match.end) for match in matches),
            tuple(tag.title for tag in found if tag.pain),
            max(stages, key=FORWARD.index) if stages else None,
            tuple(tag.title for tag in found if tag.stage is not None),
        )


def check_text(text: str) -> str:
    """The text; raises InvalidRequestError when there is none, or too much. It is kept as it is, for offsets count in it."""
    if not text.strip():
        raise InvalidRequestError("There is no text.", errors=[FieldError("text", "is mandatory")])
    if len(text) > TEXT_CHARS_MAX:
        reason = f"is longer than {TEXT_CHARS_MAX} characters"
        raise InvalidRequestError("The text is too long.", errors=[FieldError("text", reason)])
    if "\0" in text:
        raise InvalidRequestError("The text cannot be kept.", errors=[FieldError("text", "holds a NUL character")])
    return text


def read_dictionary(document: Mapping[str, Any], version: int) -> Dictionary:
    """The dictionary of a document; raises InvalidRequestError with one error a place, such as `tags[2].words[0]`."""
    reader = DocumentReader()
    reader.only(document, {"tags"})
    tags: list[Tag] = []
    ids: set[str] = set()
    owners: dict[str, str] = {}
    for place, entry in reader.entries(document, "tags", "", TAGS_MAX):
        tag = _tag(reader, place, entry)
        if tag.id in ids:
            reader.wrong(f"{place}.id", f"{tag.id!r} is there twice")
        ids.add(tag.id)
        for index, word in enumerate(tag.words):
            _claim(reader, f"{place}.words[{index}]", word, tag.id, owners)
        tags.append(tag)
    if len(owners) > WORDS_MAX:
        reader.wrong("tags", f"have more than {WORDS_MAX} words together")
    reader.raise_errors("The dictionary cannot be taken.", "invalid_dictionary")
    return Dictionary(version, tuple(tags))


def _claim(reader: DocumentReader, place: str, word: str, tag_id: str, owners: dict[str, str]) -> None:
    """A word speaks for one tag, whatever its width and case."""
    folded = fold(word)
    if not folded.strip():
        reader.wrong(place, "has nothing that can be seen")
    elif len(folded) > WORD_CHARS_MAX:
        reader.wrong(place, f"is longer than {WORD_CHARS_MAX} characters once taken apart")
    elif folded in owners:
        reader.wrong(place, f"{word!r} is a word of {owners[folded]!r} already")
    else:
        owners[folded] = tag_id


def _tag(reader: DocumentReader, place: str, entry: Mapping[str, Any]) -> Tag:
    reader.only(entry, _TAG_KEYS, place)
    tag_id = reader.text(entry, "id", place, 40)
    if tag_id and not _TAG_ID.fullmatch(tag_id):
        reader.wrong(f"{place}.id", "must be lower-case letters, digits and hyphens")
    stage = reader.text(entry, "stage", place, 20, blank=True)
    if stage and stage not in OPEN_STAGES:
        reader.wrong(f"{place}.stage", f"must be one of {', '.join(FORWARD)}")
        stage = ""
    pain = entry.get("pain", False)
    if not isinstance(pain, bool):
        reader.wrong(f"{place}.pain", "must be true or false")
    return Tag(
        id=tag_id,
        title=reader.text(entry, "title", place, WORD_CHARS_MAX),
        words=reader.texts(entry, "words", place, WORDS_OF_TAG_MAX, WORD_CHARS_MAX, least=1),
        stage=Stage(stage) if stage else None,
        pain=pain is True,
    )
