"""Judges tokens: the pre-parser's reading, the signature, then the claims.

What passed is remembered until it expires.
"""

from collections.abc import Collection
from dataclasses import dataclass

from joserfc.jws import JWSRegistry

from breakwater.chassis import metrics
from breakwater.chassis.auth import preparse
from breakwater.chassis.auth.claims import Claims, Reason, TokenRefusedError
from breakwater.chassis.auth.keys import KeySource, PublicKey
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.identity import Actor, Role, Scope

LEEWAY_S = 5.0
"""How far two machines' clocks may be apart."""
CACHE_ENTRIES_MAX = 4096
SERVICE_LIFETIME_MAX_S = 3600.0
CALLER_LIFETIME_MAX_S = 7 * 24 * 3600.0
CALLER_AUDIENCE = "breakwater"

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Accepted:
    """A token that passed, and the key it passed with."""

    claims: Claims
    key: PublicKey


class Verifier:
    """Verifies tokens of one audience.

    `issuer` None leaves the issuer to the caller of `verify`; `types` are the accepted `typ` in lower case, None
    standing for an absent one. Every refusal is counted under `name`.
    """

    def __init__(
        self,
        keys: KeySource,
        *,
        name: str,
        audience: str,
        issuer: str | None,
        types: Collection[str | None],
        lifetime_s_max: float,
        clock: Clock | None = None,
        leeway_s: float = LEEWAY_S,
        cache_entries_max: int = CACHE_ENTRIES_MAX,
    ) -> None:
        self._keys = keys
        self._name = name
        self._audience = audience
        self._issuer = issuer
        self._types = frozenset(types)
        self._lifetime_s_max = lifetime_s_max
        self._clock = clock or SystemClock()
        self._leeway_s = leeway_s
        self._cache_entries_max = cache_entries_max
        self._cache: dict[str, Accepted] = {}
        self._cache_generation = keys.generation

    async def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises `TokenRefusedError`."""
        return (await self.accept(token)).claims

    async def accept(self, token: str) -> Accepted:
        """As `verify`, with the key. Raises `TokenRefusedError`."""
        now = self._clock.now().timestamp()
        cached = self._cached(token, now)
        if cached is not None:
            return cached
        try:
            accepted = await self._judge(token, now)
        except TokenRefusedError as error:
            metrics.AUTH_REFUSED.labels(self._name, error.reason.value).inc()
            raise
        self._remember(token, accepted, now)
        return accepted

    def _cached(self, token: str, now: float) -> Accepted | None:
        if self._cache_generation != self._keys.generation:
            # A key may have been withdrawn: what it signed must not outlive it.
            self._cache.clear()
            self._cache_generation = self._keys.generation
        accepted = self._cache.get(token)
        if accepted is None:
            return None
        if now >= accepted.claims.exp + self._leeway_s:
            del self._cache[token]
            return None
        return accepted

    def _remember(self, token: str, accepted: Accepted, now: float) -> None:
        if len(self._cache) >= self._cache_entries_max:
            for old in [each for each, entry in self._cache.items() if now >= entry.claims.exp]:
                del self._cache[old]
            if len(self._cache) >= self._cache_entries_max:
                del self._cache[next(iter(self._cache))]
        self._cache[token] = accepted

    async def _judge(self, token: str, now: float) -> Accepted:
        parsed = preparse.parse(token)
        if parsed.typ not in self._types:
            raise TokenRefusedError(Reason.TYPE)
        key = await self._keys.find(parsed.kid)
        if key is None:
            raise TokenRefusedError(Reason.UNKNOWN_KEY)
        # Both names of the algorithm denote the same signature over an Ed25519 key, and no other key is loaded.
        if not JWSRegistry.algorithms["Ed25519"].verify(parsed.signing_input, parsed.signature, key.key):
            raise TokenRefusedError(Reason.SIGNATURE)
        return Accepted(self._claims(parsed, now), key)

    def _claims(self, parsed: preparse.ParsedToken, now: float) -> Claims:
        payload = parsed.payload
        issuer, subject = preparse.text(payload, "iss"), preparse.text(payload, "sub")
        audience = preparse.audience(payload)
        expires, issued = preparse.time(payload, "exp"), preparse.time(payload, "iat")
        not_before = preparse.time(payload, "nbf")
        if expires is None or issued is None:
            raise TokenRefusedError(Reason.CLAIM)
        if self._issuer is not None and issuer != self._issuer:
            raise TokenRefusedError(Reason.ISSUER)
        if self._audience not in audience:
            raise TokenRefusedError(Reason.AUDIENCE)
        if now >= expires + self._leeway_s:
            raise TokenRefusedError(Reason.EXPIRED)
        if issued > now + self._leeway_s or (not_before is not None and not_before > now + self._leeway_s):
            raise TokenRefusedError(Reason.NOT_YET_VALID)
        if not 0 < expires - issued <= self._lifetime_s_max:
            raise TokenRefusedError(Reason.LIFETIME)
        known = {"iss", "sub", "aud", "exp", "iat", "nbf"}
        return Claims(
            kid=parsed.kid,
            algorithm=parsed.algorithm,
            iss=issuer,
            sub=subject,
            aud=audience,
            iat=issued,
            exp=expires,
            nbf=not_before,
            extra={name: value for name, value in payload.items() if name not in known},
        )


class ServiceVerifier:
    """Tells which service of the platform calls this one. `typ` must be `JWT`; the key must belong to the issuer."""

    def __init__(self, keys: KeySource, service: str, *, clock: Clock | None = None) -> None:
        self._verifier = Verifier(
            keys,
            name="service",
            audience=service,
            issuer=None,
            types={"jwt"},
            lifetime_s_max=SERVICE_LIFETIME_MAX_S,
            clock=clock,
        )

    async def verify(self, token: str) -> str:
        """The calling service's name. Raises `TokenRefusedError`."""
        accepted = await self._verifier.accept(token)
        claims = accepted.claims
        if claims.iss != claims.sub or claims.iss != accepted.key.owner:
            metrics.AUTH_REFUSED.labels("service", Reason.ISSUER.value).inc()
            raise TokenRefusedError(Reason.ISSUER)
        return claims.sub


