"""Words found in a text, whatever their width, case or accents' form, with their places in the text as it was given. Pure."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ahocorasick_rs import AhoCorasick

WORD_CHARS_MAX = 30
"""Of a word in its folded form."""
_WINDOW_CHARS = 4_096


@lru_cache(maxsize=20_000)
def fold_char(char: str) -> str:
    """One character as it is compared: half-width, without case, taken apart; invisible ones are nothing.

    Character by character, so that the folded form of a text is those of its parts, and every place in it has an origin.
    """
    if unicodedata.category(char) == "Cf" or "\ufe00" <= char <= "\ufe0f":
        return ""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", char).casefold())


def fold(text: str) -> str:
    """A text as it is compared."""
    return "".join(map(fold_char, text))


@dataclass(frozen=True, slots=True)
class Match:
    """A word found; the text from `start` to `end`, in code points, folds to it."""

    word: int
    """Its index."""
    start: int
    end: int


class Matcher:
    """Finds any of many words in one pass (Aho and Corasick)."""

    def __init__(self, words: Sequence[str]) -> None:
        """Takes folded words, each once and not empty."""
        self._automaton = AhoCorasick(words) if words else None

    def find(self, text: str) -> list[Match]:
        """The words in the text, the leftmost first and of those that begin together the longest; none overlaps.

        A word covers whole characters of the text, and one of Latin letters or digits stands alone: ERP is not in SERPENT.
        """
        folded = _Folded(text)
        found: list[Match] = []
        end = 0
        for word, first, last in self._candidates(folded.text):
            match = folded.match(word, first, last) if first >= end else None
            if match is not None:
                found.append(match)
                end = last
        return found

    def _candidates(self, folded: str) -> Iterator[tuple[int, int, int]]:
        """Every occurrence, ordered as `find` takes them; a window at a time, for a bad dictionary has many."""
        if self._automaton is None:
            return
        for begin in range(0, len(folded), _WINDOW_CHARS):
            window = folded[begin : begin + _WINDOW_CHARS + WORD_CHARS_MAX]
            inside = [
                (word, begin + first, begin + last)
                for word, first, last in self._automaton.find_matches_as_indexes(window, overlapping=True)
                if first < _WINDOW_CHARS
            ]
            yield from sorted(inside, key=lambda each: (each[1], -each[2]))


class _Folded:
    """A folded text that knows where each of its places comes from."""

    def __init__(self, given: str) -> None:
        # Nearly always each character folds to one, and places are the same.
        folds = {char: fold_char(char) for char in set(given)}
        self.text = "".join([folds[char] for char in given])
        self._starts: dict[int, int] | None = None
        self._ends: dict[int, int] = {}
        if any(len(form) != 1 for form in folds.values()):
            self._starts = {}
            place = 0
            for index, char in enumerate(given):
                # What folds to nothing belongs to no word: the last that begins here, the first that ends here.
                self._starts[place] = index
                place += len(folds[char])
                self._ends.setdefault(place, index + 1)

    def match(self, word: int, first: int, last: int) -> Match | None:
        """The occurrence in the given text; None where it is only a part of a character, or of a longer Latin word."""
        text = self.text
        if last < len(text) and (unicodedata.combining(text[last]) or (_latin(text[last]) and _latin(text[last - 1]))):
            return None
        if first and _latin(text[first - 1]) and _latin(text[first]):
            return None
        if self._starts is None:
            return Match(word, first, last)
        start, end = self._starts.get(first), self._ends.get(last)
        return None if start is None or end is None else Match(word, start, end)


def _latin(char: str) -> bool:
    return char.isascii() and char.isalnum()
