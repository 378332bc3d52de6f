"""What speaks for two records being one customer, and what against it (53, 70, 124)."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.clock import VirtualClock
from services.leads.intake.companies import company_key, company_name, person_name
from services.leads.intake.duplicates.domain import Likeness, Thresholds, Verdict, judge
from services.leads.intake.duplicates.usecases import Found, Resembling, SamePair
from services.leads.intake.duplicates.worker import DuplicatesWorker
from services.leads.intake.merges.usecases import MergeStore

pytestmark = pytest.mark.capability(53, 70, 124)

FANG = ("王芳", "宁波恒力精密机械有限公司", "+8613812345678", "wangfang@qq.com")


def verdict(one: tuple[str, str, str, str], other: tuple[str, str, str, str]) -> str:
    return Thresholds().verdict(judge(Likeness.of(*one), Likeness.of(*other)).score)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("上海市恒力机械有限公司", "恒力机械（上海）有限公司"),
        ("江苏省苏州市恒力机械有限公司", "苏州恒力机械"),
        ("遠創電氣股份有限公司", "远创电气"),
        ("ＡＢＣ科技（集团）有限责任公司", "abc科技集团"),
        ("恒力机械【深圳】公司", "深圳市恒力机械"),
        ("合肥安顺嘉电气", "安顺嘉电气（合肥）有限公司"),
    ],
)
def test_a_company_has_one_key_however_it_is_written(one: str, other: str) -> None:
    """Region before or in brackets, 省 and 市, traditional characters, full width, legal form."""
    assert company_key(one) == company_key(other) != ""


@pytest.mark.parametrize(
    ("one", "other"), [("宁波恒力", "苏州恒力"), ("北京银行", "上海银行"), ("恒力公司上海分公司", "恒力公司")]
)
def test_companies_of_two_places_and_branches_keep_their_keys(one: str, other: str) -> None:
    """A place is part of the name: another place is another company."""
    assert company_key(one) != company_key(other)


def test_a_place_alone_is_a_name() -> None:
    """Nothing is taken from a name that would leave one character or none."""
    assert company_name("上海").core == "上海"
    assert company_name("上海公司").core == "上海"


def test_a_title_says_no_more_than_the_surname() -> None:
    """王总 is somebody called 王; 王芳女士 is 王芳; 李建工 keeps his name."""
    assert (person_name("王总").key, person_name("王总").full) == ("王", False)
    assert person_name("王芳女士") == person_name("王 芳")
    assert person_name("李建工").key == "李建工"


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (("王芳", "恒力精密机械", "+8613812345687", ""), Verdict.SAME),
        (("王芳", "宁波恒力精密机器有限公司", "+8613812345679", ""), Verdict.SAME),
        (("王总", "宁波恒力精密机械", "+8613812345679", ""), Verdict.SUSPECTED),
        (("王芳", "", "+8613812345679", ""), Verdict.SUSPECTED),
        (("王芳", "恒力精密机械", "", ""), Verdict.SUSPECTED),
        (("王芳", "", "", "wangfagn@qq.com"), Verdict.SUSPECTED),
        (("王芳", "宁波恒力精密机械", "+8613900000000", "other@qq.com"), Verdict.SUSPECTED),
        (("李强", "宁波恒力精密机械", "+8613812345679", ""), Verdict.DIFFERENT),
        (("王芳", "苏州恒力精密机械", "+8613900000000", ""), Verdict.DIFFERENT),
        (("王芳", "", "", ""), Verdict.DIFFERENT),
        (("王芳", "宁波远创电气", "", ""), Verdict.DIFFERENT),
    ],
)
def test_the_verdict_weighs_all_that_is_known(other: tuple[str, str, str, str], expected: Verdict) -> None:
    """A slip of the hand is forgiven where the rest agrees; colleagues, namesakes and sister companies stay apart."""
    assert verdict(FANG, other) == expected


def test_numbered_companies_and_addresses_are_different_ones() -> None:
    """恒力一厂 is not 恒力二厂, and wang1@ is not wang2@."""
    one, other = ("王芳", "宁波恒力机械一厂", "", "wang1@a.cn"), ("王芳", "宁波恒力机械二厂", "", "wang2@a.cn")
    assert verdict(one, other) == Verdict.DIFFERENT


TEXT = st.text("王芳李一二12ab@.", max_size=8)


@given(st.tuples(TEXT, TEXT, TEXT, TEXT), st.tuples(TEXT, TEXT, TEXT, TEXT))
def test_the_order_of_the_two_makes_no_difference(
    one: tuple[str, str, str, str], other: tuple[str, str, str, str]
) -> None:
    """Whoever came first, the judgement and its reasons are the same."""
    assert judge(Likeness.of(*one), Likeness.of(*other)) == judge(Likeness.of(*other), Likeness.of(*one))


def test_every_point_has_its_reason() -> None:
    """The score is the sum of what is told."""
    judgement = judge(Likeness.of(*FANG), Likeness.of("王芳", "恒力精密机械", "+8613812345687", "x@qq.com"))
    assert judgement.score == sum(reason.points for reason in judgement.reasons)
    assert [reason.field for reason in judgement.reasons] == ["name", "company", "phone", "email"]


class Queue:
    """A store with so many customers to compare, each batch of which takes the database a second."""

    def __init__(self, clock: VirtualClock, batches: int) -> None:
        self.clock, self.batches = clock, batches
        self.taken_at: list[float] = []

    @asynccontextmanager
    async def begin(self) -> AsyncIterator["Queue"]:
        yield self

    async def take(self, limit: int) -> list[Resembling] | None:
        self.taken_at.append(self.clock.monotonic())
        if len(self.taken_at) > self.batches:
            return None
        await self.clock.sleep(1)
        return [Resembling("1", "王芳", "", "", "", None)]

    async def remember(self, customers: Mapping[str, Likeness]) -> None:
        """Nothing to find."""

    async def alike(self, asked: Mapping[str, Likeness], limit: int) -> dict[str, list[Resembling]]:
        return {}

    async def keep(self, checked: Sequence[str], found: Sequence[Found], now: datetime) -> None:
        """Nothing was found."""

    async def same(self, limit: int) -> list[SamePair]:
        return []

    async def ask(self, pair: SamePair) -> None:
        """Nobody is asked."""


async def test_comparing_takes_its_share_of_the_time_and_no_more() -> None:
    """A long queue is worked off in a fifth of the time; those who enter and read leads have the rest."""
    clock = VirtualClock()
    queue = Queue(clock, batches=3)
    worker = DuplicatesWorker(
        queue.begin, merging_nothing, Thresholds(), clock, poll_s=60, batch_size_max=50, work_share=0.2
    )
    running = asyncio.create_task(worker.run())
    await clock.advance(80)
    running.cancel()
    assert queue.taken_at == [0, 5, 10, 15, 75]


def merging_nothing() -> AbstractAsyncContextManager[MergeStore]:
    raise AssertionError("nothing is the same")
