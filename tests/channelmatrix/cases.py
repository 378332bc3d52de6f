"""The error matrix: the recorded answers of `contracts/external`, broken transports, and SMTP's replies."""

import asyncio
import json
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from tests.support.http_robot import Says

ROOT: Final = Path(__file__).parents[2]
ROBOTS: Final = ("wecom", "dingtalk", "feishu")
OK, LATER, PERMANENT, UNKNOWN = "ok", "later", "permanent", "unknown"


@dataclass(frozen=True, slots=True)
class Case:
    """One behaviour of one channel's server, and what it means for the message."""

    channel: str
    name: str
    means: str
    says: Says | None = None
    """Of a robot; None where it does not answer like HTTP."""
    trouble: str = ""
    """`closed`: nobody listens; `hangs`: no answer; for SMTP also `drops`: the connection is lost."""
    at: str = ""
    """Of SMTP: `rcpt` or `data`."""
    line: str = ""
    """SMTP's reply."""


def cases() -> list[Case]:
    """All of them, in a fixed order."""
    found = [case for provider in ROBOTS for case in (*_recorded(provider), *_broken(provider))]
    return [*found, *_smtp()]


def _recorded(provider: str) -> list[Case]:
    lines = (ROOT / f"contracts/external/{provider}/1.0.0/vectors.jsonl").read_text(encoding="utf-8").splitlines()
    vectors = [json.loads(line) for line in lines]
    return [Case(provider, each["id"], _means(each), _says(each["answer"])) for each in vectors if "means" in each]


def _means(vector: dict[str, Any]) -> str:
    # A status that is no 2xx says by itself that nothing was taken: it is tried again, not kept as unknown.
    failed = vector["means"] == UNKNOWN and vector["answer"].get("status", 200) >= HTTPStatus.MULTIPLE_CHOICES
    return LATER if failed else str(vector["means"])


def _says(answer: dict[str, Any]) -> Says:
    body = answer.get("json")
    if isinstance(body, dict):
        # The first of several codes that will do.
        body = {name: value["$in"][0] if isinstance(value, dict) else value for name, value in body.items()}
    content = answer["text"].encode() if "text" in answer else json.dumps(body).encode() if body is not None else b""
    return Says(answer.get("status", 200), content, answer.get("headers", {}))


def _broken(provider: str) -> list[Case]:
    code = "code" if provider == "feishu" else "errcode"
    well = json.dumps({code: 0}).encode()
    answers = [
        *((f"HTTP {status}", LATER, Says(status, b"{}")) for status in (429, 500, 502, 503, 504)),
        *((f"HTTP {status}", PERMANENT, Says(status, b"{}")) for status in (400, 401, 403, 404, 413)),
        ("HTTP 500 with a body that says well", LATER, Says(500, well)),
        ("a redirect", LATER, Says(302, b"", {"location": "http://127.0.0.1:1/"})),
        ("an empty body", UNKNOWN, Says(200, b"")),
        ("an empty object", UNKNOWN, Says(200, b"{}")),
        ("a page of HTML", UNKNOWN, Says(200, b"<html>login</html>", {"content-type": "text/html"})),
        ("a list", UNKNOWN, Says(200, b"[0]")),
        ("the code as text", UNKNOWN, Says(200, json.dumps({code: "0"}).encode())),
        ("the code false", UNKNOWN, Says(200, json.dumps({code: False}).encode())),
        ("the code null", UNKNOWN, Says(200, json.dumps({code: None}).encode())),
        ("a code nobody knows", UNKNOWN, Says(200, json.dumps({code: 987_654}).encode())),
        (
            "an answer cut short",
            UNKNOWN,
            Says(raw=b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n" + well, closes=True),
        ),
        ("no HTTP", UNKNOWN, Says(raw=b"220 hello\r\n\r\n", closes=True)),
        ("a connection closed without an answer", UNKNOWN, Says(raw=b"", closes=True)),
    ]
    if provider == "feishu":
        failed = json.dumps({"StatusCode": 0, "code": 19021, "msg": "sign match fail"}).encode()
        answers.append(("StatusCode 0 beside an error's code", PERMANENT, Says(200, failed)))
    return [
        *(Case(provider, name, means, says) for name, means, says in answers),
        Case(provider, "nobody listens", LATER, trouble="closed"),
        Case(provider, "no answer in time", UNKNOWN, trouble="hangs"),
    ]


def _smtp() -> list[Case]:
    later, permanent = (
        ("421 closing", "450 busy", "451 error", "452 full"),
        ("550 none", "551 moved", "552 full", "553 name", "554 no"),
    )
    return [
        Case("email", "250 at the end", OK),
        *(Case("email", f"{line} at {at}", LATER, at=at, line=line) for at in ("rcpt", "data") for line in later),
        *(
            Case("email", f"{line} at {at}", PERMANENT, at=at, line=line)
            for at in ("rcpt", "data")
            for line in permanent
        ),
        Case("email", "nobody listens", LATER, trouble="closed"),
        Case("email", "the connection lost after the text", UNKNOWN, at="data", trouble="drops"),
        Case("email", "no answer after the text", UNKNOWN, at="data", trouble="hangs"),
    ]


async def never() -> Says:
    """An answer that does not come."""
    await asyncio.Event().wait()
    raise AssertionError
