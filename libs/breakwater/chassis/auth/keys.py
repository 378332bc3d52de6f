"""Public keys from a JWKS file or URL, and the making of private ones.

Keys rotate with overlap (`rotation`): a new one is published before it signs, and a source that is given the rule keeps
a withdrawn key until its tokens have ended, with an alarm where it was withdrawn too early. A key named in the set's
`revoked` is gone at once. A token with an unknown `kid` makes the source look again, at most every few seconds. While
the source is unreachable or publishes nonsense, the last good set stays in use and says so by a metric and the log.
"""

import asyncio
import json
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from math import inf
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from breakwater.chassis import metrics
from breakwater.chassis.auth.rotation import OverlapRule
from breakwater.chassis.clock import Clock, SystemClock
from breakwater.chassis.logging import get_logger
from breakwater.chassis.settings import MisconfiguredError

JWKS_SIZE_BYTES_MAX = 256 * 1024
KEYS_MAX = 64
FETCH_TIMEOUT_S = 3.0
FIND_WAIT_S = 0.5
"""How long a request with an unknown key id waits for a look at the source."""

_DEVELOPMENT = "development"
_log = get_logger(__name__)


class KeySetError(MisconfiguredError):
    """A key or key set cannot be used. The message names what is wrong, never key material."""


class DevelopmentKeyError(KeySetError):
    """A key made for development was met in production."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key of a set. `owner` is the service that signs with it; None in a callers' set."""

    kid: str
    owner: str | None
    key: OKPKey


def new_private_jwk(owner: str, *, development: bool) -> dict[str, str]:
    """A new private Ed25519 JWK: `kid` of owner and thumbprint, `owner`, `use_env` when it is for development."""
    key = OKPKey.generate_key("Ed25519", private=True)
    exported = key.as_dict(private=True)
    jwk = {name: str(exported[name]) for name in ("kty", "crv", "x", "d")}
    jwk |= {"kid": f"{owner}-{key.thumbprint()[:12]}", "use": "sig", "alg": "Ed25519", "owner": owner}
    if development:
        jwk["use_env"] = _DEVELOPMENT
    return jwk


def public_jwk(private: Mapping[str, str]) -> dict[str, str]:
    """The publishable half of a private JWK."""
    return {name: value for name, value in private.items() if name != "d"}


def refuse_development_key(jwk: Mapping[str, Any], *, production: bool) -> None:
    """Raises `DevelopmentKeyError` in production for a key that `new_private_jwk` made for development."""
    if production and "use_env" in jwk and jwk["use_env"] != "production":
        raise DevelopmentKeyError(
            f"key {jwk.get('kid')!r} is made for {jwk['use_env']!r} and must not be used in production"
        )


def parse_key_set(content: bytes, *, production: bool) -> dict[str, PublicKey]:
    """The Ed25519 signing keys of a JWKS by `kid`; keys of other kinds are passed over, as RFC 7517 5 has it.

    Raises `KeySetError` when it is no JWKS, holds a private key, a `kid` twice, or no usable key at all.
    """
    try:
        entries = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeySetError("it is not a JWKS") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise KeySetError("it is not a JWKS")
    if len(entries) > KEYS_MAX:
        raise KeySetError(f"it holds more than {KEYS_MAX} keys")
    keys: dict[str, PublicKey] = {}
    for entry in entries:
        if "d" in entry or "k" in entry:
            raise KeySetError("it publishes a private key")
        if entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519" or entry.get("use", "sig") != "sig":
            continue
        refuse_development_key(entry, production=production)
        key = _public_key(entry)
        if key.kid in keys:
            raise KeySetError(f"it holds kid {key.kid!r} twice")
        keys[key.kid] = key
    if not keys:
        raise KeySetError("it holds no Ed25519 key")
    return keys


def revoked_kids(content: bytes) -> frozenset[str]:
    """The `kid`s that a JWKS revokes: `{"keys": [...], "revoked": ["kid", ...]}` (additional member, RFC 7517 5).

    Raises `KeySetError` when it is no list of texts.
    """
    revoked = json.loads(content).get("revoked", [])
    if not isinstance(revoked, list) or not all(isinstance(kid, str) for kid in revoked):
        raise KeySetError("its revoked is not a list of key ids")
    return frozenset(revoked)


