"""The figures of a process's edges, from its own file and the chassis's."""

import pytest

from breakwater.chassis import errors, policies
from breakwater.resilience import (
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
        return policies.load("files", path, clock=clock, classifiers={})

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
        (BulkheadFullError, errors.RateLimitedError, "overloaded"),
        (OverloadedError, errors.RateLimitedError, "overloaded"),
        (DeadlineExceededError, errors.DeadlineExceededError, "deadline_exceeded"),
        (AttemptTimeoutError, errors.DeadlineExceededError, "deadline_exceeded"),
    ],
)
def test_what_a_policy_refuses_names_the_dependency_and_when_to_try_again(refusal, kind, code):
    """Callers read a failure of ours, never the policy's own."""
    error = policies.error_of_policy(refusal("files", "leads", "detail", retry_after_s=1.5))
    assert type(error) is kind
    assert (error.code, error.dependency, error.retry_after_s) == (code, "leads", 1.5)
