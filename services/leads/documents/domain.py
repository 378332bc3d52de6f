"""Documents that people change without code: read with the place of each error, kept in versions. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from breakwater.chassis.errors import FieldError, InvalidRequestError


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """One version, as its author wrote it."""

    version: int
    document: Mapping[str, Any]
    author: str
    created_at: datetime


class DocumentReader:
    """Collects every error with its place, such as `actions[2].code`, so that the author sees all of them at once.

    Each method answers something of the asked type, also where it noted an error: reading goes on.
    """

    def __init__(self) -> None:
        self._errors: list[FieldError] = []

    def wrong(self, place: str, reason: str) -> None:
        self._errors.append(FieldError(place, reason))

    def raise_errors(self, detail: str, code: str) -> None:
        """Raises InvalidRequestError with all errors, if there are any."""
        if self._errors:
            raise InvalidRequestError(detail, code=code, errors=self._errors)

    def only(self, entry: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
        """Notes keys that nobody reads: a misspelt one must not pass for one that was left out."""
        for key in sorted(entry.keys() - known):
            self.wrong(_inside(place, key[:60]), f"is not known; known are {', '.join(sorted(known))}")

    def text(self, entry: Mapping[str, Any], key: str, place: str, chars_max: int, *, blank: bool = False) -> str:
        """A trimmed text; with `blank`, it may be left out."""
        value = entry.get(key, "")
        if not isinstance(value, str) or len(value) > chars_max or not (blank or value.strip()):
            self.wrong(_inside(place, key), f"must be a text of {0 if blank else 1} to {chars_max} characters")
            return ""
        return value.strip()

    def number(self, entry: Mapping[str, Any], key: str, place: str, least: int, most: int) -> int:
        # JSON numbers come as floats by the way they travel, some of them without end; true is no number.
        value = entry.get(key)
        if isinstance(value, bool) or not (isinstance(value, int) or (isinstance(value, float) and value.is_integer())):
            value = None
        if value is None or not least <= value <= most:
            self.wrong(_inside(place, key), f"must be a whole number from {least} to {most}")
            return least
        return int(value)

    def entries(
        self, entry: Mapping[str, Any], key: str, place: str, most: int, *, least: int = 0
    ) -> list[tuple[str, Mapping[str, Any]]]:
        """The objects of a list, each with its place."""
        found: list[tuple[str, Mapping[str, Any]]] = []
        for index, value in enumerate(self._list(entry, key, place, least, most)):
            inner = f"{_inside(place, key)}[{index}]"
            if isinstance(value, dict):
                found.append((inner, value))
            else:
                self.wrong(inner, "must be an object")
        return found

    def texts(
        self, entry: Mapping[str, Any], key: str, place: str, most: int, chars_max: int, *, least: int = 0
    ) -> tuple[str, ...]:
        """A list of trimmed texts, each once."""
        found: list[str] = []
        for index, value in enumerate(self._list(entry, key, place, least, most)):
            inner = f"{_inside(place, key)}[{index}]"
            if not isinstance(value, str) or not 1 <= len(value.strip()) <= chars_max:
                self.wrong(inner, f"must be a text of 1 to {chars_max} characters")
            elif value.strip() in found:
                self.wrong(inner, f"{value.strip()!r} is there twice")
            else:
                found.append(value.strip())
        return tuple(found)

    def _list(self, entry: Mapping[str, Any], key: str, place: str, least: int, most: int) -> list[Any]:
        value = entry.get(key, [])
        if not isinstance(value, list) or not least <= len(value) <= most:
            self.wrong(_inside(place, key), f"must be a list of {least} to {most} entries")
            return []
        return value


def _inside(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
