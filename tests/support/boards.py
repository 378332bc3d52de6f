"""A team with some days of work behind it, laid into a platform's tables for its boards to show."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from breakwater.chassis.ids import uuid7
from tests.support.platform import Platform

PEOPLE = ("王芳", "李娜", "张伟", "刘洋", "陈静", "杨帆")
COMPANIES = ("海天机械", "恒力精密", "东方医疗", "华辰电子", "远景新能源", "瑞丰食品", "北辰物流", "中科自动化")
INDUSTRIES = ("制造业", "制造业", "医疗", "电子", "新能源", "")
SOURCES = ("官网", "展会", "百度爱采购", "转介绍")
ACTIONS = ("发送对比报价", "确认型号", "约技术交流", "回电确认预算", "寄送样品")
SURNAMES = "赵钱孙李周吴郑王冯陈"
MINUTE = timedelta(minutes=1)


def lay_team(platform: Platform, team_id: str, name: str, *, leads: int, seed: int) -> list[str]:
    """Makes the team `team_id` with its people, ids `TEAM-1` and on, the last of them its supervisor; returns their ids."""
    dice = random.Random(seed)
    people = [f"{team_id}-{number}" for number in range(1, len(PEOPLE) + 1)]
    platform.sql("INSERT INTO leads.teams (id, name, supervisor_id) VALUES ($1, $2, $3)", team_id, name, people[-1])
    for person, called in zip(people, PEOPLE, strict=True):
        platform.sql(
            "INSERT INTO leads.people (id, name, team_id, weight) VALUES ($1, $2, $3, 0)", person, called, team_id
        )
        platform.sql("INSERT INTO leads.workloads (person_id) VALUES ($1)", person)
    platform.sql("UPDATE leads.snapshot_version SET version = nextval('leads.snapshot_versions')")
    for _ in range(leads):
        _lay_lead(platform, people[dice.choice((0, 0, 0, 1, 1, 2, 3, 4))], dice)
    return people


def _lay_lead(platform: Platform, owner: str, dice: random.Random) -> None:
    now = datetime.now(UTC)
    captured = now - dice.randrange(3, 6 * 24 * 60) * MINUTE
    slow = 6.0 if owner.endswith("-2") else 1.0
    answered = captured + timedelta(minutes=slow * dice.expovariate(1 / 9))
    claimed = answered if answered < now and dice.random() < 0.92 else None
    stage = dice.choice(["new", "contacted", "contacted", "qualified", "lost", "converted"]) if claimed else "new"
    lead, customer = uuid4(), uuid4()
    since = min(captured + timedelta(hours=dice.expovariate(1 / 30)), now) if stage in {"lost", "converted"} else None
    company, person = dice.choice(COMPANIES), dice.choice(SURNAMES) + dice.choice(("先生", "女士", "经理", "工"))
    platform.sql(
        "INSERT INTO leads.customers (id, name, company, owner_id, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)",
        *(customer, person, company, owner, captured),
    )
    platform.sql(
        """
        INSERT INTO leads.leads (id, customer_id, name, company, industry, source, budget, stage, owner_id,
                                 priority, created_at, captured_at, assigned_at, claimed_at, claim_by, sequence)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'P2', $10, $10, $11, $12, $13, 1)
        """,
        *(lead, customer, person, company, dice.choice(INDUSTRIES), dice.choice(SOURCES)),
        *(dice.choice([None, 60_000, 240_000, 800_000, 2_000_000]), stage, owner),
        *(captured, captured + MINUTE, claimed, captured + 20 * MINUTE),
    )
    platform.sql(
        """
        INSERT INTO leads.assignments (id, lead_id, owner_id, rule_id, rule_version, priority, reason, candidates, claim_by,
                                       decided_at)
        VALUES ($1, $2, $3, 'round-robin-sales', 1, 'P2', '轮到', '[]', $4, $5)
        """,
        *(UUID(uuid7()), lead, owner, captured + 20 * MINUTE, captured + MINUTE),
    )
    if since:
        platform.sql(
            "INSERT INTO leads.lead_steps (id, lead_id, kind, actor_id, to_stage, at) VALUES ($1, $2, $3, $4, $5, $6)",
            *(UUID(uuid7()), lead, "stage_changed", owner, stage, since),
        )
    if claimed and dice.random() < 0.9:
        due = now + timedelta(minutes=dice.choice([-600, -90, 30, 90, 2_000, 4_000]))
        platform.sql(
            """
            INSERT INTO leads.follow_ups (id, lead_id, customer_id, author_id, goal, customer_words, next_action,
                                          next_action_due, objection, created_at, first_touch_at)
            VALUES ($1, $2, $3, $4, '了解需求', '在比较', $5, $6, '价格', $7, $7)
            """,
            *(UUID(uuid7()), lead, customer, owner, dice.choice(ACTIONS), due, min(claimed + 5 * MINUTE, now)),
        )
