"""Asks a vector of an HTTP provider: recipes are minted anew and signed raw at each run, as the documents say."""

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from breakwater.compat import plain_http
from breakwater.compat.external.recorded import Vector

TIMEOUT_S = 10.0
_BOUNDARY = "breakwater-boundary"


class Scene(Protocol):
    """What a stub offers and a live provider does not: its troubles and its time."""

    def begin(self, given: int | None) -> None:
        """As if nothing had been asked before; answers code or status `given` from now on, where it is not None."""
        ...

    def passes(self, duration_s: float) -> None:
        """Moves the provider's time on."""
        ...

    def now_s(self) -> float:
        """The provider's time, in seconds of the epoch."""
        ...


@dataclass(slots=True)
class LiveScene:
    """No scene at all: the time is the time, and only what is harmless may be asked."""

    def begin(self, given: int | None) -> None:
        """Raises `ValueError` for a trouble: nobody can make a live provider have it."""
        if given is not None:
            raise ValueError("a live provider cannot be put into trouble")

    def passes(self, duration_s: float) -> None:
        """Raises `ValueError` for any time."""
        if duration_s:
            raise ValueError("a live provider's time cannot be moved")

    def now_s(self) -> float:
        return time.time()


@dataclass(frozen=True, slots=True)
class HttpProvider:
    """A provider at a base URL. Without a scene it is a live one."""

    provider: str
    base: str
    key: str
    secret: str = field(default="", repr=False)
    scene: Scene = field(default_factory=LiveScene)

    @property
    def live(self) -> bool:
        return isinstance(self.scene, LiveScene)

    async def answer(self, vector: Vector) -> dict[str, Any]:
        """`status`, `headers`, and `json` where it is some. Raises `OSError`, `TimeoutError`, `ValueError`."""
        self.scene.begin(vector.given)
        reply = None
        for number in range(1, vector.times + 1):
            if number > 1:
                self.scene.passes(vector.every_s + (vector.pause_s if number == vector.times else 0.0))
            reply = await self._ask(dict(vector.ask or {}))
        if reply is None:
            raise ValueError("it is asked zero times")
        answer: dict[str, Any] = {"status": reply.status, "headers": reply.headers}
        try:
            return answer | {"json": reply.json()}
        except ValueError:
            return answer | {"text": reply.body.decode("utf-8", "replace")}

    async def _ask(self, ask: dict[str, Any]) -> plain_http.Reply:
        words = {"key": self.key, **self._signed(ask.get("sign", {}))}
        encoded = words | {"sign": _encoded(words["sign"], ask.get("sign", {}).get("encoded", 1))}
        headers = [(name, _filled(value, words)) for name, value in ask.get("headers", {}).items()]
        body = b""
        if "json" in ask:
            body = json.dumps(minted(ask["json"], words), ensure_ascii=False).encode()
            headers.append(("content-type", ask.get("content_type", "application/json; charset=utf-8")))
        elif "media" in ask:
            body = _multipart(int(ask["media"]))
            headers.append(("content-type", f"multipart/form-data; boundary={_BOUNDARY}"))
        method, target = ask.get("method", "POST"), _filled(ask["target"], encoded)
        return await plain_http.request(self.base, method, target, headers, body, timeout_s=TIMEOUT_S)

    def _signed(self, recipe: dict[str, Any]) -> dict[str, str]:
        if self.provider not in SIGNS:
            return {"time": "", "sign": ""}
        seconds = self.scene.now_s() - recipe.get("age_s", 0)
        moment = str(int(seconds * 1000) if self.provider == "dingtalk" else int(seconds))
        return {"time": moment, "sign": SIGNS[self.provider](moment, recipe.get("secret", self.secret))}


def _sign_of_dingtalk(moment: str, secret: str) -> str:
    return _base64_of_hmac(secret, f"{moment}\n{secret}")


def _sign_of_feishu(moment: str, secret: str) -> str:
    return _base64_of_hmac(f"{moment}\n{secret}", "")


def _base64_of_hmac(key: str, message: str) -> str:
    return base64.b64encode(hmac.new(key.encode(), message.encode(), hashlib.sha256).digest()).decode()


SIGNS = {"dingtalk": _sign_of_dingtalk, "feishu": _sign_of_feishu}
"""By provider: (time as it is sent, secret) -> the sign before any encoding."""


def minted(recipe: Any, words: dict[str, str]) -> Any:
    """A body with its recipes carried out: `{time}` and the like in text, `$text`, `$list`, `$png` for what is large."""
    if isinstance(recipe, str):
        return _filled(recipe, words)
    if isinstance(recipe, list):
        return [minted(each, words) for each in recipe]
    if not isinstance(recipe, dict):
        return recipe
    return _made(recipe, words)


def _made(recipe: dict[str, Any], words: dict[str, str]) -> Any:
    match recipe:
        case {"$text": [unit, times]}:
            return unit * times
        case {"$list": [item, times]}:
            return [minted(item, words)] * times
        case {"$png": [size_bytes, form]}:
            return _png(size_bytes, form)
    return {name: minted(value, words) for name, value in recipe.items()}


def _png(size_bytes: int, form: str) -> str:
    content = b"\x89PNG\r\n\x1a\n".ljust(size_bytes, b"\0")
    return (
        hashlib.md5(content, usedforsecurity=False).hexdigest() if form == "md5" else base64.b64encode(content).decode()
    )


def _filled(text: str, words: dict[str, str]) -> str:
    for name, value in words.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _encoded(sign: str, times: int) -> str:
    for _ in range(times):
        sign = quote(sign, safe="")
    return sign


def _multipart(size_bytes: int) -> bytes:
    head = f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="media"; filename="a.txt"\r\n\r\n'
    return head.encode() + b"x" * size_bytes + f"\r\n--{_BOUNDARY}--\r\n".encode()
