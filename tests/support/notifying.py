"""notify on a real PostgreSQL before providers' stubs: replicas with one virtual time, which the stubs share."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import yaml

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.database import Database
from breakwater.chassis.egress import Egress
from breakwater.chassis.http_client import HttpClient
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.inbox import Received
from breakwater.chassis.mail import MailClient, MailServer
from breakwater.chassis.settings import Tls
from breakwater.resilience import Policy, PolicySettings
from breakwater.robots import FORMS, Credential, Robot
from services.notify.channels.domain import Binding
from services.notify.channels.store import ChannelStore
from services.notify.clients import Ways
from services.notify.consumer import LeadEvents
from services.notify.delivery.domain import Message, Notification
from services.notify.delivery.store import InboxStore, Posting, TransactionInboxes
from services.notify.delivery.usecases import Query, Recipient
from services.notify.digests.domain import Holding
from services.notify.escalation.domain import Rules
from services.notify.escalation.worker import Dispatcher
from services.notify.settings import NotifySettings
from services.notify.templates.domain import Wordbook, wordbook
from tests.support.postbox import Postbox
from tests.support.providers import KEY, SECRET

ROOT = Path(__file__).parents[2]
LOOPBACK = Egress([ip_network("127.0.0.0/8")])
SHANGHAI = ZoneInfo("Asia/Shanghai")
START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
"""A Monday, 09:00 in Shanghai."""
ROOT_ACTOR = Actor("root", Role.ADMIN, Scope.ALL)
RULES = NotifySettings(environment="development").rules


def default_words() -> Wordbook:
    """The words that come with the service."""
    return wordbook(yaml.safe_load((ROOT / "services/notify/templates/defaults.yaml").read_text(encoding="utf-8")))


def received(event: Any, sequence: int = 1, event_id: str = "e1") -> Received:
    """An event as it arrives."""
    return Received(
        id=event_id,
        type=event.DESCRIPTOR.full_name,
        subject_id="s",
        sequence=sequence,
        time=START,
        data=event.SerializeToString(),
        traceparent=None,
    )


@dataclass
class Notifying:
    """One or more replicas over one database; `stubs` by provider, whose time is this clock's."""

    databases: list[Database]
    stubs: Mapping[str, Any]
    postbox: Postbox | None
    stack: AsyncExitStack
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(START))
    rules: Rules = RULES
    timeout_s: float = 5.0
    """Of one try: real time."""
    replicas: list[Dispatcher] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.posting = Posting(default_words(), Holding(), leaves=True)
        self.events = LeadEvents(self.clock, SHANGHAI, self.posting)
        self.inboxes = InboxStore(self.databases[0], self.posting)
        self.channels = ChannelStore(self.databases[0])
        for stub in self.stubs.values():
            stub.now_s = self.now_s
        self.replicas += [self.replica(database) for database in self.databases]

    def now_s(self) -> float:
        return self.clock.now().timestamp()

    def ways(self) -> Ways:
        """Clients and policies of a process's own."""
        robots = {f"{name}:default": self._robot(name, stub) for name, stub in self.stubs.items()}
        mail = None
        if self.postbox is not None:
            server = MailServer("127.0.0.1", self.postbox.port, tls=Tls.NONE)
            mail = MailClient("smtp", server, self._policy("smtp"), egress=LOOPBACK)
        return Ways(robots, mail, "crm@example.com")

    def replica(self, database: Database, **options: Any) -> Dispatcher:
        ways = self.ways()
        given = {"rules": self.rules, "zone": SHANGHAI, "poll_s": 0.05, **options}
        return Dispatcher(database, self.posting, given.pop("send", ways.send), self.clock, **given)

    async def person(
        self, person_id: str, *channels: str, supervisor: str = "", email: str = "", name: str = ""
    ) -> None:
        """Somebody who is bound to `channels` of the robot `default`."""
        await self.learn(Recipient(person_id, name or person_id, "t1", supervisor, active=True, email=email))
        for channel in channels:
            await self.channels.bind(person_id, Binding(channel, person_id, "default"), self.clock.now())

    async def learn(self, person: Recipient, sequence: int = 1) -> None:
        """What leads says of somebody."""
        async with self.databases[0].transaction() as tx:
            await TransactionInboxes(tx, self.posting).learn(person, sequence)

    async def crowd(self, count: int, *channels: str) -> list[str]:
        """So many people who are bound to `channels`, each with a message that is due."""
        people = [f"p{number:04}" for number in range(count)]
        now = self.clock.now()
        async with self.databases[0].transaction() as tx:
            for channel in channels:
                await tx.execute(
                    "INSERT INTO bindings SELECT p, $2, 'default', p, $3 FROM unnest($1::text[]) AS p",
                    people,
                    channel,
                    now,
                )
            messages = [
                Message(each, "lead_assigned", f"新线索 {each}", "请跟进", f"lead:{each}", each) for each in people
            ]
            await TransactionInboxes(tx, self.posting).add(messages, now)
        return people

    async def say(self, recipient: str, key: str, **changes: Any) -> Notification:
        """Stores one message."""
        given = {"kind": "lead_assigned", "title": f"新线索 {key}", "body": "请跟进", "subject": f"lead:{key}"}
        message = Message(recipient_id=recipient, dedup_key=key, **(given | changes))
        [(notification, _)] = await self.inboxes.add([message], self.clock.now())
        return notification

    async def tell(self, handler: Callable[..., Any], *events: Any) -> None:
        """Handles events, each in a transaction of its own."""
        for event in events:
            async with self.databases[0].transaction() as tx:
                await handler(tx, received(event))

    async def turn(self) -> int:
        """Every replica sends what is due at this moment, until nothing is; returns how many messages left."""
        left = idle = 0
        while idle < 2:
            taken = await self._once()
            left, idle = left + taken, 0 if taken else idle + 1
        return left

    async def _once(self) -> int:
        taken = 0
        for replica in self.replicas:
            taken += await replica.turn()
        for replica in self.replicas:
            await replica.settled()
        return taken

    async def passes(self, duration_s: float, step_s: float = 1.0) -> int:
        """Time goes by in steps, and what becomes due leaves; returns how many messages left."""
        left = await self.turn()
        for _ in range(round(duration_s / step_s)):
            await self.clock.advance(step_s)
            left += await self.turn()
        return left

    async def seen(self, recipient: str, **query: Any) -> list[Notification]:
        """What stands in somebody's inbox, newest first."""
        page = await self.inboxes.page(ROOT_ACTOR, Query(recipient_id=recipient, **query), 200, "")
        return list(page.items)

    async def everything(self, recipient: str) -> list[Notification]:
        """All of somebody's inbox, newest first."""
        found, cursor = [], ""
        while True:
            page = await self.inboxes.page(ROOT_ACTOR, Query(recipient_id=recipient), 200, cursor)
            found += page.items
            cursor = page.next_cursor
            if not cursor:
                return found

    def _robot(self, name: str, stub: Any) -> Robot:
        client = HttpClient(name, stub.base, self._policy(name), judge=FORMS[name].judge, egress=LOOPBACK)
        self.stack.push_async_callback(client.close)
        return Robot(name, client, Credential(KEY, SECRET), self.clock)

    def _policy(self, name: str) -> Policy:
        return Policy(PolicySettings(caller="notify", dependency=name, attempt_timeout_s=self.timeout_s))


def attempts(notification: Notification) -> list[tuple[str, str]]:
    """Channel and state of each attempt beyond the inbox, in order."""
    return [(each.channel, each.state.value) for each in notification.attempts if each.channel != "in_app"]
