"""What every caller's edge to a dependency goes by, asked of the processes themselves."""

import asyncio
from typing import Protocol

from typing_extensions import TypedDict

from breakwater.chassis.errors import NotFoundError
from services.gateway.http.answers import Answer, answer, rfc3339_of
from services.gateway.http.declare import Api
from services.gateway.ops.console import Console
from services.gateway.ops.edges.domain import EdgePolicy


class SettingView(TypedDict):
    """One setting; units are in the names. `origin`: service or chassis, edge or defaults; or built-in."""

    value: float | bool
    origin: str


class PolicyView(TypedDict):
    """What one edge of one process goes by."""

    caller: str
    dependency: str
    instance: str
    loaded_at: str | None
    settings: dict[str, SettingView]
    refused: list[str]
    """What was wrong with a later policies.yaml, which was refused."""


class PoliciesView(TypedDict):
    """The policies of every caller's edge to a dependency."""

    dependency: str
    items: list[PolicyView]
    unreached: list[str]
    """Callers that did not answer."""


class PolicyReader(Protocol):
    """Asks a process for its policies."""

    @property
    def names(self) -> tuple[str, ...]: ...

    async def policies(self, process: str, dependency: str) -> list[EdgePolicy]: ...


def add_routes(api: Api, console: Console, reader: PolicyReader) -> None:
    """Adds the route."""

    @api.route("GET", "/v1/dependencies/{dependency}/policy", PoliciesView, tag="dependencies")
    async def show_policies(dependency: str) -> Answer:
        """The effective settings of every caller's edge to a dependency, and which file each comes from."""
        callers = sorted(console.callers_of(dependency) & set(reader.names))
        if not console.callers_of(dependency):
            raise NotFoundError("no process has reported such an edge")
        found = await asyncio.gather(*(reader.policies(caller, dependency) for caller in callers))
        view = PoliciesView(
            dependency=dependency,
            items=[_view(policy) for policies in found for policy in policies],
            unreached=[caller for caller, policies in zip(callers, found, strict=True) if not policies],
        )
        return answer(view)


def _view(policy: EdgePolicy) -> PolicyView:
    return PolicyView(
        caller=policy.caller,
        dependency=policy.dependency,
        instance=policy.instance,
        loaded_at=rfc3339_of(policy.loaded_at),
        settings={name: SettingView(value=each.value, origin=each.origin) for name, each in policy.settings.items()},
        refused=list(policy.refused),
    )
