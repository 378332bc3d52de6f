"""What a token says, and why one is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from breakwater.chassis.errors import UnauthenticatedError


class Reason(StrEnum):
    """Why a token was refused: a label of metrics and a field of logs, never told to the caller."""

    MISSING = "missing"
    SCHEME = "scheme"
    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    DUPLICATE = "duplicate"
    ALGORITHM = "algorithm"
    TYPE = "type"
    HEADER = "header"
    KEY_ID = "key_id"
    UNKNOWN_KEY = "unknown_key"
    SIGNATURE = "signature"
    CLAIM = "claim"
    ISSUER = "issuer"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME = "lifetime"
    ROLE = "role"


class TokenRefusedError(UnauthenticatedError):
    """The credential is no good. `reason` is for logs and metrics; the text is the same for every reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__("The credential is missing or not valid.")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Claims:
    """The verified content of a token. Times are seconds since 1970, UTC."""

    kid: str
    algorithm: str
    iss: str
    sub: str
    aud: tuple[str, ...]
    iat: float
    exp: float
    nbf: float | None
    extra: Mapping[str, Any]
    """The members not named above, unjudged: `role` and `scope` of a caller."""
