"""From failing edges to causes: the deepest failing edge is the cause, what stands above it is a symptom. Pure.

gateway → leads → postgres      leads → postgres fails, so gateway → leads fails: one cause, one page.
notify  →         postgres      It fails for every caller: it is PostgreSQL, not the way to it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from services.gateway.ops.edges.domain import Circuit
from services.gateway.ops.incidents.domain import Cause, Fault, Locus
from services.gateway.ops.incidents.evidence import CERTAIN, Evidence, Pair, PairEvidence

CALLS_PER_REQUEST = 5.0
"""A request makes so many calls to one dependency at most: 2 % failing calls do not explain that every request fails."""
SHARE_SLACK = 0.1
HEARD_CALLS_MIN = 3.0
"""Fewer recent calls say nothing of a caller who is not failing."""
REPLICAS_TOLD_APART_MAX = 5
"""One of more replicas is not told from a gray failure by its share."""
GRAY_SHARE_MAX = 0.35
WATCHER = "ops"
"""It asks processes for their figures, which needs none of their dependencies: it tells that a process lives, not that it
works."""


def find_causes(evidence: Evidence) -> list[Cause]:
    """Every cause of what is certain to fail, each with its symptoms."""
    roots: dict[Pair, PairEvidence] = {}
    above: dict[Pair, set[Pair]] = {}
    presumed = _presumed(evidence)
    for pair in [each for each in evidence.pairs.values() if each.certain and _is_news(each)]:
        chain: set[Pair] = set()
        for deepest in _deepest(evidence, pair, chain, presumed):
            roots[deepest.pair] = deepest
            above.setdefault(deepest.pair, set()).update(chain - {deepest.pair})
    causes = [_cause(evidence, group, above) for group in _grouped(evidence, roots)]
    return [replace(each, symptoms=_symptoms(evidence, each, presumed)) for each in causes]


def _is_news(pair: PairEvidence) -> bool:
    """Whether it fails now, and not only as what another cause did to it."""
    return pair.open or (pair.current and not pair.accounted_for)


def explains(deep: PairEvidence, upper: PairEvidence, presumed: Collection[Pair] = ()) -> bool:
    """Whether the failing of `upper`'s dependency is what `deep` does to it."""
    # Nobody is refused because of what fails further down.
    if upper.refused:
        return False
    if deep.pair in presumed:
        return True
    return deep.in_doubt and deep.current and upper.share <= CALLS_PER_REQUEST * deep.share + SHARE_SLACK


def _presumed(evidence: Evidence) -> frozenset[Pair]:
    """Edges to what fails for several others, and of which nobody has been answered since: they have not noticed yet.

    A call that is cut short by a hurried caller says nothing of what it was waiting for.
    """
    failing: dict[str, list[float]] = {}
    for (_, dependency), each in evidence.pairs.items():
        if each.certain and not each.refused and each.since_s is not None:
            failing.setdefault(dependency, []).append(each.since_s)
    return frozenset(
        pair
        for pair, each in evidence.pairs.items()
        if len(began := failing.get(pair[1], ())) > 1 and not each.in_doubt
        if each.known and (each.answered_s is None or each.answered_s < min(began))
    )


def _deepest(
    evidence: Evidence, pair: PairEvidence, chain: set[Pair], presumed: Collection[Pair]
) -> list[PairEvidence]:
    """The deepest edges that explain why `pair` fails, itself where nothing does; `chain` collects the way down."""
    chain.add(pair.pair)
    below = [
        each for each in evidence.out_of(pair.pair[1]) if each.pair not in chain and explains(each, pair, presumed)
    ]
    # Where one is certain, what is only in doubt explains nothing.
    below = [each for each in below if each.certain] or sorted(below, key=lambda each: each.strength)[-1:]
    found: dict[Pair, PairEvidence] = {}
    for each in below:
        found |= {deepest.pair: deepest for deepest in _deepest(evidence, each, chain, presumed)}
    return list(found.values()) or [pair]


@dataclass(frozen=True, slots=True)
class _Group:
    """Root edges that are one cause."""

    key: str
    name: str
    pairs: tuple[PairEvidence, ...]
    locus: Locus
    instances: tuple[str, ...] = ()


