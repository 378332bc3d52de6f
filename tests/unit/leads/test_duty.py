"""Who can be given a lead at which moment (118, 119): hours, zones, summer time, holidays, leave, limits.

The rule is checked against an oracle that knows nothing of ours: it walks the wall clock minute by minute. Bugs planted
into the rule show that the checks can fail.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.errors import InvalidRequestError
from services.leads.organisation import domain, duty
from services.leads.organisation.checks import check_person
from services.leads.organisation.domain import Directory, Leave, Person, Taken, Team, reason_against
from services.leads.organisation.duty import OrdinaryDays, Shift, shifts_of
from services.leads.routing.deciding import decide
from services.leads.routing.domain import Ledger, Priority, Rule, Target, TargetKind
from services.leads.routing.rules import RuleSet

pytestmark = pytest.mark.capability(118, 119)

ZONES = ("Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "UTC")
"""With summer time of an hour, of half an hour, one that skips midnight, and none."""
EDGES = (
    datetime(2026, 3, 8, 7, 0, tzinfo=UTC),  # New York skips 02:00 to 03:00
    datetime(2026, 11, 1, 6, 0, tzinfo=UTC),  # New York repeats 01:00 to 02:00
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # Berlin skips an hour
    datetime(2026, 10, 25, 1, 0, tzinfo=UTC),  # Berlin repeats one
    datetime(2026, 4, 4, 15, 0, tzinfo=UTC),  # Lord Howe repeats half an hour
    datetime(2026, 9, 6, 4, 0, tzinfo=UTC),  # Santiago skips midnight
    datetime(2026, 10, 1, 0, 0, tzinfo=UTC),  # 国庆
    datetime(2026, 10, 9, 16, 0, tzinfo=UTC),  # Shanghai's midnight before a make-up Saturday
    datetime(2026, 12, 27, 16, 0, tzinfo=UTC),  # Shanghai's midnight from Sunday to Monday
)
HOLIDAYS = frozenset(date(2026, 10, day) for day in range(1, 8))
MAKE_UP = frozenset({date(2026, 10, 10)})
DAYS = OrdinaryDays(HOLIDAYS, MAKE_UP)

moments = st.builds(
    lambda edge, seconds: edge + timedelta(seconds=seconds),
    st.sampled_from(EDGES),
    st.integers(-40 * 3600, 40 * 3600),
)
shifts = st.builds(
    lambda weekday, start, length: Shift(weekday, start, min(start + length, 1440)),
    st.integers(1, 7),
    st.integers(0, 1439),
    st.integers(1, 1440),
)
limits = st.none() | st.integers(0, 3)
people = st.builds(
    Person,
    id=st.sampled_from(["1", "2", "3", "4", "5", "6"]),
    name=st.just("某人"),
    team_id=st.sampled_from(ZONES),
    active=st.sampled_from([True, True, True, False]),
    has_account=st.sampled_from([True, True, True, False]),
    may_follow_up=st.sampled_from([True, True, True, False]),
    on_duty=st.sampled_from([True, True, True, False]),
    duty=st.lists(shifts, max_size=6).map(tuple),
    works_holidays=st.booleans(),
    open_leads_max=limits,
    leads_per_day_max=limits,
    leads_per_week_max=limits,
    leave=st.lists(
        st.builds(lambda start, hours: Leave(start, start + timedelta(hours=hours)), moments, st.integers(1, 48)),
        max_size=2,
    ).map(tuple),
    channels=st.sets(st.sampled_from(["wecom", "email"])).map(frozenset),
    weight=st.integers(1, 4),
)
TEAMS = [
    Team(
        zone, zone, "", time_zone=zone, work_start=time(8), work_end=time(17), lunch_start=time(12), lunch_end=time(13)
    )
    for zone in ZONES
]


def is_on_duty(person: Person, at: datetime) -> bool:
    """The oracle: what the wall clock of the zone shows, as text, against the hours as text."""
    if not person.on_duty:
        return False
    if not person.duty:
        return True
    weekday, day, clock = at.astimezone(ZoneInfo(person.team_id)).strftime("%u %Y-%m-%d %H:%M").split()
    if date.fromisoformat(day) in HOLIDAYS and not person.works_holidays:
        return False
    hours = [
        (f"{s.start_min // 60:02d}:{s.start_min % 60:02d}", f"{s.end_min // 60:02d}:{s.end_min % 60:02d}")
        for s in person.duty
        if str(s.weekday) == weekday
    ]
    if not hours and date.fromisoformat(day) in MAKE_UP:
        hours = [("08:00", "12:00"), ("13:00", "17:00")]
    return any(start <= clock < end for start, end in hours)


def may_get(person: Person, at: datetime, required: set[str], given_at: list[datetime], open_leads: int) -> bool:
    """The oracle of the whole rule; `given_at` are the moments the person was given leads at so far."""
    zone = ZoneInfo(person.team_id)
    today = at.astimezone(zone).date()
    days = [moment.astimezone(zone).date() for moment in given_at]
    monday = today - timedelta(days=today.weekday())
    return (
        person.active
        and person.has_account
        and person.may_follow_up
        and (not required or bool(required & person.channels))
        and not any(leave.starts_at <= at < leave.ends_at for leave in person.leave)
        and is_on_duty(person, at)
        and (person.open_leads_max is None or open_leads < person.open_leads_max)
        and (person.leads_per_day_max is None or sum(day == today for day in days) < person.leads_per_day_max)
        and (person.leads_per_week_max is None or sum(day >= monday for day in days) < person.leads_per_week_max)
    )


def rules() -> RuleSet:
    """A rotation over each team, and nothing else: nobody is a last resort."""
    return RuleSet(1, tuple(Rule(zone, zone, Priority.P2, (), Target(TargetKind.TEAM, zone)) for zone in ZONES))


def wrong_assignments(crowd: list[Person], required: set[str], at: list[datetime]) -> list[str]:
    """Leads given, one at each moment in order, to somebody the oracle says must have none, or kept from all who may."""
    directory = Directory.of(crowd, TEAMS, channels_required=required, days=DAYS)
    ledger = Ledger({}, {})
    given_at: dict[str, list[datetime]] = {person.id: [] for person in crowd}
    wrong = []
    for now in sorted(at):
        able = {
            person.id
            for person in crowd
            if may_get(person, now, required, given_at[person.id], len(given_at[person.id]))
        }
        decision = decide(rules(), {}, directory, ledger, now)
        ledger.record(decision)
        if decision.owner_id is None:
            wrong += [f"{now}: nobody, but {sorted(able)} may"] if able else []
            continue
        if decision.owner_id not in able:
            wrong.append(f"{now}: {directory.people[decision.owner_id]}")
        given_at[decision.owner_id].append(now)
    return wrong


@given(
    crowd=st.lists(people, min_size=1, max_size=6, unique_by=lambda person: person.id),
    required=st.sampled_from([set(), {"wecom"}, {"wecom", "email"}]),
    at=st.lists(moments, min_size=1, max_size=12),
)
def test_nobody_gets_a_lead_at_a_moment_when_they_must_not(
    crowd: list[Person], required: set[str], at: list[datetime]
) -> None:
    """0 assignments to people off duty, unbound where required, without permission, on leave or full; and none withheld."""
    assert wrong_assignments(crowd, required, at) == []


def sample(seed: int) -> tuple[list[Person], set[str], list[datetime]]:
    """A seeded crowd with moments around the edges, for finding planted bugs."""
    pick = random.Random(seed)

    def moment() -> datetime:
        return pick.choice(EDGES) + timedelta(seconds=pick.randint(-40 * 3600, 40 * 3600))

    def some(value: object, default: object, share: float) -> object:
        return value if pick.random() < share else default

    crowd = []
    for number in range(3):
        start = moment()
        hours = [(day, pick.randint(0, 1400)) for day in pick.choices(range(1, 8), k=4)]
        crowd.append(
            Person(
                str(number),
                "某人",
                team_id=pick.choice(ZONES),
                has_account=pick.random() < 0.9,
                may_follow_up=pick.random() < 0.9,
                on_duty=pick.random() < 0.9,
                duty=some(tuple(Shift(day, at, min(at + 600, 1440)) for day, at in hours), (), 0.6),  # type: ignore[arg-type]
                works_holidays=pick.random() < 0.5,
                open_leads_max=some(2, None, 0.3),  # type: ignore[arg-type]
                leads_per_day_max=some(1, None, 0.4),  # type: ignore[arg-type]
                leads_per_week_max=some(2, None, 0.4),  # type: ignore[arg-type]
                leave=some((Leave(start, start + timedelta(hours=30)),), (), 0.4),  # type: ignore[arg-type]
                channels=frozenset(some({"wecom"}, set(), 0.5)),  # type: ignore[call-overload]
            )
        )
    edge = pick.choice(EDGES)
    at = [edge + timedelta(minutes=pick.randint(-2_000, 2_000)) for _ in range(12)]
    return crowd, pick.choice([set(), set(), {"wecom"}]), at


def _ignoring(**fields: object) -> Callable[[pytest.MonkeyPatch], None]:
    """A bug: the rule looks at people as if they had these values."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = domain.reason_against

        def blind(person: Person, directory: Directory, now: datetime, **load: object) -> str:
            seen = replace(person, **fields)  # type: ignore[arg-type]
            return right(seen, replace(directory, people={**directory.people, person.id: seen}), now, **load)  # type: ignore[arg-type]

        patch.setattr("services.leads.routing.deciding.reason_against", blind)

    return plant


