"""DingTalk's group robot (钉钉群机器人): signed in the address, 20 messages a minute, then throttled for ten."""

import base64
import hmac
from datetime import datetime

from breakwater.robots.form import Codes, Credential, Form, Message, Post, cut, judged_by

TEXT_SIZE_BYTES_MAX = 16 * 1024
"""The provider states none; what is longer nobody reads."""
_CODES = Codes(
    later={410100: 600.0, 130101: 600.0},
    busy=frozenset({-1}),
    credential=frozenset({310000, 400101, 300005}),
    permanent=frozenset({400013, 400102, 400105, 400106, 430101, 430102, 430103, 430104, 40035, 43004}),
)


def sign(secret: str, timestamp_ms: int) -> str:
    """As it is before it is encoded into the address, which happens once."""
    return base64.b64encode(hmac.digest(secret.encode(), f"{timestamp_ms}\n{secret}".encode(), "sha256")).decode()


def _post(credential: Credential, message: Message, now: datetime) -> Post:
    timestamp_ms = int(now.timestamp() * 1000)
    params = {"access_token": credential.key}
    if credential.secret:
        params |= {"timestamp": str(timestamp_ms), "sign": sign(credential.secret, timestamp_ms)}
    # Who is mentioned must stand in the text as well, or nobody sees the mention.
    named = "".join(f"@{each} " for each in message.mentions)
    body = {
        "msgtype": "text",
        "text": {"content": cut(f"{named}{message.whole}", TEXT_SIZE_BYTES_MAX)},
        "at": {"atMobiles": message.mobiles, "atUserIds": message.user_ids, "isAtAll": message.urgent},
    }
    return Post("/robot/send", body, params)


FORM = Form(_post, judged_by("dingtalk", "errcode", lambda code, _: _CODES.refusal("dingtalk", code)))
