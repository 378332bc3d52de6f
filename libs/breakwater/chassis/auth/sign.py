"""Signs this process's own service tokens."""

import base64
import json
import secrets
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry

from breakwater.chassis.auth.keys import KeySetError, KeySource, refuse_development_key
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.logging import get_logger
from breakwater.chassis.settings import SecretFileError, read_secret

TTL_S = 300
RENEW_BEFORE_EXPIRY_S = 60
ALGORITHM = "Ed25519"
"""What services emit (RFC 9864).

Verifiers of this platform accept `EdDSA` as well; PyJWT 2.15 does not know this name.
"""

_log = get_logger(__name__)


class ServiceSigner:
    """Tokens that say which service calls: `iss = sub = service`, `aud` = the service called, valid `ttl_s` seconds.

    The key file is read again at each renewal, so a rotated key is taken up without a restart: once `published`, the
    key set the verifiers read, has held it for long enough, or the old key is good no more.
    """

    def __init__(
        self,
        key_file: Path,
        service: str,
        *,
        production: bool,
        published: KeySource | None = None,
        clock: Clock | None = None,
        ttl_s: int = TTL_S,
        algorithm: str = ALGORITHM,
    ) -> None:
        """Raises `KeySetError` or `SecretFileError` when the key cannot be used for this service here."""
        self._key_file = key_file
        self._service = service
        self._production = production
        self._published = published
        self._clock = clock or SystemClock()
        self._ttl_s = ttl_s
        self._algorithm = algorithm
        self._tokens: dict[str, tuple[str, float]] = {}
        self._kid, self._key = self._load()

    def token_for(self, audience: str) -> str:
        """A token for calls to that service; the same one until it nears its end."""
        now = self._clock.now().timestamp()
        cached = self._tokens.get(audience)
        if cached is not None and now < cached[1]:
            return cached[0]
        self._take_up_rotated_key()
        token = self._sign(audience, int(now))
        self._tokens[audience] = (token, now + self._ttl_s - RENEW_BEFORE_EXPIRY_S)
        return token

    def _sign(self, audience: str, now: int) -> str:
        header = {"alg": self._algorithm, "kid": self._kid, "typ": "JWT"}
        claims = {
            "iss": self._service,
            "sub": self._service,
            "aud": audience,
            "iat": now,
            "exp": now + self._ttl_s,
            "jti": secrets.token_urlsafe(12),
        }
        signing_input = f"{_encode(header)}.{_encode(claims)}"
        # Both names of the algorithm denote the same signature over an Ed25519 key.
        signature = JWSRegistry.algorithms["Ed25519"].sign(signing_input.encode("ascii"), self._key)
        return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode('ascii')}"

    def _take_up_rotated_key(self) -> None:
        try:
            kid, key = self._load()
        except (KeySetError, SecretFileError) as error:
            _log.error("service_key_unusable", file=str(self._key_file), problem=str(error), kept=self._kid)
            return
        published = self._published
        if kid != self._kid and published is not None and published.is_good(self._kid) and not published.may_sign(kid):
            _log.warning("service_key_waits", kid=kid, kept=self._kid)
            return
        self._kid, self._key = kid, key

    def _load(self) -> tuple[str, OKPKey]:
        try:
            jwk = json.loads(read_secret(self._key_file))
            if jwk["kty"] != "OKP" or jwk["crv"] != "Ed25519":
                raise KeySetError(f"{self._key_file} holds no Ed25519 key")
            key = OKPKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "d")})
            key.get_op_key("sign")
            kid = jwk["kid"]
        except (ValueError, KeyError, TypeError, JoseError) as error:
            raise KeySetError(f"{self._key_file} is no private Ed25519 JWK") from error
        if jwk.get("owner") != self._service:
            raise KeySetError(f"{self._key_file} belongs to {jwk.get('owner')!r}, not to {self._service!r}")
        refuse_development_key(jwk, production=self._production)
        return str(kid), key


def _encode(members: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(members, separators=(",", ":")).encode()).rstrip(b"=").decode("ascii")