def _utc_day(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Directory, "day_of", lambda _self, _person, now: now.astimezone(UTC).date())


def _week_not_rolled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Taken, "on", lambda taken, day: taken if day <= taken.day else Taken(day, 0, taken.in_week))


def _offset_of_winter(patch: pytest.MonkeyPatch) -> None:
    def winter(cls: type, now: datetime, zone: ZoneInfo) -> duty.WallTime:
        local = now + (datetime(2026, 1, 1, tzinfo=zone).utcoffset() or timedelta())
        return duty.WallTime(local.date(), local.isoweekday(), local.hour * 60 + local.minute)

    patch.setattr(duty.WallTime, "of", classmethod(winter))


def _stale_wall(patch: pytest.MonkeyPatch) -> None:
    def first(directory: Directory, team_id: str, now: datetime) -> duty.WallTime:
        return directory._walls.setdefault(team_id, (now, now, duty.WallTime.of(now, ZoneInfo(team_id))))[2]

    patch.setattr(Directory, "_wall", first)


def _end_included(patch: pytest.MonkeyPatch) -> None:
    right = duty.on_shift
    patch.setattr(
        domain,
        "on_shift",
        lambda shifts, wall, *rest, **more: right(
            [Shift(s.weekday, s.start_min, s.end_min + 30) for s in shifts], wall, *rest, **more
        ),
    )


