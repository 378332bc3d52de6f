"""Periods in a query, as `?from&to`."""

from datetime import date, datetime, time
from typing import Annotated
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import Field

from services.gateway.http.routes import Moment, QueryInput

_SHANGHAI = ZoneInfo("Asia/Shanghai")

Day = Annotated[date, Field(ge=date(1970, 1, 1))]
"""Of the calendar; the first ones begin in Shanghai before UTC has a date."""


class PeriodQuery(QueryInput):
    """A period of at most 92 days, `to` outside of it; a date is its midnight in Shanghai. The last 7 days when left out."""

    since: Moment | Day | None = Field(default=None, alias="from")
    until: Moment | Day | None = Field(default=None, alias="to")


def stamp_of(moment: datetime | date | None) -> Timestamp | None:
    """The moment for a request; a date is its midnight in Shanghai."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time(), _SHANGHAI)
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
