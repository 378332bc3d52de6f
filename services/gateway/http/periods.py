"""Periods in a query, as `?from&to`."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AwareDatetime, Field

from services.gateway.http.routes import QueryInput

_SHANGHAI = ZoneInfo("Asia/Shanghai")


class PeriodQuery(QueryInput):
    """A period of at most 92 days, `to` outside of it; a date is its midnight in Shanghai. The last 7 days when left out."""

    since: AwareDatetime | date | None = Field(default=None, alias="from")
    until: AwareDatetime | date | None = Field(default=None, alias="to")


def stamp_of(moment: datetime | date | None) -> Timestamp | None:
    """The moment for a request; a date is its midnight in Shanghai."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), _SHANGHAI)
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
