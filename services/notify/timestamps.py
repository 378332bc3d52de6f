"""Moments on the wire."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp


def timestamp(moment: datetime) -> Timestamp:
    """As protobuf has it."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def moment(given: Timestamp) -> datetime:
    """Aware, in UTC."""
    return given.ToDatetime(UTC)
