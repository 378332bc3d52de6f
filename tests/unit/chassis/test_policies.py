"""The figures of a process's edges, from its own file and the chassis's."""

import asyncio

import pytest

from breakwater.chassis import errors, policies
from breakwater.resilience.errors import (
    AttemptTimeoutError,
    BulkheadFullError,
    CircuitOpenError,
    DeadlineExceededError,
    InvalidPolicyError,
    OverloadedError,
)


@pytest.fixture
def loaded(tmp_path, clock):
    def load(text):
        path = tmp_path / "policies.yaml"
        path.write_text(text)
        return policies.PolicyFile("files", path, clock=clock, classifiers={}).registry

    return load


def test_the_file_is_completed_from_the_chassis(loaded):
    """Own figure, own default, chassis's figure for that name, in this order of strength."""
    registry = loaded("defaults: {slow_call_s: 0.7}\nedges:\n  leads: {attempt_timeout_s: 1.5}\n  postgres:\n")
    assert registry["leads"].settings.attempt_timeout_s == 1.5
    assert registry["leads"].settings.slow_call_s == 0.7
    assert registry["leads"].settings.attempt_timer is False
    assert registry["postgres"].settings.attempt_timeout_s == 5.0
    with pytest.raises(KeyError):
        registry["notify"]


@pytest.mark.parametrize(
    "text",
    [
        "edges: {leads: {attempt_timeout: 1}}",
        "edges: {leads: {attempt_timeout_s: fast}}",
        "edges: [leads]",
        "edges: {leads: 3}",
        "egdes: {}",
        "edges: {leads: {",
        "- leads",
    ],
)
def test_a_file_that_breaks_its_rules_is_refused(loaded, text):
    """Misspelt, wrong or broken: an error at start, never a silent default."""
    with pytest.raises(InvalidPolicyError):
        loaded(text)


@pytest.mark.parametrize(
    ("refusal", "kind", "code"),
    [
        (CircuitOpenError, errors.UnavailableError, "circuit_open"),
        (BulkheadFullError, errors.OverloadedError, "overloaded"),
        (OverloadedError, errors.OverloadedError, "overloaded"),
        (DeadlineExceededError, errors.DeadlineExceededError, "deadline_exceeded"),
        (AttemptTimeoutError, errors.DeadlineExceededError, "deadline_exceeded"),
    ],
)
def test_what_a_policy_refuses_names_the_dependency_and_when_to_try_again(refusal, kind, code):
    """Callers read a failure of ours, never the policy's own."""
    error = policies.error_of_policy(refusal("files", "leads", "detail", retry_after_s=1.5))
    assert type(error) is kind
    assert (error.code, error.dependency, error.retry_after_s) == (code, "leads", 1.5)


@pytest.fixture
def file(tmp_path, clock):
    """A service's file that can be written again."""
    path = tmp_path / "policies.yaml"
    path.write_text("defaults: {slow_call_s: 0.7}\nedges: {leads: {attempt_timeout_s: 1.5}, nats: {}}\n")
    made = policies.PolicyFile("files", path, clock=clock, classifiers={})
    made.path = path
    return made


def test_each_setting_tells_where_it_comes_from(file):
    """The strongest place that names it."""
    origins = {
        "attempt_timeout_s": "service edge",
        "attempt_timer": "chassis edge",
        "slow_call_s": "service defaults",
        "probes": "built-in",
    }
    assert {name: file.origin_of("leads", name) for name in origins} == origins
    assert file.origin_of("nats", "attempt_timeout_s") == "chassis edge"


async def test_a_changed_file_is_taken_without_a_restart(file, clock):
    """The policies that transports hold go by the new figures, and what is told of them is new."""
    held = file.registry["leads"]
    file.path.write_text("edges: {leads: {attempt_timeout_s: 3.0}, nats: {}}\n")
    await clock.advance(5)
    assert file.reload()
    assert held.settings.attempt_timeout_s == 3.0
    assert held is file.registry["leads"]
    assert file.origin_of("leads", "slow_call_s") == "built-in"
    assert file.loaded_at == clock.now()


@pytest.mark.parametrize(
    ("text", "errors_told"),
    [
        ("edges: {leads: {probes: 0, calls: 3}, nats: {}}", 2),
        ("edges: {leads: {}}", 1),
        ("edges: {leads: {", 1),
        (None, 1),
    ],
)
def test_a_bad_file_is_refused_and_the_old_one_kept(file, text, errors_told):
    """Every error is told, until a file comes that is right."""
    before = file.registry["leads"].settings
    if text is None:
        file.path.unlink()
    else:
        file.path.write_text(text)
    assert not file.reload()
    assert len(file.refused) == errors_told
    assert file.registry["leads"].settings == before
    assert file.origin_of("leads", "slow_call_s") == "service defaults"
    file.path.write_text("edges: {leads: {probes: 5}, nats: {}}")
    assert file.reload()
    assert file.refused == ()
    assert file.registry["leads"].settings.probes == 5


async def test_the_file_is_followed(file, eventually):
    """A change is taken within a second or so, nobody has to say anything."""
    watch = asyncio.create_task(file.watch())
    await asyncio.sleep(0)
    file.path.write_text("edges: {leads: {probes: 9}, nats: {}}\n")
    await eventually(lambda: file.registry["leads"].settings.probes == 9)
    watch.cancel()
    await asyncio.wait([watch])
