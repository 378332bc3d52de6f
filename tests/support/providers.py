"""Stubs of what is not ours: WeCom, DingTalk, Feishu, the finance system. One local server each, with a time of its own.

`async with stub_of("wecom") as stub:` serves at `stub.base`. The stubs are checked against the recorded vectors
(tests/contract/test_external.py); a rule that a test wants broken is broken by a subclass.
"""

import base64
import hashlib
import hmac
import json
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.http_robot import Heard, Says, robot

KEY = "a-key-of-the-stub"
SECRET = "SEC-of-the-stub"
HOUR_S = 3600.0


class Stub(ABC):
    """A provider that can be put into trouble (`begin`) and whose time is turned by hand (`passes`)."""

    name = ""
    code_field = ""
    path = ""

    def __init__(self) -> None:
        self.base = ""
        self.server: Any = None
        """What it listens with: closed, or made to answer otherwise, by a test."""
        self.heard: list[Heard] = []
        self.taken: list[Any] = []
        self._now_s = 1_700_000_000.0
        self.begin()

    def begin(self, given: int | None = None) -> None:
        """As if nothing had been asked; answers `given` to whatever is well from now on, where it is not None."""
        self.given = given
        self.taken.clear()
        self.times_s: list[float] = []

    def passes(self, duration_s: float) -> None:
        self._now_s += duration_s

    def now_s(self) -> float:
        return self._now_s

    def answer(self, heard: Heard) -> Says:
        """Who asks, then what is asked, then trouble, then the rate: as a provider looks at a request."""
        self.heard.append(heard)
        url = urlsplit(heard.target)
        query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        code = self.refusal(heard, url.path, query)
        if code == 0 and self.given is not None:
            code = self.given
        if code == 0:
            code = self.rate()
        if code == 0:
            self.taken.append(heard)
        return self.says(code)

    @abstractmethod
    def refusal(self, heard: Heard, path: str, query: dict[str, str]) -> int:
        """The code of a request that is not well; 0 for one that is."""

    def rate(self) -> int:
        """The code of one request too many."""
        return 0

    def says(self, code: int) -> Says:
        """Errors come as HTTP 200."""
        return Says(200, json.dumps({self.code_field: code, "errmsg": "ok" if code == 0 else "refused"}).encode())

    def within(self, duration_s: float, limit: int) -> bool:
        """Whether fewer than `limit` were taken in the last `duration_s`."""
        return sum(self.now_s() - each < duration_s for each in self.times_s) < limit


class WeCom(Stub):
    name, code_field, path = "wecom", "errcode", "/cgi-bin/webhook/"

    def refusal(self, heard: Heard, path: str, query: dict[str, str]) -> int:
        if query.get("key") != KEY:
            return 93000
        if path == f"{self.path}upload_media":
            return self.refusal_of_media(heard.body)
        message = _json(heard.body) or {}
        kind = message.get("msgtype")
        return self.refusal_of(kind, message.get(kind)) if kind else 40008

    def refusal_of(self, kind: str, content: Any) -> int:
        match kind:
            case "text" | "markdown":
                limit = 2048 if kind == "text" else 4096
                return 0 if 0 < len(content["content"].encode()) <= limit else 40058
            case "image":
                image = base64.b64decode(content["base64"])
                right = hashlib.md5(image, usedforsecurity=False).hexdigest() == content["md5"]
                return 0 if right and len(image) <= 2 * 1024 * 1024 else 40009
            case "news":
                articles = content["articles"]
                fit = all(len(a["title"].encode()) <= 128 and len(a["description"].encode()) <= 512 for a in articles)
                return 0 if 1 <= len(articles) <= 8 and fit else 40058
            case "template_card":
                return 0
            case "file":
                return 40007
            case _:
                return 40008

    def refusal_of_media(self, body: bytes) -> int:
        content = body.partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        return 0 if b'name="media"' in body and 5 <= len(content) <= 20 * 1024 * 1024 else 40006

    def rate(self) -> int:
        if not self.within(60.0, 20):
            return 45009
        self.times_s.append(self.now_s())
        return 0