def _grouped(evidence: Evidence, roots: dict[Pair, PairEvidence]) -> list[_Group]:
    left, groups = dict(roots), []
    for process in sorted({caller for caller, _ in roots}):
        group = _out_of_one(evidence, process, [each for pair, each in left.items() if pair[0] == process])
        if group is not None:
            groups.append(group)
            for each in group.pairs:
                del left[each.pair]
    into: dict[tuple[str, bool], list[PairEvidence]] = {}
    for pair, each in left.items():
        into.setdefault((pair[1], each.refused), []).append(each)
    for (dependency, refused), pairs in into.items():
        name = f"{dependency}-credential" if refused else dependency
        if _most_are_well(evidence, pairs):
            groups += [
                _Group(f"{name}-of-{each.pair[0]}", name, (each,), _locus(evidence, [each]), _bad_instances(each))
                for each in pairs
            ]
        else:
            instances = _bad_instances(pairs[0]) if len(pairs) == 1 else ()
            groups.append(_Group(name, name, tuple(pairs), _locus(evidence, pairs), instances))
    return groups


def _most_are_well(evidence: Evidence, failing: Sequence[PairEvidence]) -> bool:
    """Whether more callers of the dependency are answered than not: then each that fails has a fault of its own."""
    began_s = min((each.since_s for each in failing if each.since_s is not None), default=float("inf"))
    callers = [each for each in evidence.into(failing[0].pair[1]) if each.known]
    hurt = sum(each.in_doubt for each in callers)
    well = sum(
        each.recent.reached >= HEARD_CALLS_MIN and each.answered_s is not None and each.answered_s > began_s
        for each in callers
        if not each.in_doubt
    )
    return well >= max(hurt, 1)


def _out_of_one(evidence: Evidence, process: str, failing: Sequence[PairEvidence]) -> _Group | None:
    """Whether it is the process itself, or one instance of it: nothing it calls answers it, and others are answered."""
    if len(failing) < 2:  # noqa: PLR2004
        return None
    instances = _bad_instances(failing[0])
    if instances and all(_bad_instances(each) == instances for each in failing):
        return _Group(f"{process}-local", f"{process}-local", tuple(failing), Locus.LOCAL, instances)
    pairs = {each.pair for each in failing}
    others = [each for each in evidence.out_of(process) if each.pair not in pairs]
    if any(each.recent.tried >= HEARD_CALLS_MIN for each in others):
        return None
    if len({each.refused for each in failing}) > 1:
        return None
    answered = [_others_are_answered(evidence, each) for each in failing]
    if any(each is False for each in answered) or not any(answered):
        return None
    name = f"{process}-credential-local" if failing[0].refused else f"{process}-local"
    return _Group(name, name, tuple(failing), Locus.LOCAL)


def _others_are_answered(evidence: Evidence, pair: PairEvidence) -> bool | None:
    """Whether others call the dependency and are answered; None where nobody else calls it."""
    asked = [
        other
        for other in evidence.into(pair.pair[1])
        if other.pair != pair.pair and (other.in_doubt or other.recent.reached >= HEARD_CALLS_MIN)
    ]
    return all(not other.in_doubt for other in asked) if asked else None


def _locus(evidence: Evidence, pairs: Sequence[PairEvidence]) -> Locus:
    if len(pairs) > 1:
        return Locus.REMOTE
    pair = pairs[0]
    if pair.crowded.value >= CERTAIN and not pair.open and pair.recent.bad_share > 2 * pair.recent.failed_share:
        return Locus.LOCAL
    # Only this caller: with the same credential and the same dependency, what differs is the way.
    alone = _others_are_answered(evidence, pair) or bool(_bad_instances(pair))
    return Locus.NETWORK if alone and not pair.refused else Locus.REMOTE


def _bad_instances(pair: PairEvidence) -> tuple[str, ...]:
    """The instances of the caller that fail, where others of it do well; empty where it is all of them."""
    bad = tuple(sorted(name for name, each in pair.instances.items() if each.bad))
    return bad if bad and any(each.well for each in pair.instances.values()) else ()


