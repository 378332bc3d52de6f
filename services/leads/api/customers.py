"""`CustomersService`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import customers_pb2 as pb
from breakwater.leads.v1.customers_pb2_grpc import CustomersServiceServicer
from services.leads.intake.duplicates.domain import Reason, Thresholds
from services.leads.intake.duplicates.usecases import (
    Asked,
    DismissStore,
    DuplicateReader,
    Found,
    KeptDuplicate,
    dismiss_duplicate,
    find_duplicates,
    list_duplicates,
)
from services.leads.timestamps import timestamp


class CustomersApi(CustomersServiceServicer):
    """One customer, one record."""

    def __init__(
        self,
        begin_reading: Callable[[], AbstractAsyncContextManager[DuplicateReader]],
        begin_dismissing: Callable[[], AbstractAsyncContextManager[DismissStore]],
        thresholds: Thresholds,
        clock: Clock,
    ) -> None:
        self._begin_reading = begin_reading
        self._begin_dismissing = begin_dismissing
        self._thresholds = thresholds
        self._clock = clock

    async def FindDuplicates(self, request: pb.FindDuplicatesRequest, context: Any) -> pb.FindDuplicatesResponse:
        found = await find_duplicates(
            self._begin_reading,
            wire.actor_from(request.actor),
            Asked(request.name, request.company, request.phone, request.email),
            self._thresholds,
        )
        return pb.FindDuplicatesResponse(duplicates=[_found(each) for each in found])

    async def ListDuplicates(self, request: pb.ListDuplicatesRequest, context: Any) -> pb.ListDuplicatesResponse:
        kept = await list_duplicates(self._begin_reading, wire.actor_from(request.actor), request.customer_id)
        return pb.ListDuplicatesResponse(duplicates=[_kept(each) for each in kept])

    async def DismissDuplicate(self, request: pb.DismissDuplicateRequest, context: Any) -> pb.DismissDuplicateResponse:
        await dismiss_duplicate(
            self._begin_dismissing,
            wire.actor_from(request.actor),
            request.customer_id,
            request.other_id,
            now=self._clock.now(),
        )
        return pb.DismissDuplicateResponse()


def _found(each: Found) -> pb.Duplicate:
    return pb.Duplicate(
        customer_id=each.other.id,
        name=each.other.name,
        company=each.other.company,
        owner_id=each.other.owner_id or "",
        verdict=each.verdict,
        score=each.judgement.score,
        reasons=_reasons(each.judgement.reasons),
    )


def _kept(each: KeptDuplicate) -> pb.Duplicate:
    return pb.Duplicate(
        customer_id=each.other.id,
        name=each.other.name,
        company=each.other.company,
        owner_id=each.other.owner_id or "",
        verdict=each.state,
        score=each.judgement.score,
        reasons=_reasons(each.judgement.reasons),
        found_at=timestamp(each.found_at),
    )


def _reasons(reasons: Sequence[Reason]) -> list[pb.DuplicateReason]:
    return [pb.DuplicateReason(field=each.field, points=each.points, text=each.text) for each in reasons]
