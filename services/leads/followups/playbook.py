"""The playbook: what follow-ups are held to and what quick actions fill, as an organisation decides it (10, 60).

Pure. services/leads/followups/README.md describes the format.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from services.leads.documents.domain import DocumentReader
from services.leads.followups.domain import (
    COLUMN_CHARS_MAX,
    COLUMNS,
    FORWARD,
    NO_PAIN,
    PAIN_TAG_CHARS_MAX,
    FollowUp,
    Standards,
)
from services.leads.intake.domain import OPEN_STAGES, Stage

PLAYBOOK = "playbook"
"""The kind of document it is."""

ACTIONS_MAX = 200
OBJECTIONS_MAX = 50
VAGUE_WORDS_MAX = 200
WORD_CHARS_MAX = 30
PAIN_TAGS_MAX_MAX = 10
MANDATORY_COLUMNS_MIN = 3
"""Of the five columns so many must be mandatory (9)."""
DUE_AFTER_H_MAX = 2_000

_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_KEYS = frozenset({"mandatory_columns", "objections", "pain_tags_max", "vague_words", "actions"})
_ACTION_TEXTS: Mapping[str, int] = {
    "name": 60,
    "goal": COLUMN_CHARS_MAX,
    "customer_words": COLUMN_CHARS_MAX // 2,
    "script": COLUMN_CHARS_MAX,
    "next_action": COLUMN_CHARS_MAX,
    "objection": WORD_CHARS_MAX,
}
_ACTION_KEYS = frozenset({"code", "stage", "due_after_h", "pain_tag", "blocker", *_ACTION_TEXTS})


@dataclass(frozen=True, slots=True)
class QuickAction:
    """What one code fills of a follow-up (60)."""

    code: str
    name: str
    goal: str
    customer_words: str
    script: str
    """What was said, or is to be said: 我方回应."""
    next_action: str
    due_after_h: int
    """Business hours of the author's team until the next action is due."""
    objection: str
    stage: Stage | None = None
    """The lead is at least there after it."""
    pain_tag: str = NO_PAIN
    """Taken when no keyword is given."""
    blocker: str = ""

    def fill(self, keyword: str, due: datetime) -> FollowUp:
        """The whole record; the keyword stands beside the customer's words, and is the pain tag."""
        return FollowUp(
            goal=self.goal,
            customer_words=f"{self.customer_words}：{keyword}" if keyword else self.customer_words,
            our_response=self.script,
            next_action=self.next_action,
            next_action_due=due,
            blocker=self.blocker,
            objection=self.objection,
            pain_tags=(keyword or self.pain_tag,),
            action_code=self.code,
        )


@dataclass(frozen=True, slots=True)
class Playbook:
    """One version."""

    version: int
    standards: Standards
    vague_words: tuple[str, ...]
    """Words that commit nobody to anything (13)."""
    actions: Mapping[str, QuickAction]
    """By code."""


def read_playbook(document: Mapping[str, Any], version: int, *, strict: bool = False) -> Playbook:
    """The playbook of a document; raises InvalidRequestError with one error a place, such as `actions[2].code`.

    `strict`, for new documents: every action fills the columns that are mandatory.
    """
    reader = DocumentReader()
    reader.only(document, _KEYS)
    columns = reader.texts(document, "mandatory_columns", "", len(COLUMNS), 40, least=MANDATORY_COLUMNS_MIN)
    for index, name in enumerate(columns):
        if name not in COLUMNS:
            reader.wrong(f"mandatory_columns[{index}]", f"must be one of {', '.join(COLUMNS)}")
    objections = reader.texts(document, "objections", "", OBJECTIONS_MAX, WORD_CHARS_MAX, least=1)
    standards = Standards(
        mandatory_columns=frozenset(columns),
        objections=objections,
        pain_tags_max=reader.number(document, "pain_tags_max", "", 1, PAIN_TAGS_MAX_MAX),
    )
    vague_words = reader.texts(document, "vague_words", "", VAGUE_WORDS_MAX, WORD_CHARS_MAX)
    actions: dict[str, QuickAction] = {}
    for place, entry in reader.entries(document, "actions", "", ACTIONS_MAX):
        action = _action(reader, place, entry, objections, needs_blocker=strict and "blocker" in columns)
        if action.code in actions:
            reader.wrong(f"{place}.code", f"{action.code!r} is there twice")
        actions[action.code] = action
    reader.raise_errors("The playbook cannot be taken.", "invalid_playbook")
    return Playbook(version, standards, vague_words, MappingProxyType(actions))


def _action(
    reader: DocumentReader, place: str, entry: Mapping[str, Any], objections: tuple[str, ...], *, needs_blocker: bool
) -> QuickAction:
    reader.only(entry, _ACTION_KEYS, place)
    code = reader.text(entry, "code", place, 40)
    if code and not _CODE.fullmatch(code):
        reader.wrong(f"{place}.code", "must be lower-case letters, digits and hyphens")
    texts = {name: reader.text(entry, name, place, most) for name, most in _ACTION_TEXTS.items()}
    if texts["objection"] and texts["objection"] not in objections:
        reader.wrong(f"{place}.objection", f"is none of {'、'.join(objections)}")
    stage = reader.text(entry, "stage", place, 20, blank=True)
    if stage and stage not in OPEN_STAGES:
        # An end needs a reason, which a code cannot know.
        reader.wrong(f"{place}.stage", f"must be one of {', '.join(FORWARD)}")
        stage = ""
    return QuickAction(
        code=code,
        stage=Stage(stage) if stage else None,
        due_after_h=reader.number(entry, "due_after_h", place, 1, DUE_AFTER_H_MAX),
        blocker=reader.text(entry, "blocker", place, COLUMN_CHARS_MAX, blank=not needs_blocker),
        pain_tag=reader.text(entry, "pain_tag", place, PAIN_TAG_CHARS_MAX, blank=True) or NO_PAIN,
        **texts,
    )
