"""Requests to a platform: finds it, signs in, waits out what passes, and turns refusals into messages."""

import getpass
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from breakwater.cli.errors import CommandError, NotAllowedError, RequestNotAllowedError, RequestRefusedError
from breakwater.cli.options import Options
from breakwater.cli.tokens import sign_caller_token
from breakwater.local.state import State

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

TOKEN_TTL_S = 900
TOKEN_RENEW_BEFORE_S = 60
TIMEOUT_S = 30.0
BACK_OFF_MIN_S = 0.2
BACK_OFF_MAX_S = 2.0
PATIENCE_S = 120.0
"""How long a command that must not be lost tries again while the platform does not answer."""

RETRYABLE_STATUSES = frozenset({429, 503})
RETRYABLE_CODES = frozenset({"idempotency_key_in_flight"})


class UnreachableError(CommandError):
    """The platform does not answer."""


class NotStartedError(UnreachableError):
    """There is no local platform."""


class Api:
    """The HTTP API of the platform the options name. Use as a context manager.

    `own_token` signs with the local key whatever BREAKWATER_TOKEN says.
    """

    def __init__(self, options: Options, *, own_token: bool = False) -> None:
        # Imported here: a command that asks nobody does not pay for it.
        import httpx2  # noqa: PLC0415

        self._options = options
        self._given_token = "" if own_token else os.environ.get("BREAKWATER_TOKEN", "")
        self._state = State.at(options.state)
        # The platform is named outright: proxies of the environment have no say. A local one speaks no TLS, and reading
        # the certificates costs 0.2 s.
        remote = options.gateway is not None
        self._client = httpx2.Client(timeout=TIMEOUT_S, trust_env=False, verify=remote)
        self._transport_errors: tuple[type[Exception], ...] = (httpx2.TransportError,)
        self._answered = False
        self._token = ""
        self._token_until = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, *, ops: bool = False, patience_s: float = 0.0, **query: Any) -> dict[str, Any]:
        """GET of a JSON document. Raises UnreachableError, RequestRefusedError."""
        return self.request("GET", path, ops=ops, patience_s=patience_s, params=query)

    def request(
        self,
        method: str,
        path: str,
        *,
        ops: bool = False,
        patience_s: float = 0.0,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """One request with a JSON answer.

        For `patience_s` seconds it is sent again while nobody answers or the answer says "later": only for reads, and
        for writes whose headers carry an Idempotency-Key.
        """

        def attempt() -> dict[str, Any]:
            # A file of the last attempt is read to its end: begin again.
            for file in content.get("files", {}).values():
                file[1].seek(0)
            answer = self._client.request(method, self._url(path, ops=ops), headers=self._headers(headers), **content)
            self._require_success(answer)
            document: dict[str, Any] = answer.json() if answer.content else {}
            return document

        return self._patiently(attempt, patience_s)

    @contextmanager
    def stream(
        self, path: str, patience_s: float = 0.0, *, headers: Mapping[str, str] | None = None
    ) -> "Iterator[httpx2.Response]":
        """GET of a file, read in chunks by the caller."""

        def attempt() -> "httpx2.Response":
            request = self._client.build_request("GET", self._url(path), headers=self._headers(headers))
            answer = self._client.send(request, stream=True)
            if answer.is_error:
                answer.read()
            self._require_success(answer)
            return answer

        answer = self._patiently(attempt, patience_s)
        try:
            yield answer
        except self._transport_errors as error:
            raise UnreachableError(f"The file broke off: {error}. Try again.") from error
        finally:
            answer.close()

    def _patiently(self, attempt: Callable[[], T], patience_s: float) -> T:
        deadline = time.monotonic() + patience_s
        back_off_s = BACK_OFF_MIN_S
        told = False
        failure: CommandError
        while True:
            try:
                result = attempt()
            except NotStartedError as error:
                # One that ran a moment ago may be restarting; one that never did will not come by waiting.
                if not self._answered:
                    raise
                failure, wait_s = error, 0.0
            except self._transport_errors as error:
                failure = UnreachableError(f"The platform does not answer: {error or type(error).__name__}.")
                wait_s = 0.0
            except RequestRefusedError as error:
                if error.status not in RETRYABLE_STATUSES and error.problem.get("code") not in RETRYABLE_CODES:
                    raise
                failure, wait_s = error, float(error.problem.get("retry_after_s") or 0.0)
            else:
                self._answered = True
                return result
            wait_s = max(wait_s, random.uniform(BACK_OFF_MIN_S, back_off_s))  # noqa: S311 - jitter, not a secret
            if time.monotonic() + wait_s > deadline:
                raise failure
            if not told:
                self._options.say(f"{failure.format_message()} Trying again for up to {patience_s:.0f} s.")
                told = True
            time.sleep(wait_s)
            back_off_s = min(back_off_s * 2, BACK_OFF_MAX_S)

    def _url(self, path: str, *, ops: bool = False) -> str:
        if path.startswith("http"):
            return path
        if self._options.gateway is None:
            return f"{self._local('ops' if ops else 'gateway')}{path}"
        gateway = self._options.gateway.rstrip("/")
        return f"{self._remote_ops(gateway) if ops else gateway}{path}"

    def _local(self, which: str) -> str:
        # Read each time: a platform that was restarted may have other ports.
        try:
            return str(json.loads(self._state.platform_file.read_bytes())[which])
        except (OSError, ValueError, KeyError):
            raise NotStartedError(
                f"No platform runs in {self._state.root}: start it by `breakwater up`, or name one by --state or --gateway."
            ) from None

    def _remote_ops(self, gateway: str) -> str:
        configured = os.environ.get("BREAKWATER_OPS_URL")
        if configured:
            return configured.rstrip("/")
        location = str(self._client.get(f"{gateway}/ops", follow_redirects=False).headers.get("location", ""))
        if not location:
            raise CommandError("The gateway does not say where its ops process is: set BREAKWATER_OPS_URL.")
        return location.removesuffix("/ops")

    def _headers(self, more: Mapping[str, str] | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._bearer()}", **(more or {})}

    def _bearer(self) -> str:
        if self._given_token:
            return self._given_token
        if self._options.gateway is not None:
            raise NotAllowedError("A remote gateway needs a token in BREAKWATER_TOKEN.")
        if time.time() > self._token_until - TOKEN_RENEW_BEFORE_S:
            self._token_until = time.time() + TOKEN_TTL_S
            # Overrides and imports carry the name of whoever made them.
            self._token = sign_caller_token(
                self._state, sub=getpass.getuser(), role="admin", scope="all", ttl_s=TOKEN_TTL_S
            )
        return self._token

    @staticmethod
    def _require_success(answer: "httpx2.Response") -> None:
        if answer.is_success:
            return
        try:
            problem = answer.json()
        except ValueError:
            problem = {}
        if not isinstance(problem, dict):
            problem = {}
        problem.setdefault("title", f"HTTP {answer.status_code}")
        refusal = RequestNotAllowedError if answer.status_code in {401, 403} else RequestRefusedError
        raise refusal(answer.status_code, problem)
