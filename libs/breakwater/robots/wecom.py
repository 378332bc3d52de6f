"""WeCom's group robot (企业微信群机器人): unsigned, 20 messages a minute."""

from datetime import datetime

from breakwater.robots.form import Codes, Credential, Form, Message, Post, cut, judged_by

TEXT_SIZE_BYTES_MAX = 2048
_CODES = Codes(later={45009: 60.0}, busy=frozenset({-1}), credential=frozenset({93000}))


def _post(credential: Credential, message: Message, _now: datetime) -> Post:
    text = {
        "content": cut(message.whole, TEXT_SIZE_BYTES_MAX),
        "mentioned_list": ["@all"] if message.urgent else message.user_ids,
        "mentioned_mobile_list": message.mobiles,
    }
    return Post("/cgi-bin/webhook/send", {"msgtype": "text", "text": text}, {"key": credential.key})


FORM = Form(_post, judged_by("wecom", "errcode", lambda code, _: _CODES.refusal("wecom", code)))
