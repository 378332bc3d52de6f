"""Robots' limits over all replicas, and what gathers behind them."""

import asyncio
import json
from collections import Counter
from functools import partial

import pytest

from breakwater.leads.v1.events_pb2 import ImportCompleted, LeadAssigned
from services.notify.delivery.domain import OutgoingState, Severity
from services.notify.escalation.domain import Outcome, Verdict
from tests.support.notifying import attempts, received

PENALTIES = {"wecom": 45009, "dingtalk": 130101, "feishu": 11232}


@pytest.mark.parametrize(
    ("provider", "a_minute", "replicas", "step_s"),
    [("wecom", 20, 3, 3), ("dingtalk", 20, 3, 3), ("feishu", 100, 2, 2)],
)
async def test_ten_times_a_robots_limit_breaks_it_never(notifying, provider, a_minute, replicas, step_s):
    """Ten minutes' worth of people at once over replicas: everybody is told, none is one too many, nobody asks again and again.

    The provider's own count judges each message, without a connection between: a thousand of them would test that one.
    """
    notify = await notifying(replicas=replicas, providers=(provider,))
    people = await notify.crowd(10 * a_minute, provider)
    said, asked = Counter(), Counter()

    async def send(parcel):
        code = notify.stubs[provider].rate()
        said[code] += 1
        return Verdict(Outcome.LATER, str(code), 60.0) if code else Verdict(Outcome.DELIVERED)

    dispatchers = [notify.replica(database, send=send) for database in notify.databases]
    for replica in dispatchers:
        replica._begin = partial(counted, asked, replica._begin)
    for _ in range(600):
        await asyncio.gather(*(replica.turn() for replica in dispatchers))
        await asyncio.gather(*(replica.settled() for replica in dispatchers))
        if said.total() == len(people):
            break
        await notify.clock.advance(step_s)
    assert said == {0: len(people)}
    async with notify.databases[0].read() as reader:
        states = await reader.fetch("SELECT state, count(*) FROM outgoing GROUP BY state")
    assert [tuple(row) for row in states] == [(OutgoingState.SENT, len(people))]
    minutes = (notify.clock.now() - notify.clock._start).total_seconds() / 60
    assert 9 <= minutes <= 15, f"it took {minutes:.1f} minutes"
    # Each once to be put off, once to be taken and once for the outcome; and the others find that one replica was faster.
    assert asked["transactions"] <= 10 * len(people)


def counted(asked, begin):
    """`begin` of a transaction, counted."""
    asked["transactions"] += 1
    return begin()


async def test_who_waits_for_a_robot_that_is_closed_meanwhile_takes_another_way(notifying):
    """Thirty wait for one robot; it refuses its key to the next: all the others leave by the other channel at once."""
    notify = await notifying(providers=("wecom", "feishu"))
    people = await notify.crowd(48, "wecom", "feishu")
    await notify.turn()
    assert len(notify.stubs["wecom"].taken) == 18
    notify.stubs["wecom"].begin(93000)
    await notify.passes(90, step_s=2)
    assert len(notify.stubs["wecom"].heard) > 18
    assert len(notify.stubs["feishu"].taken) == len(people) - 18


async def test_who_waits_for_a_robot_leaves_in_turn_and_a_warning_before_them(notifying):
    """Sixty people wait; a warning that comes last leaves with the first room, the others in the order they came in."""
    notify = await notifying(providers=("wecom",))
    people = await notify.crowd(60, "wecom")
    await notify.turn()
    await notify.person("anna", "wecom")
    await notify.say("anna", "late", severity=Severity.WARNING)
    await notify.passes(240, step_s=3)
    told = [json.loads(heard.body)["text"]["mentioned_list"][0] for heard in notify.stubs["wecom"].taken]
    assert sorted(told[:18]) == people[:18]
    assert (told[18], sorted(told[19:])) == ("anna", people[18:])
    # Those who leave in one turn may overtake each other on the way.
    assert all(abs(people.index(each) - place) < 36 for place, each in enumerate(told[19:], 18))