def _public_key(entry: Mapping[str, Any]) -> PublicKey:
    kid, owner = entry.get("kid"), entry.get("owner")
    if not isinstance(kid, str) or not kid or not isinstance(owner, str | None):
        raise KeySetError("a key's kid or owner is not a text")
    try:
        key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": entry["x"]})
        key.get_op_key("verify")
    except (JoseError, KeyError, ValueError, TypeError) as error:
        raise KeySetError(f"key {kid!r} cannot be read") from error
    return PublicKey(kid, owner, key)


class KeySource:
    """The present key set of one JWKS file or http(s) URL.

    `start()` loads it and must be awaited once; `run()` looks again every `refresh_s` for as long as it is awaited.
    With a `rule` it holds rotations to it; without one a withdrawn key is gone, as an issuer of others wants it.
    """

    def __init__(
        self,
        source: str,
        *,
        production: bool,
        clock: Clock | None = None,
        rule: OverlapRule | None = None,
        refresh_s: float = 30.0,
        unknown_key_refresh_s: float = 5.0,
        retry_s: float = 1.0,
    ) -> None:
        self._source = source
        self._production = production
        self._clock = clock or SystemClock()
        self._rule = rule
        self._refresh_s = refresh_s
        self._unknown_key_refresh_s = unknown_key_refresh_s
        self._retry_s = retry_s
        self._keys: dict[str, PublicKey] = {}
        self._known_since_s: dict[str, float] = {}
        self._kept_until_s: dict[str, float] = {}
        self._content = b""
        self._looked_at_s = -unknown_key_refresh_s
        self._looking: asyncio.Task[None] | None = None
        self._stale_gauge = metrics.JWKS_STALE.labels(source)
        self._early_gauge = metrics.JWKS_WITHDRAWN_EARLY.labels(source)
        self.stale = False
        """Whether the source could not be used when it was last tried."""
        self.generation = 0
        """Changes with the key set: what was verified under an older one must be verified again."""

    async def start(self) -> None:
        """Loads the set. An unreachable or broken source only raises the alarm, for it may come back.

        Raises `DevelopmentKeyError` in production: such a process must not start.
        """
        try:
            await self._load()
        except DevelopmentKeyError:
            raise
        except KeySetError:
            return

    async def run(self) -> None:
        """Looks again for ever; every `retry_s` while there is no set at all."""
        while True:
            await self._clock.sleep(self._refresh_s if self._keys else self._retry_s)
            await self._look_again()

    async def find(self, kid: str) -> PublicKey | None:
        """The key of that name. A new name makes the source look again, at most every `unknown_key_refresh_s`.

        Waits `FIND_WAIT_S` at most: made-up names must not tie requests to a source that hangs.
        """
        self._forget_withdrawn()
        key = self._keys.get(kid)
        if key is None and (self._is_looking or self._may_look):
            await asyncio.wait({self._look_again()}, timeout=FIND_WAIT_S)
            key = self._keys.get(kid)
        return key

    def may_sign(self, kid: str) -> bool:
        """Whether every verifier can know the key: it has been in the set for a cache life, or since the first look."""
        since_s = self._known_since_s.get(kid, inf)
        return self._rule is None or self._clock.monotonic() - since_s >= self._rule.cache_s

    def is_good(self, kid: str) -> bool:
        """Whether tokens of the key are accepted: it is in the set, or was withdrawn a short while ago."""
        return kid in self._keys

    @property
    def _is_looking(self) -> bool:
        return self._looking is not None and not self._looking.done()

    @property
    def _may_look(self) -> bool:
        return self._clock.monotonic() - self._looked_at_s >= self._unknown_key_refresh_s

    def _look_again(self) -> asyncio.Task[None]:
        """One look at a time, shared by all who wait for it."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name="jwks")
        return self._looking

    async def _look(self) -> None:
        with suppress(KeySetError):  # the last good set stays; _load raised the alarm
            await self._load()

    async def _load(self) -> None:
        self._looked_at_s = self._clock.monotonic()
        self._forget_withdrawn()
        try:
            content = await self._read()
            if content != self._content:
                self._take(parse_key_set(content, production=self._production), revoked_kids(content))
                self._content = content
        except KeySetError as error:
            self._alarm(stale=True)
            _log.error("jwks_unusable", source=self._source, problem=str(error), keys_kept=len(self._keys))
            raise
        self._alarm(stale=False)

    def _take(self, keys: dict[str, PublicKey], revoked: frozenset[str]) -> None:
        keys = {kid: key for kid, key in keys.items() if kid not in revoked}
        now_s = self._clock.monotonic()
        if self._rule is not None:
            withdrawn = self._keys.keys() - keys.keys() - revoked
            self._kept_until_s = {kid: self._kept_until_s.get(kid, now_s + self._rule.kept_s) for kid in withdrawn}
            early = sorted(kid for kid in withdrawn if self._is_early(self._keys[kid], keys, now_s, self._rule))
            self._early_gauge.set(bool(early))
            if early:
                _log.error("key_withdrawn_early", source=self._source, kids=early, kept_s=self._rule.kept_s)
        # What the first set holds may have been there for long.
        first_seen_s = now_s if self._keys else -inf
        self._known_since_s = {kid: self._known_since_s.get(kid, first_seen_s) for kid in keys}
        self._keys = keys | {kid: self._keys[kid] for kid in self._kept_until_s}
        self.generation += 1
        _log.info("jwks_loaded", source=self._source, kids=sorted(keys), kept=sorted(self._kept_until_s))

    def _is_early(self, key: PublicKey, keys: Mapping[str, PublicKey], now_s: float, rule: OverlapRule) -> bool:
        """Whether no other key of the owner has been there for long enough. Seen from here, which may be a cache life late."""
        others = [kid for kid, other in keys.items() if other.owner == key.owner]
        longest_s = max((now_s - self._known_since_s[kid] for kid in others if kid in self._known_since_s), default=0.0)
        return longest_s < rule.overlap_s - rule.cache_s

    def _forget_withdrawn(self) -> None:
        if not self._kept_until_s:
            return
        now_s = self._clock.monotonic()
        over = [kid for kid, until_s in self._kept_until_s.items() if until_s <= now_s]
        for kid in over:
            del self._kept_until_s[kid], self._keys[kid]
        self.generation += bool(over)
        if not self._kept_until_s:
            self._early_gauge.set(0)

    def _alarm(self, *, stale: bool) -> None:
        self.stale = stale
        self._stale_gauge.set(stale)

    async def _read(self) -> bytes:
        fetch = _fetch if self._source.startswith(("http://", "https://")) else _read_file
        try:
            async with asyncio.timeout(2 * FETCH_TIMEOUT_S):
                return await asyncio.to_thread(fetch, self._source)
        except TimeoutError as error:
            raise KeySetError(f"it did not answer within {2 * FETCH_TIMEOUT_S} s") from error


def _read_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(JWKS_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise KeySetError(f"it cannot be read: {error.strerror}") from error
    if len(content) > JWKS_SIZE_BYTES_MAX:
        raise KeySetError(f"it is larger than {JWKS_SIZE_BYTES_MAX} bytes")
    return content


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key server that sends us elsewhere is not obeyed."""

    def redirect_request(self, *_: Any) -> None:
        return None


# Without proxies: a key source is named outright or not at all.
_OPENER = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))


def _fetch(url: str) -> bytes:
    ends_at_s = time.monotonic() + FETCH_TIMEOUT_S
    content = b""
    try:
        with _OPENER.open(url, timeout=FETCH_TIMEOUT_S) as answer:
            while chunk := answer.read1(JWKS_SIZE_BYTES_MAX):
                content += chunk
                # The socket's time-out starts anew with every byte that trickles in.
                if len(content) > JWKS_SIZE_BYTES_MAX or time.monotonic() > ends_at_s:
                    break
            else:
                return content
    except (OSError, ValueError, HTTPException) as error:
        raise KeySetError(f"it cannot be fetched: {type(error).__name__}") from error
    raise KeySetError(f"it is larger than {JWKS_SIZE_BYTES_MAX} bytes or takes longer than {FETCH_TIMEOUT_S} s")
