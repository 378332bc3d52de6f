"""Several notifications in one message. Pure.

Whatever waits for one person when a message can be sent goes into it: without pressure each leaves by itself, under pressure
they gather. What an import brings is held until it has ended, so that it is one message for each owner (1).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from services.notify.templates.domain import Wordbook, cut

LINES_MAX: Final = 10
"""Notifications named in a digest; of the rest it says how many."""
LINE_CHARS_MAX: Final = 40
"""Of each title: ten of them and the last line stay within the 2,048 bytes of a WeCom message."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a person reads."""

    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Holding:
    """How long what belongs together is held."""

    held_max: timedelta = timedelta(minutes=30)
    """After its first notification, for a cause that never says that it has ended."""
    quiet: timedelta = timedelta(seconds=5)
    """After its end, and after each that comes later: events of one import may overtake its last word."""


def compose(items: Sequence[Text], words: Wordbook, language: str, *, doubtful: bool) -> Text:
    """One message of all items, the most urgent first; `doubtful` says that an earlier try may have arrived."""
    if len(items) == 1:
        text = items[0]
    else:
        lines = [f"{number}. {cut(item.title, LINE_CHARS_MAX)}" for number, item in enumerate(items[:LINES_MAX], 1)]
        if len(items) > LINES_MAX:
            lines.append(words.render("digest_more", language, {"more": str(len(items) - LINES_MAX)})[1])
        text = Text(*words.render("digest", language, {"count": str(len(items)), "lines": "\n".join(lines)}))
    if not doubtful:
        return text
    title, note = words.render("doubtful", language, {"title": text.title})
    return Text(title, f"{text.body}\n{note}")
