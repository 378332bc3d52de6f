"""Reading and changing limits and calendars: versions, as the routing rules are (5, 40)."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from breakwater.chassis.errors import ConflictError, NotFoundError, PermissionDeniedError
from breakwater.chassis.identity import Actor, Role
from services.leads.organisation.domain import Directory
from services.leads.sla.calendar import Holidays
from services.leads.sla.policies.domain import KeptPolicies, read_policies

READERS = frozenset({Role.SERVICE, Role.SALES, Role.MANAGER, Role.ADMIN})
AUTHORS = frozenset({Role.MANAGER, Role.ADMIN})


class PolicyStore(Protocol):
    """What changing policies needs of one open transaction."""

    async def directory(self) -> Directory: ...

    async def policies(self, version: int | None) -> KeptPolicies | None:
        """A version of the policies; the one in force for None."""
        ...

    async def lock_policies(self) -> int:
        """The version in force; whoever changes policies or rules next waits."""
        ...

    async def add_policies(self, policies: KeptPolicies) -> None: ...


BeginPolicies = Callable[[], AbstractAsyncContextManager[PolicyStore]]


def _permit(actor: Actor, roles: frozenset[Role]) -> None:
    if actor.role not in roles:
        raise PermissionDeniedError(f"The role {actor.role} has no access to the first-touch policies.")


async def get_policies(begin: BeginPolicies, actor: Actor, version: int = 0) -> KeptPolicies:
    """A version of the policies, the one in force for 0. Raises NotFoundError."""
    _permit(actor, READERS)
    async with begin() as store:
        found = await store.policies(version or None)
    if found is None:
        raise NotFoundError("There is no such version of the policies.")
    return found


async def put_policies(
    begin: BeginPolicies,
    actor: Actor,
    document: Mapping[str, Any],
    expected_version: int,
    *,
    holidays: Holidays,
    now: datetime,
) -> KeptPolicies:
    """Puts new policies in force for what is given to somebody from now on; clocks that run keep their present stage.

    Raises InvalidRequestError with the place of each error, ConflictError when `expected_version` (0: any) is not in
    force.
    """
    _permit(actor, AUTHORS)
    async with begin() as store:
        present = await store.lock_policies()
        if expected_version not in {0, present}:
            raise ConflictError(f"Version {present} is in force, not {expected_version}: look at it and try again.")
        directory = await store.directory()
        read_policies(document, present + 1, list(directory.teams.values()), holidays, strict=True)
        kept = KeptPolicies(present + 1, document, actor.sub, now)
        await store.add_policies(kept)
    return kept