class CallerVerifier:
    """Tells which person or machine calls the platform: tokens of the configured issuer for audience `breakwater`.

    `typ` is `JWT`, `at+jwt` (RFC 9068) or absent. `scope` absent means `own`.
    """

    def __init__(
        self, keys: KeySource, issuer: str, *, audience: str = CALLER_AUDIENCE, clock: Clock | None = None
    ) -> None:
        self._verifier = Verifier(
            keys,
            name="caller",
            audience=audience,
            issuer=issuer,
            types={"jwt", "at+jwt", None},
            lifetime_s_max=CALLER_LIFETIME_MAX_S,
            clock=clock,
        )

    async def verify(self, token: str) -> Actor:
        """The caller. Raises `TokenRefusedError`."""
        return self.actor(await self._verifier.verify(token))

    async def verify_claims(self, token: str) -> Claims:
        """The token's claims, `exp` among them, for what must end with the token. Raises `TokenRefusedError`."""
        return await self._verifier.verify(token)

    def actor(self, claims: Claims) -> Actor:
        """The person or machine the claims speak of. Raises `TokenRefusedError` for an unknown role or scope."""
        try:
            return Actor(claims.sub, Role(claims.extra["role"]), Scope(claims.extra.get("scope", Scope.OWN.value)))
        except (KeyError, ValueError, TypeError) as error:
            metrics.AUTH_REFUSED.labels("caller", Reason.ROLE.value).inc()
            raise TokenRefusedError(Reason.ROLE) from error


def bearer(header: str | None) -> str:
    """The token of an `Authorization` value. Raises `TokenRefusedError` when it is absent or of another scheme."""
    if not header:
        raise TokenRefusedError(Reason.MISSING)
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise TokenRefusedError(Reason.SCHEME)
    return header[len(_SCHEME) :]