def _holidays_unknown(patch: pytest.MonkeyPatch) -> None:
    right = duty.on_shift
    patch.setattr(
        domain,
        "on_shift",
        lambda shifts, wall, _days, hours, **more: right(shifts, wall, OrdinaryDays(), hours, **more),
    )


BUGS = {
    "leave is not looked at": _ignoring(leave=()),
    "the schedule is not looked at": _ignoring(duty=()),
    "the switch is not looked at": _ignoring(on_duty=True),
    "the account is not looked at": _ignoring(has_account=True),
    "the permission is not looked at": _ignoring(may_follow_up=True),
    "bindings are not looked at": _ignoring(channels=frozenset({"wecom"})),
    "open leads are not limited": _ignoring(open_leads_max=None),
    "leads a day are not limited": _ignoring(leads_per_day_max=None),
    "leads a week are not limited": _ignoring(leads_per_week_max=None),
    "days are counted in UTC": _utc_day,
    "the week never ends": _week_not_rolled,
    "summer time is unknown": _offset_of_winter,
    "the clock is read once": _stale_wall,
    "a shift ends late": _end_included,
    "holidays are unknown": _holidays_unknown,
}


@pytest.mark.parametrize("bug", BUGS, ids=lambda name: name.replace(" ", "-"))
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: each of these mistakes shows within 300 seeded crowds."""
    BUGS[bug](monkeypatch)
    assert any(wrong_assignments(*sample(seed)) for seed in range(300)), "no crowd shows it"


def test_the_seeded_crowds_show_nothing_without_a_bug() -> None:
    """What finds the bugs finds nothing where there is none."""
    assert [seed for seed in range(300) if wrong_assignments(*sample(seed))] == []


def test_most_people_cost_one_look() -> None:
    """Without hours, leave and limits nothing of a person depends on the moment, and nobody has to look again."""
    always = Person("1", "甲", duty=(), channels=frozenset({"wecom"}))
    others = [
        replace(always, id="2", duty=(Shift(1, 0, 1440),)),
        replace(always, id="3", leave=(Leave(EDGES[0], EDGES[1]),)),
        replace(always, id="4", leads_per_week_max=5),
        replace(always, id="5", channels=frozenset()),
        replace(always, id="6", has_account=False),
    ]
    directory = Directory.of([always, *others], [], channels_required={"wecom"})
    assert directory.always_able == {"1"}


def test_an_address_in_the_directory_needs_no_binding() -> None:
    """Where mail is required, whoever has an address can be reached by it; a robot still has to be bound."""
    person = Person("1", "甲", email="fang@corp.test")
    told = {
        required: reason_against(person, Directory.of([], TEAMS, channels_required={required}), EDGES[0])
        for required in ("email", "wecom")
    }
    assert told == {"email": "", "wecom": "未绑定通知渠道"}


def test_what_is_remembered_of_a_minute_is_of_that_person_and_directory() -> None:
    """A changed person, or one who is not of the directory, is looked at anew within the same minute."""
    at = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
    person = Person("1", "甲", team_id="UTC", duty=(Shift(1, 0, 1440),))
    other = replace(person, duty=(Shift(2, 0, 1440),))
    directory = Directory.of([person], TEAMS)
    assert directory.on_duty(person, at)
    assert not directory.on_duty(other, at)
    assert directory.on_duty(person, at + timedelta(seconds=59))
    assert not replace(directory, people={"1": other}).on_duty(other, at)
    assert not directory.on_duty(person, at + timedelta(days=1))


def test_a_day_that_comes_again_is_the_same_day() -> None:
    """A team that moves west does not get its day's limit twice."""
    taken = Taken(date(2026, 3, 3), 2, 5)
    assert taken.on(date(2026, 3, 2)) == taken
    assert taken.on(date(2026, 3, 4)) == Taken(date(2026, 3, 4), 0, 5)
    assert taken.on(date(2026, 3, 9)) == Taken(date(2026, 3, 9), 0, 0)


