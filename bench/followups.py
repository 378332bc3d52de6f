"""A customer's story, a quick follow-up, a text tagged: `python -m bench.followups [--entries 10000] [--rounds 300]`.

The use cases against a real PostgreSQL, durable as in production; no gateway. The customer with the long story stands among
others that have as much together ten times over. Beside the story: the same rows by one UNION that is sorted as a whole;
beside tagging: `re` with the same words as alternatives.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
import uvloop

from breakwater.chassis.clock import SystemClock
from breakwater.chassis.database import Database
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.postgres import PostgresServer
from services.leads.documents.store import Newest
from services.leads.followups.playbook import PLAYBOOK, read_playbook
from services.leads.followups.store import PostgresWorkStore
from services.leads.followups.usecases import add_quick_follow_up
from services.leads.idempotence import Keyed
from services.leads.routing.store import Snapshots
from services.leads.settings import LeadsSettings
from services.leads.sla.calendars import load_holidays
from services.leads.story.domain import Place
from services.leads.story.store import PostgresStoryReader
from services.leads.story.usecases import BeginStory, get_story
from services.leads.tagging.domain import TEXT_CHARS_MAX, read_dictionary

EVERYTHING = Actor("bench", Role.SERVICE, Scope.ALL)
WORDS = 10_000
_LEAD = "00000000-0000-7000-8000-{customer:06d}{lead:06d}"
_CUSTOMER = "00000000-0000-7000-8001-{customer:012d}"

_ID = "('00' || substr(md5(random()::text), 3))::uuid"
"""Smaller than any made now, as ids of the past are."""

# A twentieth of the entries are leads, as many decisions and steps; the rest are follow-ups and calls by halves.
_FILL = f"""
    INSERT INTO customers (id, name, owner_id, created_at, updated_at) VALUES ($1::uuid, '王芳', 'p', now(), now());
    INSERT INTO leads (id, customer_id, name, source, stage, owner_id, created_at, captured_at, sequence)
    SELECT ($3 || lpad(n::text, 6, '0'))::uuid, $1::uuid, '王芳', '展会', 'contacted', 'p', t.at, t.at, 1
    FROM generate_series(1, $2 / 20) AS n, LATERAL (SELECT now() - n * interval '20 minutes') AS t(at);
    INSERT INTO assignments (id, lead_id, owner_id, rule_id, rule_version, priority, reason, candidates, decided_at)
    SELECT {_ID}, id, 'p', 'r', 1, 'P2', '销售一部轮流', '[["p", "甲", ""]]', captured_at
    FROM leads WHERE customer_id = $1::uuid;
    INSERT INTO lead_steps (id, lead_id, kind, actor_id, at)
    SELECT {_ID}, id, 'claimed', 'p', captured_at + interval '1 minute' FROM leads WHERE customer_id = $1::uuid;
    INSERT INTO follow_ups (id, lead_id, customer_id, author_id, goal, customer_words, next_action, next_action_due,
                            objection, pain_tags, source, first_touch_at, stage, created_at)
    SELECT {_ID}, ($3 || lpad((1 + n % ($2 / 20))::text, 6, '0'))::uuid, $1::uuid, 'p', '确认型号',
           repeat('价格比上一家高。', 20), '发送对比报价', now(), '价格', ARRAY['ERP替换'], '展会', now(),
           'contacted', now() - n * interval '1 minute'
    FROM generate_series(1, $2 * 17 / 40) AS n;
    INSERT INTO activities (id, customer_id, refs, kind, subject, direction, purpose, owner_id, occurred_at,
                            duration_s, import_id)
    SELECT {_ID}, $1::uuid, ARRAY[]::text[], 'call', '回访', 'outbound', '', 'p', now() - n * interval '1 minute', 60, 'i'
    FROM generate_series(1, $2 * 17 / 40) AS n;
"""  # noqa: S608 - a constant
_UNION = """
    SELECT * FROM (
        SELECT captured_at AS at, id, to_jsonb(l) AS detail FROM leads l WHERE customer_id = $1
        UNION ALL SELECT decided_at, a.id, to_jsonb(a) FROM assignments a JOIN leads l ON l.id = lead_id WHERE customer_id = $1
        UNION ALL SELECT at, s.id, to_jsonb(s) FROM lead_steps s JOIN leads l ON l.id = lead_id WHERE customer_id = $1
        UNION ALL SELECT created_at, id, to_jsonb(f) FROM follow_ups f WHERE customer_id = $1
        UNION ALL SELECT occurred_at, id, to_jsonb(a) FROM activities a WHERE customer_id = $1
    ) AS story ORDER BY at, id LIMIT 200 OFFSET $2
