"""Shows each peer the mutants it can express, for real: buf the protos, Pact and Schemathesis the running candidate."""

import asyncio
import json
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from breakwater.compat import artifacts, candidate, events, interface, peers, protos, world
from breakwater.compat.candidate import Candidate, CandidateError
from breakwater.compat.consumers import verifier
from breakwater.compat.emits import caller_headers
from breakwater.compat.messages import Messages
from breakwater.compat.vectors import ELSEWHERE
from breakwater.compat.world import World
from breakwater.local.topology import PROCESSES
from tests.mutation import events as event_mutants
from tests.mutation import http as http_mutants
from tests.mutation.mutant import Mutant, Source, base, planted
from tests.peers import event_pact, fuzzing, http_pact

BUF = "buf FILE"
PACT = "Pact"
PACT_OVERRIDE = "Pact, header override"
SCHEMATHESIS = "Schemathesis"
SCHEMATHESIS_NEW = "Schemathesis, what is new"
PEERS = (BUF, PACT, PACT_OVERRIDE, SCHEMATHESIS, SCHEMATHESIS_NEW)
EVENT_CODE = frozenset({event_mutants.CLOUDEVENTS, event_mutants.OUTBOX, event_mutants.INBOX})
ENVIRONMENT = "prod"
HEADER_MOVED = "header"
UNCHANGED_RUNS = 2


@dataclass(frozen=True, slots=True)
class Said:
    """What one peer said of one mutant; nothing where it saw nothing wrong."""

    mutant: str
    peer: str
    alarm: str


def header_moved() -> list[Mutant]:
    """The outage itself where peers can see it: the gateway reads its callers' token from another header."""
    edge = Source.of(http_mutants.EDGE)
    old = 'bearer(call.header("authorization"))'
    found = []
    for key in ELSEWHERE:
        for scheme, new in (
            ("", f'bearer("Bearer " + (call.header("{key}") or ""))'),
            (" with a scheme", f'bearer(call.header("{key}"))'),
        ):
            name = f"header: the gateway reads {key}{scheme}"
            found.append(Mutant(name, "gateway", HEADER_MOVED, ("callers",), edge.replaced(old, new)))
    return found


def expressible(mutant: Mutant, peer: str) -> bool:
    """Whether a peer looks at anything that the mutant changes, or would for the null mutant."""
    unchanged = not mutant.edits
    if peer == BUF:
        return mutant.touches_protos or unchanged
    over_http = mutant.service == "gateway" and (unchanged or not mutant.touches_protos)
    if peer in {SCHEMATHESIS, SCHEMATHESIS_NEW}:
        return over_http
    return over_http or _in_events(mutant)


def _in_events(mutant: Mutant) -> bool:
    if mutant.service == "gateway" or mutant.touches_protos:
        return False
    return mutant.dimension == "events" or not mutant.edits or bool(EVENT_CODE & mutant.edits.keys())


