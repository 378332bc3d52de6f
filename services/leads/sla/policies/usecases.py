"""Changing limits and calendars: versions, as all documents are (5, 40)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from breakwater.chassis.identity import Actor
from services.leads.documents.domain import KeptDocument
from services.leads.documents.usecases import DocumentStore, put_document
from services.leads.organisation.domain import Directory
from services.leads.sla.calendar import Holidays
from services.leads.sla.domain import FirstTouch
from services.leads.sla.policies.domain import read_policies


class PolicyStore(DocumentStore, Protocol):
    """What changing policies needs of one open transaction."""

    async def directory(self) -> Directory: ...


BeginPolicies = Callable[[], AbstractAsyncContextManager[PolicyStore]]


async def put_policies(
    begin: BeginPolicies,
    actor: Actor,
    document: Mapping[str, Any],
    expected_version: int,
    *,
    holidays: Holidays,
    now: datetime,
) -> KeptDocument:
    """Puts new policies in force for every stage that begins from now on; the stage a clock is in keeps its due time.

    Raises InvalidRequestError with the place of each error, ConflictError when `expected_version` (0: any) is not in
    force.
    """
    async with begin() as store:
        teams = list((await store.directory()).teams.values())

    def check(document: Mapping[str, Any], version: int) -> FirstTouch:
        return read_policies(document, version, teams, holidays, strict=True)

    return await put_document(begin, actor, document, expected_version, check, now=now)
