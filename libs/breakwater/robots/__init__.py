"""Group robots of WeCom (企业微信), DingTalk (钉钉) and Feishu (飞书): what goes over the wire, and what an answer means.

Errors arrive as HTTP 200, so each form judges the body: what is not said to be well is not. Source of every figure and code:
wire-formats.md; `contracts/external` holds recorded answers to it.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from breakwater.chassis.clock import Clock
from breakwater.chassis.http_client import HttpClient
from breakwater.resilience import Deadline
from breakwater.robots import dingtalk, feishu, wecom
from breakwater.robots.form import Credential, Form, Message

__all__ = ["FORMS", "Credential", "Form", "Message", "Robot"]

FORMS: Final[Mapping[str, Form]] = {"wecom": wecom.FORM, "dingtalk": dingtalk.FORM, "feishu": feishu.FORM}
"""By the name of the provider, which is that of its edge as well."""

_JSON = {"content-type": "application/json; charset=utf-8"}


class Robot:
    """One robot of a group. `client` judges answers by the form: `service.http(name, judge=FORMS[name].judge)`."""

    def __init__(self, name: str, client: HttpClient, credential: Credential, clock: Clock) -> None:
        """Raises `ValueError` for a credential that is none, without showing it."""
        credential.check()
        self.name = name
        self._form = FORMS[name]
        self._client = client
        self._credential = credential
        self._clock = clock

    async def send(self, message: Message, *, deadline: Deadline | None = None) -> None:
        """Says it to the group; what is too long for the robot is cut. Raises as `HttpClient.request` does.

        Never tried again here: after a time-out nobody knows whether the group has read it.
        """
        post = self._form.post(self._credential, message, self._clock.now())
        content = orjson.dumps(post.body)
        await self._client.request(
            "POST", post.path, params=post.params, content=content, headers=_JSON, deadline=deadline
        )