"""


def figure(name: str, value: float, unit: str, peer: str | None = None, peer_value: float | None = None) -> None:
    ratio = round(value / peer_value, 3) if peer_value else None
    peer_value = round(peer_value, 3) if peer_value else None
    line = {"bench": "followups", "figure": name, "value": round(value, 3), "unit": unit}
    print(json.dumps(line | {"peer": peer, "peer_value": peer_value, "ratio": ratio}), flush=True)


async def times_ms(rounds: int, once: Callable[[int], Awaitable[object]]) -> list[float]:
    """How long each round took, sorted; some go before that do not count."""
    took = []
    for turn in range(rounds + 20):
        began = time.perf_counter()
        await once(turn)
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took[20:])


def at(took: list[float], share: float) -> float:
    return took[min(len(took) - 1, int(len(took) * share))]


async def measure_story(database: Database, begin: BeginStory, entries: int, rounds: int) -> None:
    clock = SystemClock()
    customer = _CUSTOMER.format(customer=0)
    places: list[Place | None] = [None]
    told = 0
    while True:
        page, place = await get_story(begin, EVERYTHING, customer, "", places[-1], 200, now=clock.now())
        told += len(page)
        if place is None:
            break
        places.append(place)
    figure("entries_of_the_story", told, "entries")
    if told < entries * 0.95:
        sys.exit(f"the story has {told} entries, not {entries}")

    async def page_at(turn: int) -> None:
        place = places[turn % len(places)]
        await get_story(begin, EVERYTHING, customer, "", place, 200, now=clock.now())

    async def union(turn: int) -> None:
        async with database.read() as reader:
            await reader.fetch(_UNION, customer, turn % len(places) * 200)

    ours, theirs = await times_ms(rounds, page_at), await times_ms(min(rounds, 60), union)
    for share in (0.5, 0.99):
        name = f"story_page_of_200_p{share * 100:.0f}"
        figure(name, at(ours, share), "ms", "one sorted UNION", at(theirs, share))

    async def page_of_1000(_: int) -> None:
        await get_story(begin, EVERYTHING, customer, "newest", None, 1_000, now=clock.now())

    figure("story_page_of_1000_p99", at(await times_ms(rounds // 3, page_of_1000), 0.99), "ms")


async def measure_quick(database: Database, snapshots: Snapshots, rounds: int) -> None:
    clock = SystemClock()
    begin = partial(PostgresWorkStore.begin, database, snapshots, Newest(PLAYBOOK, read_playbook))
    leads = [_LEAD.format(customer=1, lead=lead) for lead in range(1, 21)]

    async def once(turn: int) -> None:
        await add_quick_follow_up(
            begin,
            Keyed("bench", "Quick", f"key-{turn}", b"body"),
            EVERYTHING,
            leads[turn % len(leads)],
            "quote-sent",
            "ERP替换",
            now=clock.now(),
            encode=lambda kept: kept.id.encode(),
        )

    began = time.process_time()
    took = await times_ms(rounds, once)
    figure("quick_follow_up_p50", at(took, 0.5), "ms")
    figure("quick_follow_up_p99", at(took, 0.99), "ms")
    figure("quick_follow_up_cpu", (time.process_time() - began) / (rounds + 20) * 1e6, "us")


def measure_tagging(rounds: int) -> None:
    """A text as long as is taken, by a dictionary as large as is taken."""
    rng = random.Random(20)
    letters = [chr(code) for code in range(0x4E00, 0x4E00 + 2_000)]
    words = sorted({"".join(rng.choices(letters, k=rng.randint(2, 5))) for _ in range(WORDS * 2)})
    rng.shuffle(words)
    words = words[:WORDS]
    tags = [{"id": f"t{n}", "title": "t", "words": words[n * 100 : n * 100 + 100]} for n in range(WORDS // 100)]
    began = time.perf_counter()
    dictionary = read_dictionary({"tags": tags}, 1)
    figure("dictionary_of_10000_words_read", (time.perf_counter() - began) * 1000, "ms")
    text = "".join(rng.choice(words) if rng.random() < 0.05 else rng.choice(letters) for _ in range(TEXT_CHARS_MAX))
    text = text[:TEXT_CHARS_MAX]
    pattern = re.compile("|".join(sorted(words, key=len, reverse=True)))
    found, beside, ours, theirs = [], [], [], []
    for _ in range(max(5, rounds // 30)):
        began = time.perf_counter()
        found = [(each.start, each.end) for each in dictionary.tag(text).highlights]
        ours.append((time.perf_counter() - began) * 1000)
    for _ in range(3):
        began = time.perf_counter()
        beside = [match.span() for match in pattern.finditer(text)]
        theirs.append((time.perf_counter() - began) * 1000)
    if found != beside:
        sys.exit("re and the matcher found different words")
    figure("text_of_20000_characters_tagged_p50", at(sorted(ours), 0.5), "ms", "re", at(sorted(theirs), 0.5))


async def measure(server: PostgresServer, entries: int, rounds: int) -> None:
    passwords = ServiceRoles("leads", "bench", "bench")
    await provision_roles(server.dsn(), [passwords])
    await provision_database(server.dsn(), "bench")
    await provision_schema(server.dsn("bench"), "bench", "leads")
    await migrate(server.dsn("bench", user="leads_owner", password="bench"), "leads", MIGRATIONS["leads"])
    url = f"postgresql://leads@{server.host}:{server.port}/bench"
    database = await Database.open(url, service="leads", password="bench")
    snapshots = Snapshots(load_holidays(LeadsSettings.model_fields["holidays_file"].default))
    for customer in range(21):
        size = entries if customer == 0 else entries // 2
        async with database.transaction(durable=False) as tx:
            for statement in filter(str.strip, _FILL.split(";")):
                given = (_CUSTOMER.format(customer=customer), size, _LEAD.format(customer=customer, lead=0)[:-6])
                used = [value for place, value in enumerate(given, start=1) if f"${place}" in statement]
                await tx.execute(statement.replace("$3", f"${len(used)}"), *used)
    owner = await asyncpg.connect(server.dsn("bench", user="leads_owner", password="bench"))
    await owner.execute("ANALYZE")
    await owner.close()
    await measure_story(database, partial(PostgresStoryReader.begin, database, snapshots), entries, rounds)
    await measure_quick(database, snapshots, rounds)
    await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    measure_tagging(options.rounds)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        server = PostgresServer(place / "server", password_file=place / "password", log_file=place / "log")
        server.start()
        try:
            uvloop.run(measure(server, options.entries, options.rounds))
        finally:
            server.close()


if __name__ == "__main__":
    main()
