"""Feishu's and Lark's custom bot (飞书自定义机器人): signed in the body, 5 messages a second and 100 a minute."""

import base64
import hmac
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from breakwater.chassis.http_client import Refusal
from breakwater.resilience import Outcome
from breakwater.robots.form import Codes, Credential, Form, Message, Post, cut, judged_by

TEXT_SIZE_BYTES_MAX = 16 * 1024
"""A body has 20 KB at most; what JSON adds to a text fits into the rest, unless it is made of control characters."""
_EVERYBODY = '<at user_id="all">所有人</at> '
_MALFORMED = 9499
_CODES = Codes(
    later={11232: 60.0},
    credential=frozenset({19001, 19021, 19022}),
    permanent=frozenset({_MALFORMED, 19024, 19007}),
)


def sign(secret: str, timestamp_s: int) -> str:
    """Time and secret are the key, the message is empty."""
    return base64.b64encode(hmac.digest(f"{timestamp_s}\n{secret}".encode(), b"", "sha256")).decode()


def _post(credential: Credential, message: Message, now: datetime) -> Post:
    timestamp_s = int(now.timestamp())
    named = "".join(f'<at user_id="{each}"></at> ' for each in message.mentions)
    # A lead's name is anybody's word and must mention nobody.
    said = message.whole.replace("<at", "＜at")
    text = f"{_EVERYBODY if message.urgent else named}{said}"
    body: dict[str, Any] = {"msg_type": "text", "content": {"text": cut(text, TEXT_SIZE_BYTES_MAX)}}
    if credential.secret:
        body |= {"timestamp": str(timestamp_s), "sign": sign(credential.secret, timestamp_s)}
    return Post(f"/open-apis/bot/v2/hook/{credential.key}", body)


def _refusal(code: int, document: Mapping[str, Any]) -> Refusal:
    # The same code is seen for a rate that is passed; only its words tell.
    if code == _MALFORMED and "too many" in str(document.get("msg", "")):
        return Refusal(Outcome.OVERLOAD, f"feishu answered {code}: too many messages.", retry_after_s=60.0)
    return _CODES.refusal("feishu", code)


FORM = Form(_post, judged_by("feishu", "code", _refusal))