async def test_under_pressure_what_waits_for_one_person_goes_together(notifying):
    """A robot near its limit: two hundred for one person are one message behind eighteen for others; each shows its attempt."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    for number in range(18):
        await notify.person(f"p{number}", "wecom")
        await notify.say(f"p{number}", f"p{number}")
    await notify.turn()
    for number in range(200):
        await notify.say("anna", f"k{number}")
        await notify.turn()
    taken = notify.stubs["wecom"].taken
    assert len(taken) == 18
    await notify.passes(65, step_s=5)
    [heard] = taken[18:]
    text = json.loads(heard.body)["text"]["content"]
    assert text.startswith("您有 200 条新提醒")
    assert "另有 190 条" in text
    page = await notify.seen("anna")
    assert {tuple(attempts(each)) for each in page} == {(("wecom", "delivered"),)}


async def test_what_is_critical_finds_room_at_a_busy_robot(notifying):
    """A tenth of each window is kept for it, and it does not wait behind what is not."""
    notify = await notifying(providers=("wecom",))
    for number in range(30):
        await notify.person(f"p{number}", "wecom")
        await notify.say(f"p{number}", f"p{number}")
    await notify.turn()
    await notify.person("anna", "wecom")
    await notify.say("anna", "alarm", severity=Severity.CRITICAL)
    await notify.turn()
    assert "alarm" in notify.stubs["wecom"].taken[-1].body.decode()
    assert len(notify.stubs["wecom"].taken) == 19


async def test_a_push_back_keeps_every_replica_away(notifying):
    """DingTalk's ten minutes of penalty are kept by the replica that was not told of them as well."""
    notify = await notifying(replicas=2, providers=("dingtalk",))
    for person in ("anna", "bo"):
        await notify.person(person, "dingtalk")
    stub = notify.stubs["dingtalk"]
    stub.begin(PENALTIES["dingtalk"])
    await notify.say("anna", "k1")
    await notify.turn()
    stub.begin()
    await notify.say("bo", "k2")
    await notify.passes(590, step_s=10)
    assert len(stub.heard) == 1
    await notify.passes(20, step_s=10)
    assert len(stub.taken) == 2


def assigned(number, owner, import_id="i1"):
    """One lead of an import."""
    return LeadAssigned(
        lead_id=f"l{number}",
        assignment_id=f"{import_id}-a{number}",
        owner_id=owner,
        lead_name=f"客户{number}",
        priority="P2",
        import_id=import_id,
    )


OWNERS = [f"owner{number}" for number in range(10)]


async def imported(notify, count, replicas=1, import_id="i1"):
    """The events of an import as they come: in batches, over replicas at once, its last word among them."""
    batches = [
        [received(assigned(number, OWNERS[number % 10], import_id)) for number in range(start, start + 100)]
        for start in range(0, count, 100)
    ]

    async def take(batch, database):
        async with database.transaction(long=True) as tx:
            await notify.events.leads_assigned(tx, batch)

    for start in range(0, len(batches), replicas):
        some = zip(batches[start : start + replicas], notify.databases, strict=False)
        await asyncio.gather(*(take(batch, database) for batch, database in some))
        # Time goes by, and replicas look for what is due, while the import is still at it.
        await notify.passes(1)
        if start <= len(batches) // 2 < start + replicas:
            done = ImportCompleted(import_id=import_id, dataset="leads", started_by="chef", rows=count, created=count)
            await notify.tell(notify.events.import_completed, done)


@pytest.mark.capability(1)
@pytest.mark.parametrize("near_the_limit", [False, True])
async def test_an_import_of_four_thousand_leads_is_one_message_for_each_owner(notifying, near_the_limit):
    """The import that floods: 4,000 leads of ten owners, handled by three replicas, its end told in the middle of it."""
    notify = await notifying(replicas=3, providers=("wecom",))
    for owner in OWNERS:
        await notify.person(owner, "wecom")
    await notify.person("chef")
    if near_the_limit:
        for number in range(18):
            await notify.person(f"p{number}", "wecom")
            await notify.say(f"p{number}", f"p{number}")
        await notify.turn()
    before = len(notify.stubs["wecom"].taken)
    await imported(notify, 4_000, replicas=3)
    await notify.passes(90, step_s=5)
    taken = notify.stubs["wecom"].taken[before:]
    told = Counter(json.loads(heard.body)["text"]["mentioned_list"][0] for heard in taken)
    assert told == dict.fromkeys(OWNERS, 1)
    assert all("您有 400 条新提醒" in json.loads(heard.body)["text"]["content"] for heard in taken)
    assert len(notify.stubs["wecom"].heard) == len(notify.stubs["wecom"].taken)
    # In the inbox each lead stands by itself, in the batch of its import.
    assert len(await notify.seen(OWNERS[0], batch="import:i1", text="客户")) == 200


async def test_an_import_that_never_says_its_end_is_told_of_nevertheless(notifying):
    """Half an hour after its first lead at the latest."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    async with notify.databases[0].transaction() as tx:
        await notify.events.leads_assigned(tx, [received(assigned(1, "anna")), received(assigned(2, "anna"))])
    await notify.passes(1740, step_s=60)
    assert not notify.stubs["wecom"].taken
    await notify.passes(120, step_s=60)
    assert len(notify.stubs["wecom"].taken) == 1


async def test_a_digest_of_long_titles_says_how_many_more_there_are(notifying):
    """Ten titles of two hundred characters do not crowd the last line out of the 2,048 bytes of a WeCom message."""
    notify = await notifying(providers=("wecom",))
    await notify.person("anna", "wecom")
    for number in range(30):
        await notify.say("anna", f"k{number}", title="长" * 200)
    await notify.turn()
    [heard] = notify.stubs["wecom"].taken
    assert "另有 20 条" in json.loads(heard.body)["text"]["content"]
