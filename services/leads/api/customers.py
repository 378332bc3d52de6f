"""`CustomersService`."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from breakwater.chassis import wire
from breakwater.chassis.clock import Clock
from breakwater.leads.v1 import customers_pb2 as pb
from breakwater.leads.v1.customers_pb2_grpc import CustomersServiceServicer
from services.leads.api.messages import cursor_from, cursor_to, keyed
from services.leads.intake.changes.usecases import BeginChanges, list_changes
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
from services.leads.intake.merges.domain import Merge
from services.leads.intake.merges.usecases import BeginMerging, MergeOrder, list_merges, merge_customers, undo_merge
from services.leads.timestamps import timestamp


class CustomersApi(CustomersServiceServicer):
    """One customer, one record."""

    def __init__(
        self,
        begin_reading: Callable[[], AbstractAsyncContextManager[DuplicateReader]],
        begin_dismissing: Callable[[], AbstractAsyncContextManager[DismissStore]],
        begin_merging: BeginMerging,
        begin_changes: BeginChanges,
        thresholds: Thresholds,
        clock: Clock,
    ) -> None:
        self._begin_reading = begin_reading
        self._begin_dismissing = begin_dismissing
        self._begin_merging = begin_merging
        self._begin_changes = begin_changes
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

    async def MergeCustomers(self, request: pb.MergeCustomersRequest, context: Any) -> pb.MergeCustomersResponse:
        answer = await merge_customers(
            self._begin_merging,
            keyed("MergeCustomers", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            MergeOrder(request.kept_id, request.merged_id, request.reason, list(request.take)),
            now=self._clock.now(),
            encode=lambda merge: pb.MergeCustomersResponse(merge=_merge_to(merge)).SerializeToString(),
        )
        response = pb.MergeCustomersResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def UndoMerge(self, request: pb.UndoMergeRequest, context: Any) -> pb.UndoMergeResponse:
        answer = await undo_merge(
            self._begin_merging,
            keyed("UndoMerge", request.actor, request.idempotency),
            wire.actor_from(request.actor),
            request.customer_id,
            request.merge_id,
            now=self._clock.now(),
            encode=lambda merge: pb.UndoMergeResponse(merge=_merge_to(merge)).SerializeToString(),
        )
        response = pb.UndoMergeResponse.FromString(answer.content)
        response.replayed = answer.replayed
        return response

    async def ListMerges(self, request: pb.ListMergesRequest, context: Any) -> pb.ListMergesResponse:
        merges = await list_merges(self._begin_merging, wire.actor_from(request.actor), request.customer_id)
        return pb.ListMergesResponse(merges=[_merge_to(each) for each in merges])

    async def ListChanges(self, request: pb.ListChangesRequest, context: Any) -> pb.ListChangesResponse:
        changes, next_place = await list_changes(
            self._begin_changes,
            wire.actor_from(request.actor),
            lead_id=request.lead_id,
            customer_id=request.customer_id,
            cursor=cursor_from(request.cursor) if request.cursor else "",
            limit=request.limit,
        )
        return pb.ListChangesResponse(
            changes=[
                pb.Change(
                    field=each.field,
                    before=each.before or "",
                    after=each.after or "",
                    by=each.by,
                    reason=each.reason,
                    changed_at=timestamp(each.at),
                )
                for each in changes
            ],
            next_cursor=cursor_to(next_place),
        )


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


def _merge_to(merge: Merge) -> pb.Merge:
    return pb.Merge(
        id=merge.id,
        kept_id=merge.kept_id,
        merged_id=merge.merged_id,
        by=merge.by,
        reason=merge.reason,
        merged_at=timestamp(merge.at),
        fields=[
            pb.FieldChange(field=name, before=before or "", after=after or "")
            for name, (before, after) in merge.moved.fields.items()
        ],
        moved={table: len(ids) for table, ids in merge.moved.rows.items()},
        undone_by=merge.undone_by,
        undone_at=timestamp(merge.undone_at) if merge.undone_at else None,
    )


def _reasons(reasons: Sequence[Reason]) -> list[pb.DuplicateReason]:
    return [pb.DuplicateReason(field=each.field, points=each.points, text=each.text) for each in reasons]