def _cause(evidence: Evidence, group: _Group, above: dict[Pair, set[Pair]]) -> Cause:
    pairs = sorted(group.pairs, key=lambda each: (each.pair[0] == WATCHER, -each.recent.tried, each.pair))
    worst = pairs[0]
    since = min((each.since for each in pairs if each.since is not None), default=None)
    if since is None:
        # In doubt itself, and the reason why others are certain.
        tops = [evidence.pairs[pair].since for each in pairs for pair in above.get(each.pair, ())]
        since = min((each for each in tops if each is not None), default=None)
    return Cause(
        key=group.key,
        name=group.name,
        caller=worst.pair[0],
        dependency=worst.pair[1],
        fault=_fault(evidence, group, worst),
        locus=group.locus,
        roots=tuple(each.pair for each in pairs),
        instances=group.instances,
        since=since,
    )


def _fault(evidence: Evidence, group: _Group, worst: PairEvidence) -> Fault:
    recent, dependency = worst.recent, worst.pair[1]
    crowded = group.locus is Locus.LOCAL and recent.rejected > recent.failed
    callers = {each.pair[0] for each in group.pairs} - {WATCHER}
    open_somewhere = any(each.open for each in group.pairs)
    fitting = (
        (Fault.REPLICA, bool(group.instances)),
        (Fault.CREDENTIAL, worst.refused),
        (Fault.OVERLOAD, crowded or recent.overload > max(recent.failed, recent.slow)),
        (Fault.REPLICA, _one_of_its_replicas(evidence, group.pairs, dependency)),
        (Fault.SLOW, _slow(worst)),
        (Fault.GRAY, not open_somewhere and recent.bad_share <= GRAY_SHARE_MAX),
        (Fault.SHARED, len(callers) > 1 and not any(evidence.out_of(dependency))),
    )
    return next((fault for fault, fits in fitting if fits), Fault.DOWN)


def _slow(pair: PairEvidence) -> bool:
    """Calls are answered, too late; where it is only some of them, it is gray.

    A circuit opens before half of a whole window is slow: if more of it was slow than failed, that is what it opened for.
    """
    recent = pair.recent
    answered = recent.reached - recent.failed
    opened_for_it = pair.open and recent.slow > recent.failed + recent.overload
    return answered > 0.2 * recent.reached and (pair.slowed or recent.slow > 0.5 * recent.reached or opened_for_it)


def _one_of_its_replicas(evidence: Evidence, pairs: Iterable[PairEvidence], process: str) -> bool:
    """Whether about one call in so many as the dependency has replicas fails."""
    replicas = evidence.replicas(process)
    if not 1 < replicas <= REPLICAS_TOLD_APART_MAX:
        return False
    reached = sum(each.recent.reached for each in pairs)
    failed = sum(each.recent.failed for each in pairs)
    if reached < 10:  # noqa: PLR2004
        return False
    share, expected = failed / reached, 1 / replicas
    return bool(abs(share - expected) <= 2 * (expected * (1 - expected) / reached) ** 0.5 + 0.05)


def _symptoms(evidence: Evidence, cause: Cause, presumed: Collection[Pair]) -> tuple[Pair, ...]:
    """What fails above the roots, all the way up."""
    found: dict[Pair, None] = {}
    front: Collection[Pair] = cause.roots
    while front:
        upper = [
            each
            for below in front
            for each in evidence.into(below[0])
            if each.in_doubt and each.pair not in found and each.pair not in cause.roots
            if explains(evidence.pairs[below], each, presumed)
        ]
        found |= dict.fromkeys(each.pair for each in upper)
        front = [each.pair for each in upper]
    return tuple(found)


def is_well(pair: PairEvidence) -> bool | None:
    """Whether it answers again; None where nobody asks, or nobody tells."""
    if not pair.known:
        return None
    if pair.in_doubt:
        return False if pair.current else None
    closed = all(each.edge.state is Circuit.CLOSED for each in pair.instances.values() if each.known)
    return True if closed and pair.answered_s is not None else None
