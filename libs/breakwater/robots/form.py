"""What the forms of all providers have in common: a message, a credential, and judging an answer by the code in its body."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any

from breakwater.chassis.http_client import Answer, Judge, Refusal
from breakwater.resilience import Outcome

ELLIPSIS = "…"
UNKNOWN = "outcome_unknown"
"""The code of an answer that says neither yes nor no: the message may have been read or not."""

_MOBILE = re.compile(r"1\d{10}")


@dataclass(frozen=True, slots=True)
class Message:
    """What is said; `urgent` mentions everybody, `mentions` some: their mobile numbers, or their ids at the provider."""

    title: str
    text: str
    urgent: bool = False
    mentions: tuple[str, ...] = ()

    @property
    def whole(self) -> str:
        return f"{self.title}\n{self.text}"

    @property
    def mobiles(self) -> list[str]:
        """Those of `mentions` that are mobile numbers of the mainland."""
        return [each for each in self.mentions if _MOBILE.fullmatch(each)]

    @property
    def user_ids(self) -> list[str]:
        """The others."""
        return [each for each in self.mentions if not _MOBILE.fullmatch(each)]


@dataclass(frozen=True, slots=True)
class Credential:
    """The key of the robot's address, and the secret its messages are signed with where the provider signs."""

    key: str = field(repr=False)
    secret: str = field(default="", repr=False)

    def check(self) -> None:
        """Raises `ValueError` where the key cannot stand in an address."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", self.key):
            raise ValueError("the robot's key has other characters than letters, digits, - and _")


@dataclass(frozen=True, slots=True)
class Post:
    """A request: POST of `body` as JSON to `path` below the provider's base."""

    path: str
    body: Mapping[str, Any]
    params: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Form:
    """How a provider is spoken to."""

    post: Callable[[Credential, Message, datetime], Post]
    judge: Judge


@dataclass(frozen=True, slots=True)
class Codes:
    """What a provider's codes mean; 0 is well, and a code that stands nowhere is never a success."""

    later: Mapping[int, float]
    """Push-back: come again after so many seconds."""
    busy: frozenset[int] = frozenset()
    """The provider's own trouble."""
    credential: frozenset[int] = frozenset()
    """The key, the sign or our address is refused: sending it again changes nothing."""
    permanent: frozenset[int] = frozenset()
    """This message, or this group, will not do."""

    def refusal(self, provider: str, code: int) -> Refusal:
        """Of a code that is not 0."""
        said = f"{provider} answered {code}"
        if code in self.later:
            return Refusal(Outcome.OVERLOAD, f"{said}: too many messages.", retry_after_s=self.later[code])
        if code in self.busy:
            return Refusal(Outcome.FAILURE, f"{said}: it is busy.")
        if code in self.credential:
            return Refusal(Outcome.AUTH_REJECTED, f"{said}: the robot's key, sign or address is refused.")
        if code in self.permanent:
            return Refusal(Outcome.CALLER_FAULT, f"{said}: the message or the group is refused.")
        return Refusal(Outcome.FAILURE, f"{said}, which nobody knows.", code=UNKNOWN)


def judged_by(provider: str, name: str, refusal: Callable[[int, Mapping[str, Any]], Refusal]) -> Judge:
    """A judge that reads the whole number `name` of a 2xx answer's body; other statuses speak for themselves."""

    def judge(answer: Answer) -> Refusal | None:
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        try:
            document = answer.json()
        except ValueError:
            document = None
        code = document.get(name) if isinstance(document, dict) else None
        # False and 0.0 equal 0 in Python; on the wire they differ.
        if type(code) is not int:
            return Refusal(Outcome.FAILURE, f"{provider} answered without its {name}.", code=UNKNOWN)
        return None if code == 0 else refusal(code, document)

    return judge


def cut(text: str, size_bytes_max: int) -> str:
    """The text, or as much of its beginning as fits in UTF-8 with an ellipsis; no character is broken."""
    if len(encoded := text.encode()) <= size_bytes_max:
        return text
    return encoded[: size_bytes_max - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS
