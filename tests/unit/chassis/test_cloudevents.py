"""Events as headers: CloudEvents attributes that survive the wire."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.cloudevents import MalformedEventError, Received, decoded, encoded, headers_of, received

EVENT_ID = "019b0000-0000-7000-8000-000000000001"
TYPE = "breakwater.leads.v1.LeadAssigned"


@given(st.text())
def test_any_text_survives_as_printable_ascii(text: str) -> None:
    """nats-py would send line breaks and raw UTF-8; nothing of that reaches it."""
    sent = encoded(text)
    assert decoded(sent) == text
    assert all(0x21 <= ord(letter) <= 0x7E for letter in sent)


def test_plain_text_is_sent_as_it_is() -> None:
    """Ids stay readable in the server's tools."""
    assert encoded(EVENT_ID) == EVENT_ID


@given(
    subject_id=st.text(min_size=1),
    sequence=st.integers(min_value=0, max_value=2**62),
    time=st.datetimes(timezones=st.just(UTC)),
    data=st.binary(max_size=50),
)
def test_an_event_is_received_as_it_was_sent(subject_id: str, sequence: int, time: datetime, data: bytes) -> None:
    """Every attribute comes back."""
    headers = headers_of(
        event_id=EVENT_ID,
        event_type=TYPE,
        source="leads",
        subject_id=subject_id,
        sequence=sequence,
        time=time,
        traceparent=None,
    )
    assert received(headers, data) == Received(EVENT_ID, TYPE, subject_id, sequence, time, data, None)


def test_the_attributes_are_those_of_cloudevents() -> None:
    """Names and formats of CloudEvents 1.0, so that other tools can read them."""
    headers = headers_of(
        event_id=EVENT_ID,
        event_type=TYPE,
        source="leads",
        subject_id="lead 1",
        sequence=7,
        time=datetime(2026, 3, 8, 1, 2, 3, tzinfo=UTC),
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    assert headers == {
        "Nats-Msg-Id": EVENT_ID,
        "ce-specversion": "1.0",
        "ce-id": EVENT_ID,
        "ce-type": TYPE,
        "ce-source": "/breakwater/leads",
        "ce-subject": "lead%201",
        "ce-time": "2026-03-08T01:02:03.000000Z",
        "ce-sequence": "7",
        "content-type": "application/protobuf",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    }


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("ce-id", None),
        ("ce-id", "no uuid"),
        ("ce-type", None),
        ("ce-subject", None),
        ("ce-sequence", "first"),
        ("ce-time", "yesterday"),
    ],
)
def test_a_missing_or_wrong_attribute_is_named(attribute: str, value: str | None) -> None:
    """The dead letter then says what was wrong."""
    headers = headers_of(
        event_id=EVENT_ID,
        event_type=TYPE,
        source="leads",
        subject_id="lead-1",
        sequence=7,
        time=datetime(2026, 3, 8, tzinfo=UTC),
        traceparent=None,
    )
    wrong = {name: content for name, content in headers.items() if name != attribute}
    if value is not None:
        wrong[attribute] = value
    with pytest.raises(MalformedEventError, match=attribute):
        received(wrong, b"")
