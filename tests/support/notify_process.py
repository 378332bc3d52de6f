"""A replica of notify's dispatcher as a process of its own, to be killed: `python -m tests.support.notify_process DSN BASE`."""

import asyncio
import sys
from dataclasses import replace
from datetime import timedelta

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.http_client import HttpClient
from breakwater.resilience import Policy, PolicySettings
from breakwater.robots import FORMS, Credential, Robot
from services.notify.clients import Ways
from services.notify.delivery.store import Posting
from services.notify.escalation.worker import Dispatcher
from tests.support.notifying import LOOPBACK, RULES, SHANGHAI, default_words
from tests.support.providers import KEY, SECRET

LEASE_S = 6.0


async def run(dsn: str, base: str) -> None:
    """Sends what is due by WeCom until it is killed."""
    database = await Database.open(dsn, service="notify")
    policy = Policy(PolicySettings(caller="notify", dependency="wecom", attempt_timeout_s=10.0))
    client = HttpClient("wecom", base, policy, judge=FORMS["wecom"].judge, egress=LOOPBACK)
    robot = Robot("wecom", client, Credential(KEY, SECRET), SystemClock())
    rules = replace(RULES, lease=timedelta(seconds=LEASE_S), doubt=timedelta(seconds=1))
    ways = Ways({"wecom:default": robot}, None, "")
    posting = Posting(default_words(), leaves=True)
    await Dispatcher(database, posting, ways.send, SystemClock(), rules=rules, zone=SHANGHAI, poll_s=0.2).run()


if __name__ == "__main__":
    asyncio.run(run(*sys.argv[1:]))
