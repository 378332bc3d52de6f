"""Moments in their protobuf form."""

from datetime import datetime
from functools import lru_cache

from google.protobuf.timestamp_pb2 import Timestamp


@lru_cache(maxsize=1_000)
def timestamp(at: datetime) -> Timestamp:
    """The moment as a message of its own, shared: whoever puts it into another message gets a copy."""
    message = Timestamp()
    message.FromDatetime(at)
    return message