def run(
    mutants: Sequence[Mutant], fuzzed: frozenset[str], workers: int, note: Callable[[str], None], *, until_s: float
) -> list[Said]:
    """What every peer says of each mutant that it can express; Schemathesis of those named in `fuzzed`.

    After `until_s` of the monotonic clock no other mutant is begun. Raises `RuntimeError` when a peer fails.
    """
    place = Path(tempfile.mkdtemp(prefix="breakwater-peers-"))
    context = multiprocessing.get_context("spawn")
    try:
        original = base(place / "base")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_quiet) as pool:
            shares = [
                pool.submit(_work, original, place / str(index), list(mutants[index::workers]), fuzzed, until_s)
                for index in range(workers)
            ]
            found = []
            for share in shares:
                found += share.result()
                note(f"{len(found)} words of peers")
            return found
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _quiet() -> None:
    """Pact writes every comparison and message to the outputs of its process; what fails comes as an exception."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _work(original: Path, place: Path, mutants: list[Mutant], fuzzed: frozenset[str], until_s: float) -> list[Said]:
    place.mkdir()
    return asyncio.run(_examined(original, place, mutants, fuzzed, until_s))


async def _examined(
    original: Path, place: Path, mutants: list[Mutant], fuzzed: frozenset[str], until_s: float
) -> list[Said]:
    found: list[Said] = []
    async with world.opened() as opened:
        bench = Bench(opened, original, place, Messages(protos.whole_image(original / "proto")))
        if any(_over_http(mutant) for mutant in mutants):
            await bench.prepare(fuzz=any(mutant.name in fuzzed for mutant in mutants))
        for number, mutant in enumerate(mutants):
            if time.monotonic() > until_s:
                break
            tree = planted(original, place / f"tree-{number}", mutant)
            try:
                found += await bench.shown(tree, mutant, fuzz=mutant.name in fuzzed)
            finally:
                shutil.rmtree(tree, ignore_errors=True)
    return found


def _over_http(mutant: Mutant) -> bool:
    return expressible(mutant, SCHEMATHESIS)


@dataclass(slots=True)
class Bench:
    """The peers with what they recorded of the unchanged platform."""

    world: World
    original: Path
    place: Path
    messages: Messages
    _pact: Path = field(init=False)
    _known: set[str] = field(default_factory=set)

    async def prepare(self, *, fuzz: bool) -> None:
        """Has a consumer of the unchanged gateway write its pact, and Schemathesis say what it holds against that gateway."""
        contracts = self.original / "contracts"
        release = artifacts.deployed(contracts, self.original / "deploy/lock.yaml", ENVIRONMENT, "gateway")[0]
        document = json.loads((release.directory / interface.OPENAPI).read_text(encoding="utf-8"))
        async with self._running(self.original, "gateway") as gateway:
            calls = await http_pact.called(self.world, gateway.http, document)
            self._pact = await http_pact.recorded(calls, self.place)
        for _ in range(UNCHANGED_RUNS) if fuzz else ():
            async with self._running(self.original, "gateway") as gateway:
                self._known |= await asyncio.to_thread(fuzzing.failures, gateway.http, self._token(), self.place)

    async def shown(self, tree: Path, mutant: Mutant, *, fuzz: bool) -> list[Said]:
        """What each peer says of a mutant that it can express. A candidate that does not start is an alarm of all of them."""
        if expressible(mutant, BUF):
            found = [Said(mutant.name, BUF, await asyncio.to_thread(self._breaking, tree, mutant.service))]
            if mutant.touches_protos:
                return found
        else:
            found = []
        try:
            if _over_http(mutant):
                found += await self._over_http(tree, mutant, fuzz=fuzz)
            elif expressible(mutant, PACT):
                alarm = await self._in_events(tree, mutant.service)
                found += [Said(mutant.name, peer, alarm) for peer in (PACT, PACT_OVERRIDE)]
        except CandidateError as error:
            there = [peer for peer in PEERS[1:] if expressible(mutant, peer) and (fuzz or peer.startswith(PACT))]
            found += [Said(mutant.name, peer, f"it does not start: {error}"[:200]) for peer in there]
        return found

    def _breaking(self, tree: Path, service: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            image = Path(folder) / "candidate.binpb"
            protos.build_image(tree / "proto", service, image)
            lock = self.original / "deploy/lock.yaml"
            releases = artifacts.deployed(self.original / "contracts", lock, ENVIRONMENT, service)
            found = [each for release in releases for each in protos.breaking(tree / "proto", image, release.image)]
        return f"{found[0].rule}: {found[0].message}" if found else ""

    async def _over_http(self, tree: Path, mutant: Mutant, *, fuzz: bool) -> list[Said]:
        async with self._running(tree, "gateway") as gateway:
            plain = await asyncio.to_thread(verifier.failures, http_pact.PROVIDER, gateway.http, self._pact)
            override = {"Authorization": self._token(), **_read_instead(mutant, self._token())}
            overridden = await asyncio.to_thread(
                verifier.failures, http_pact.PROVIDER, gateway.http, self._pact, only=http_pact.WITH, headers=override
            )
            gateway.require_alive()
            found = [Said(mutant.name, PACT, _first(plain)), Said(mutant.name, PACT_OVERRIDE, _first(overridden))]
            if fuzz:
                failures = await asyncio.to_thread(fuzzing.failures, gateway.http, self._token(), self.place)
                found.append(Said(mutant.name, SCHEMATHESIS, f"{len(failures)} failures" if failures else ""))
                found.append(Said(mutant.name, SCHEMATHESIS_NEW, _first(sorted(failures - self._known))))
        return found

    async def _in_events(self, tree: Path, service: str) -> str:
        before = interface.read_events(self._release(service) / interface.EVENTS)
        async with self._running(tree, service) as running:
            now = await events.published(self.world, running, service, self.messages)
            taken = {name: event for name, event in before.publishes.items() if self._taken_by_others(service, name)}
            problems = await asyncio.to_thread(
                event_pact.published_otherwise, service, taken, now, self.place
            ) if taken else []  # fmt: skip
            if before.consumes and not problems:
                await events.consumed(self.world, service, len(before.consumes))
                problems = await event_pact.not_taken_in(
                    self.world, running, service, self.messages, list(before.consumes)
                )
        return _first(problems)

    def _taken_by_others(self, publisher: str, event_type: str) -> bool:
        return any(
            event_type in interface.read_events(self._release(service) / interface.EVENTS).consumes
            for service in PROCESSES
            if service not in {publisher, "ops"}
        )

    def _release(self, service: str) -> Path:
        lock = self.original / "deploy/lock.yaml"
        return artifacts.deployed(self.original / "contracts", lock, ENVIRONMENT, service)[0].directory

    def _token(self) -> str:
        return dict(caller_headers(self.world))["authorization"]

    @asynccontextmanager
    async def _running(self, tree: Path, process: str) -> AsyncIterator[Candidate]:
        await events.prepare_streams(self.world)
        async with (
            peers.standing_in(name for name in PROCESSES if name != process) as neighbours,
            candidate.running(
                self.world, tree, process, neighbours.addresses, settings={"ENVIRONMENT": "production"}
            ) as running,
        ):
            neighbours.answers |= dict.fromkeys(PROCESSES, http_pact.answering(self.messages))
            yield running


def _read_instead(mutant: Mutant, credential: str) -> dict[str, str]:
    """What the changed gateway reads: whoever moved a header tells the override so, which is part of the provider's own test."""
    edge = mutant.edits.get(http_mutants.EDGE, "")
    for key in ELSEWHERE:
        if f'call.header("{key}")' in edge:
            return {key: credential.partition(" ")[2] if '"Bearer " +' in edge else credential}
    return {}


def _first(problems: Sequence[str]) -> str:
    return problems[0][:200] if problems else ""