def test_reasons_are_told_in_the_order_of_the_steps() -> None:
    """The first step that is missing is named (119); a limit only of somebody who is there."""
    directory = Directory.of([], TEAMS, channels_required={"wecom"})
    person = Person("1", "甲", team_id="UTC", active=False, has_account=False, may_follow_up=False, on_duty=False)
    told = []
    for change in (
        {"active": True},
        {"has_account": True},
        {"may_follow_up": True},
        {"channels": frozenset({"wecom"}), "leave": (Leave(EDGES[0], EDGES[1]),), "leads_per_day_max": 0},
        {"leave": ()},
        {"on_duty": True},
        {"leads_per_day_max": None},
    ):
        told.append(reason_against(person, directory, EDGES[0]))
        person = replace(person, **change)  # type: ignore[arg-type]
    assert told == [
        "不在职",
        "账号未激活",
        "无跟进权限",
        "未绑定通知渠道",
        "休假",
        "不在岗",
        "今日线索已满（0/0）",
    ]
    assert reason_against(person, directory, EDGES[0]) == ""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("周一-周二 09:00-12:00,13:00-18:00", ((1, 540, 720), (1, 780, 1080), (2, 540, 720), (2, 780, 1080))),
        ("星期六至星期一 9:00-10:00；3 08:00-24:00", ((1, 540, 600), (3, 480, 1440), (6, 540, 600), (7, 540, 600))),
        ("周日 22:00－06:00", ((1, 0, 360), (7, 1320, 1440))),
        ("5 00:00-00:00", ((5, 0, 1440),)),
        ("每天9:00 - 10:00", tuple((day, 540, 600) for day in range(1, 8))),
        ("", ()),
    ],
)
def test_a_schedule_is_read_as_people_write_it(text: str, found: tuple[tuple[int, int, int], ...]) -> None:
    """Ranges of days over the weekend, several hours a day, nights that go on into the next day."""
    assert shifts_of(text) == tuple(Shift(*each) for each in found)


@pytest.mark.parametrize(
    "text", ["工作日 09:00-18:00", "周一", "19:00-22:00", "周八 09:00-18:00", "周一 25:00-26:00", "周一 09:60-18:00"]
)
def test_what_is_no_schedule_is_refused(text: str) -> None:
    """Nobody is put on duty by a guess."""
    with pytest.raises(ValueError, match=r"schedule|time of a day"):
        shifts_of(text)


@pytest.mark.parametrize(
    ("shift", "place"),
    [
        (Shift(0, 0, 60), "duty.0.weekday"),
        (Shift(8, 0, 60), "duty.0.weekday"),
        (Shift(1, 60, 60), "duty.0"),
        (Shift(1, -1, 60), "duty.0"),
        (Shift(1, 0, 1441), "duty.0"),
    ],
)
def test_a_shift_that_is_none_is_refused_with_its_place(shift: Shift, place: str) -> None:
    """Hours past midnight are two shifts."""
    with pytest.raises(InvalidRequestError) as caught:
        check_person(Person("1", "甲", duty=(shift,)))
    assert [error.field for error in caught.value.errors] == [place]