class DingTalk(Stub):
    name, code_field, path = "dingtalk", "errcode", "/robot/send"
    kinds = frozenset({"markdown", "text", "link", "actionCard", "feedCard"})

    def refusal(self, heard: Heard, path: str, query: dict[str, str]) -> int:
        if path != self.path or query.get("access_token") != KEY:
            return 300005
        if not self.signed(query):
            return 310000
        if not heard.headers.get("content-type", "").startswith("application/json"):
            return 43004
        message = _json(heard.body) or {}
        if message.get("msgtype") not in self.kinds:
            return 400105
        return 0 if message.get(message["msgtype"]) else 40035

    def signed(self, query: dict[str, str]) -> bool:
        moment = query.get("timestamp", "0")
        if abs(int(moment) / 1000 - self.now_s()) > HOUR_S:
            return False
        digest = hmac.digest(SECRET.encode(), f"{moment}\n{SECRET}".encode(), "sha256")
        return query.get("sign") == base64.b64encode(digest).decode()

    def rate(self) -> int:
        if self.times_s and self.times_s[-1] > self.now_s():
            return 130101
        if not self.within(60.0, 20):
            self.times_s.append(self.now_s() + 600.0)
            return 130101
        self.times_s.append(self.now_s())
        return 0


class Feishu(Stub):
    name, code_field, path = "feishu", "code", "/open-apis/bot/v2/hook/"

    def refusal(self, heard: Heard, path: str, query: dict[str, str]) -> int:
        if path != f"{self.path}{KEY}":
            return 19001
        message = _json(heard.body)
        if message is None or len(heard.body) > 20 * 1024:
            return 9499
        if not self.signed(message):
            return 19021
        content = message.get("card" if message.get("msg_type") == "interactive" else "content")
        return 0 if content else 9499

    def signed(self, message: dict[str, Any]) -> bool:
        moment = str(message.get("timestamp", "0"))
        if abs(int(moment) - self.now_s()) > HOUR_S:
            return False
        digest = hmac.digest(f"{moment}\n{SECRET}".encode(), b"", "sha256")
        return message.get("sign") == base64.b64encode(digest).decode()

    def rate(self) -> int:
        if not (self.within(60.0, 100) and self.within(1.0, 5)):
            return 11232
        self.times_s.append(self.now_s())
        return 0

    def says(self, code: int) -> Says:
        """StatusCode stays 0 whatever happens: nobody must trust it."""
        return Says(200, json.dumps({"code": code, "msg": "refused" if code else "success", "StatusCode": 0}).encode())


class Finance(Stub):
    """Speaks plain HTTP statuses; knows one valid contract."""

    name, path = "finance", "/v1/contracts/"
    valid = frozenset({"HT-2026-0001"})

    def refusal(self, heard: Heard, path: str, query: dict[str, str]) -> int:
        if heard.headers.get("authorization") != f"Bearer {KEY}":
            return 401
        self.number = path.removeprefix(self.path)
        return 0 if re.fullmatch(r"[A-Za-z0-9-]{1,64}", self.number) else 400

    def says(self, code: int) -> Says:
        if code:
            return Says(code, b'{"error": "refused"}', {"retry-after": "30"} if code == 429 else {})
        return Says(200, json.dumps({"number": self.number, "valid": self.number in self.valid}).encode())


STUBS = {stub.name: stub for stub in (WeCom, DingTalk, Feishu, Finance)}


@asynccontextmanager
async def stub_of(provider: str | type[Stub]) -> AsyncIterator[Any]:
    """A stub, by its provider or its class, for the time of a block."""
    stub = (STUBS[provider] if isinstance(provider, str) else provider)()
    async with robot() as server:
        stub.base = server.base
        stub.server = server
        server.answer = stub.answer
        yield stub


def _json(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found else None
