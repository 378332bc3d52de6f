"""Robots hold to what their providers were recorded saying (contracts/external), and cut what is too long."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.http_client import Answer, refusal_of_status
from breakwater.resilience import Outcome
from breakwater.robots import FORMS, Credential, Message, dingtalk, feishu
from breakwater.robots.form import cut

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 1, 5, tzinfo=UTC)
MEANS = {
    "ok": {None},
    "later": {Outcome.OVERLOAD, Outcome.FAILURE},
    "permanent": {Outcome.CALLER_FAULT, Outcome.AUTH_REJECTED},
    "unknown": {Outcome.FAILURE},
}


def recorded(provider):
    """The vectors of a provider that say what an answer means, each with the answer."""
    found = []
    for line in (ROOT / f"contracts/external/{provider}/1.0.0/vectors.jsonl").read_text().splitlines():
        vector = json.loads(line)
        if "means" in vector:
            found.append(pytest.param(provider, vector["means"], answer_of(vector["answer"]), id=vector["id"]))
    assert len(found) > 10
    return found


def answer_of(recorded):
    """The answer as it comes over the wire; the first of several codes that will do."""
    body = recorded.get("json")
    if isinstance(body, dict):
        body = {name: value["$in"][0] if isinstance(value, dict) else value for name, value in body.items()}
    content = (
        recorded["text"].encode() if "text" in recorded else json.dumps(body).encode() if body is not None else b""
    )
    return Answer(recorded.get("status", 200), recorded.get("headers", {}), content)


@pytest.mark.parametrize(("provider", "means", "answer"), [each for name in FORMS for each in recorded(name)])
def test_an_answer_means_what_was_recorded(provider, means, answer):
    """As the client judges: the form first, then the status."""
    refusal = FORMS[provider].judge(answer) or refusal_of_status(provider, answer, NOW)
    assert (refusal.outcome if refusal else None) in MEANS[means]
    assert "key" not in (refusal.code if refusal and refusal.code else "")


def test_signs_are_those_of_the_recorded_vectors():
    """wire-formats.md states one for each provider that signs."""
    assert dingtalk.sign("SECdemo", 1_700_000_000_000) == "lOvVf9TQCVugV68mGbSZCg0gzOl1SVjxWi1MyVZCUuA="
    assert feishu.sign("demo", 1_599_360_473) == "l1N0gAcBjdwBvGm1xMjOF0XSyaLRpR7tuO5dHfhAYc8="


@given(st.text(max_size=200), st.integers(3, 300))
def test_what_is_cut_fits_and_is_the_beginning(text, size_bytes_max):
    """Bytes are counted, and no character is broken."""
    shown = cut(text, size_bytes_max)
    assert len(shown.encode()) <= size_bytes_max
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))


@pytest.mark.parametrize("name", FORMS)
def test_everybody_is_mentioned_in_what_is_urgent_alone(name):
    """In the provider's own way."""
    urgent, calm = (
        json.dumps(FORMS[name].post(Credential("k", "s"), Message("t", "x", urgent=each), NOW).body, ensure_ascii=False)
        for each in (True, False)
    )
    assert urgent != calm
    assert not any(word in calm for word in ("@all", "所有人", '"isAtAll": true'))


def test_a_credential_neither_shows_itself_nor_leaves_its_place():
    """Not in a repr; and a key with a slash would be another address."""
    assert "k-1" not in repr(Credential("k-1", "s-1"))
    assert "s-1" not in repr(Credential("k-1", "s-1"))
    with pytest.raises(ValueError, match="other characters") as refused:
        Credential("../../x").check()
    assert "../../x" not in str(refused.value)
