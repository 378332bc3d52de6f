"""Synthetic probes of robots and the finance system: the recorded harmless question, on a schedule, seen on their edges."""

import asyncio
from pathlib import Path

import pytest

from breakwater.chassis.clock import VirtualClock
from breakwater.chassis.errors import UnavailableError
from breakwater.chassis.metrics import REGISTRY
from breakwater.chassis.provider_probes import ask
from breakwater.chassis.service import Service
from breakwater.compat.external import recorded
from services.files import finance
from services.notify.main import probe_robots
from services.notify.probes import QUESTIONS
from services.notify.settings import NotifySettings
from tests.support.http_robot import Says
from tests.support.providers import KEY, STUBS, DingTalk, Finance, stub_of
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]
ASKED = QUESTIONS | {finance.DEPENDENCY: finance.question(KEY)}

pytestmark = pytest.mark.capability(37)


@pytest.mark.parametrize("provider", STUBS)
async def test_the_question_is_the_recorded_harmless_one(provider, make_http):
    """Word for word what contracts/external calls harmless, and the stub that keeps to the contract answers as expected."""
    question, vector = ASKED[provider], recorded.load(ROOT, provider).live()
    asked = {"method": "POST", "json": None, "headers": {}, **vector.ask}
    headers = {name: value.format(key=KEY) for name, value in asked["headers"].items()}
    assert (question.method, question.target, question.json, question.headers) == (
        asked["method"], asked["target"], asked["json"], headers,
    )  # fmt: skip
    expected = {
        name: value["$in"] if isinstance(value, dict) else [value] for name, value in vector.answer["json"].items()
    }
    assert {name: list(values) for name, values in question.answer.items()} == expected
    async with stub_of(provider) as stub:
        stub.key = KEY
        assert await ask(make_http(base=stub.base), question) is None
        assert stub.taken == [] or provider == "finance"


class OtherCode(DingTalk):
    """A code nobody has recorded for an unknown token."""

    def says(self, code):
        return super().says(77777 if code else 0)


class Valid(Finance):
    """Finds the reserved number valid."""

    def says(self, code):
        return Says(200, b'{"number": "BREAKWATER-PROBE", "valid": true}')


class Gone(Finance):
    """Knows no such path any more."""

    def says(self, code):
        return Says(404, b"{}")


class Words(Finance):
    """Answers in words."""

    def says(self, code):
        return Says(200, b"it is not valid")


@pytest.mark.parametrize(
    ("deviation", "difference"),
    [
        (OtherCode, "errcode is 77777, not 400101 or 300005"),
        (Valid, "valid is True, not False"),
        (Gone, "it is refused: not_found"),
        (Words, "the answer is no JSON"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
async def test_an_answer_that_departs_is_told(deviation, difference, make_http):
    """Another code, another value, a refusal, a body that is no JSON: each is said, without the key."""
    async with stub_of(deviation) as stub:
        assert await ask(make_http(base=stub.base), ASKED[stub.name]) == difference


async def test_an_outage_says_nothing_about_the_contract(make_http):
    """A provider that fails raises: the edge's own figures judge it."""
    async with stub_of("wecom") as stub:
        stub.says = lambda _: Says(502)
        with pytest.raises(UnavailableError):
            await ask(make_http(base=stub.base), QUESTIONS["wecom"])


async def test_each_configured_robot_is_probed_on_schedule_and_shown_as_an_edge(monkeypatch):
    """The robots that HTTP_BASES names and no other, first after one interval; each is an edge that the console sees."""
    begun = {}
    clock = VirtualClock()
    async with stub_of("wecom") as wecom, stub_of("feishu") as feishu:
        settings = NotifySettings(
            environment="development",
            http_bases=f"wecom={wecom.base},feishu={feishu.base}",
            egress_private="127.0.0.0/8",
            robots_probe_interval_s=60,
        )
        async with Service("notify", settings, policies=ROOT / "services/notify/policies.yaml", clock=clock) as service:
            monkeypatch.setattr(service, "background", begun.__setitem__)
            probe_robots(service)
            assert begun.keys() == {"probe-wecom", "probe-feishu"}
            running = [asyncio.create_task(each()) for each in begun.values()]
            await clock.advance(59)
            assert wecom.heard == feishu.heard == []
            await clock.advance(2)
            count = lambda name: REGISTRY.get_sample_value(  # noqa: E731
                "breakwater_provider_probes_total", {"dependency": name, "found": "as_recorded"}
            )
            await until("both were asked", lambda: count("wecom") and count("feishu"))
            edges = {each.dependency: each for each in service.policies.snapshots()}
            for task in running:
                task.cancel()
    assert {"wecom", "feishu"} <= edges.keys()
    assert "dingtalk" not in edges
    assert edges["wecom"].totals.outcomes["success"] == 1
    assert REGISTRY.get_sample_value("breakwater_provider_deviates", {"dependency": "wecom"}) == 0
