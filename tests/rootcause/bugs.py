"""Bugs planted into the engine: the trials must find each. What finds it is the answer; nothing where nothing does."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from services.gateway.ops.incidents import causes, evidence, usecases
from tests.rootcause import faults
from tests.rootcause.trial import aftermath, quiet, run

SEED: Final = 1


@contextmanager
def _with(module: Any, **changes: Any) -> Iterator[None]:
    before = {name: getattr(module, name) for name in changes}
    for name, value in changes.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _trial(kind: str, caller: str, dependency: str) -> str:
    """What a trial with one fault finds wrong."""
    verdict = run(SEED, [partial(_fault, kind, caller, dependency)])
    return "" if verdict.well else f"{verdict.faults[0]}: pages {verdict.named}"


def _fault(kind: str, caller: str, dependency: str, world: Any, rng: Any) -> faults.Trouble:
    return faults.at_edge(kind, (caller, dependency), world, rng)


def _quiet_hour() -> str:
    pages = quiet(SEED, 1.0)["pages"]
    return f"{len(pages)} pages in a quiet hour" if pages else ""


def _planted(module: Any, changes: Mapping[str, Any], find: Callable[[], str]) -> str:
    with _with(module, **changes):
        return find()


def _credential_above_an_outage() -> str:
    """Two faults at once: the deeper one explains everything but the credential, which must not have to wait for its cure."""
    verdict = run(
        SEED, [partial(_fault, "credential", "gateway", "leads"), partial(_fault, "slow", "leads", "postgres")]
    )
    return "" if verdict.at_once else f"{' and '.join(verdict.faults)}: only one was named before it was cured"


def soon_after_an_outage() -> str:
    """A brief outage of PostgreSQL, and then health, which it dragged along, fails by itself: that is paged within a minute."""
    found = aftermath(SEED, partial(_outage, "postgres"), partial(_fault, "down", "gateway", "health"))
    well = found.pages == ("postgres", "health") and found.noticed_s is not None
    return "" if well else f"pages {list(found.pages)}, the second fault after {found.noticed_s} s"


def _outage(dependency: str, *_: Any) -> faults.Trouble:
    return faults.Trouble("shared", "", dependency, "refused")


_NUMBERS: Final = itertools.count()
PLANTED: Final[Mapping[str, Callable[[], str]]] = {
    "every failing edge is a cause": partial(
        _planted, causes, {"explains": lambda *_: False}, partial(_trial, "down", "leads", "postgres")
    ),
    "what is well again at once is over at once": partial(
        _planted, usecases, {"hold_s": lambda _: 0.0, "SETTLE_S": 0.0}, partial(_trial, "flapping", "gateway", "health")
    ),
    "only open circuits count": partial(
        _planted, evidence, {"CERTAIN": float("inf")}, partial(_trial, "gray", "leads", "postgres")
    ),
    "three failures in a row are certain": partial(_planted, evidence, {"CERTAIN": 3.0, "IN_DOUBT": 1.0}, _quiet_hour),
    "ids by the replica's own clock": partial(
        _planted,
        usecases,
        {"id_of": lambda cause, _, __: f"{cause.name}-{next(_NUMBERS)}"},
        partial(_trial, "down", "notify", "wecom"),
    ),
    "a refused credential counts as an outage": partial(
        _planted,
        causes,
        {"explains": lambda deep, upper, presumed=(): deep.in_doubt or deep.pair in presumed},
        _credential_above_an_outage,
    ),
    "what was dragged along never fails by itself": partial(
        _planted,
        evidence.PairEvidence,
        {"dragged_along": lambda each, _: each.own is not None},
        soon_after_an_outage,
    ),
    "what another cause accounted for is paged again": partial(
        _planted, evidence.PairEvidence, {"accounted_for": False}, soon_after_an_outage
    ),
    "no incident is ever resolved": partial(
        _planted, usecases, {"is_well": lambda _: False}, partial(_trial, "down", "health", "postgres")
    ),
}
