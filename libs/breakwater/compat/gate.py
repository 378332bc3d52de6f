"""One run of the gate: the candidate in a tree against every release that is deployed beside it and before it.

The candidate runs: its real processes are started with throw-away keys and servers, asked, and watched (contract-gate.md).
"""

import asyncio
import json
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from breakwater.compat import approvals, artifacts, emits, events, interface, plain_http, protos, replay, vectors, world
from breakwater.compat.artifacts import ArtifactError, Release
from breakwater.compat.candidate import Candidate, CandidateError, running
from breakwater.compat.checks import auth, callers, fuzzing, http, sparse, words
from breakwater.compat.checks import events as event_checks
from breakwater.compat.checks import protos as proto_checks
from breakwater.compat.checks.auth import Deployed
from breakwater.compat.checks.events import Party
from breakwater.compat.consumers import check as pacts
from breakwater.compat.emits import PROCESSES_OF, Emission
from breakwater.compat.external import check as external
from breakwater.compat.messages import Messages
from breakwater.compat.peers import Peers, standing_in
from breakwater.compat.verdict import CheckResult, Finding, Report, Verdict
from breakwater.compat.world import World
from breakwater.local.topology import PROCESSES

SERVICES = replay.SERVICES
PROVIDER_OF = {process: service for service, processes in PROCESSES_OF.items() for process in processes}
"""The service a process belongs to."""
Looked = tuple[list[CheckResult], Messages]
"""What the proto dimension found, and the messages of the tree."""
RUN_TIMEOUT_S = 180.0
"""A gate that hangs has failed."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything an environment runs, verified: the releases of each service."""

    releases: dict[str, list[Release]]

    def emissions(self, provider: str) -> list[Deployed]:
        """What deployed consumers send to a service: to any process of it."""
        return [
            Deployed(emission.consumer, release.version, emission)
            for releases in self.releases.values()
            for release in releases
            for emission in interface.read_emits(release.directory / interface.EMITS)
            if PROVIDER_OF.get(emission.provider) == provider and emission.consumer != emission.provider
        ]

    def types_consumed(self, service: str) -> int:
        """How many types of events the service's deployed releases take in, the most of one."""
        return max(len(party.interface.consumes) for party in self.parties() if party.name == service)

    def parties(self) -> list[Party]:
        """Every deployed release's side of events."""
        return [
            Party(service, release.version, interface.read_events(release.directory / interface.EVENTS))
            for service, releases in self.releases.items()
            for release in releases
        ]


def run(root: Path, service: str, environment: str, *, whole: bool = True) -> Report:
    """Checks the candidate `service` in the tree at `root`. Never raises for what it finds or lacks: that is the report.

    Without `whole` it ends with the first thing that blocks.
    """
    return asyncio.run(examine(root, service, environment, whole=whole))


async def examine(
    root: Path,
    service: str,
    environment: str,
    place: World | None = None,
    *,
    looked: Looked | None = None,
    whole: bool = True,
) -> Report:
    """As `run`, within a running loop; `place` is lent to runs one after the other, else the run makes a world of its own.

    `looked` spares buf where the protos are known to be those it was made of. Without `whole` the run ends with the first
    thing found after the candidate was started: enough to block it.
    """
    checks: list[CheckResult] = []
    try:
        async with (
            asyncio.timeout(RUN_TIMEOUT_S),
            aclosing(_checks(root, service, environment, place, looked)) as found,
        ):
            async for check in found:
                checks.append(check)
                if not whole and check.running and Report(service, environment, tuple(checks)).exit_code() != 0:
                    break
    except Exception as error:  # noqa: BLE001 - whatever it is that stops a gate, it blocks
        # A gate that cannot look has failed, which blocks as well (contract-gate.md: fail closed).
        crashed = isinstance(error, CandidateError)
        verdict, dimension = (Verdict.UNVERIFIED, "start") if crashed else (Verdict.GATE_FAILED, "gate")
        finding = Finding(verdict, dimension, service, str(error) or type(error).__name__)
        checks.append(CheckResult("the gate itself", 0, (finding,)))
    return Report(service, environment, tuple(checks))


def junit(reports: Sequence[Report]) -> str:
    """Several reports as one JUnit XML document."""
    suites = ET.Element("testsuites")
    suites.extend(report.to_junit() for report in reports)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


async def _checks(
    root: Path, service: str, environment: str, place: World | None, looked: Looked | None
) -> AsyncGenerator[CheckResult, None]:
    contracts, lock = root / "contracts", root / "deploy" / "lock.yaml"
    deployment = Deployment({name: artifacts.deployed(contracts, lock, environment, name) for name in sorted(SERVICES)})
    for release in (each for releases in deployment.releases.values() for each in releases):
        _require_whole(release)
    yield external.whole(root)
    async with AsyncExitStack() as stack:
        # buf and its images take a core of their own while servers start on the other.
        looking = asyncio.create_task(asyncio.to_thread(look_at_protos, root, service, deployment, looked))
        stack.push_async_callback(asyncio.wait, [looking])
        if place is None:
            place = await stack.enter_async_context(world.opened())
        running_checks = [
            await stack.enter_async_context(_ahead(_process(place, root, service, process, deployment, looking)))
            for process in PROCESSES_OF[service]
        ]
        checks, _ = await looking
        for check in checks:
            yield check
        for found in running_checks:
            async for check in found:
                yield replace(check, running=True)


@asynccontextmanager
async def _ahead(checks: AsyncGenerator[CheckResult, None]) -> AsyncIterator[AsyncIterator[CheckResult]]:
    """Runs `checks` beside everything else. What they find is kept until it is asked for, in order; so is what ends them."""
    kept: asyncio.Queue[CheckResult | None] = asyncio.Queue()

    async def run() -> None:
        try:
            async with aclosing(checks):
                async for check in checks:
                    kept.put_nowait(check)
        finally:
            kept.put_nowait(None)

    async def asked_for() -> AsyncGenerator[CheckResult, None]:
        while (check := await kept.get()) is not None:
            yield check
        await task

    task = asyncio.create_task(run())
    try:
        async with aclosing(asked_for()) as found:
            yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def look_at_protos(root: Path, service: str, deployment: Deployment, looked: Looked | None = None) -> Looked:
    """The checks of the proto dimension, and the messages of the tree. Needs no candidate. Raises `RuntimeError`."""
    if looked is not None:
        return looked
    tree = root / "proto"
    checks = [proto_checks.lint(tree)]
    messages = Messages(protos.whole_image(tree))
    checks.append(proto_checks.stubs(root, messages))
    users = proto_checks.Users(deployment.emissions(service), deployment.parties(), messages)
    with tempfile.TemporaryDirectory() as folder:
        candidate = Path(folder) / "candidate.binpb"
        protos.build_image(tree, service, candidate)
        for release in deployment.releases[service]:
            checks += [proto_checks.breaking(tree, candidate, release, users), proto_checks.options(candidate, release)]
    return checks, messages


def _require_whole(release: Release) -> None:
    """A release that does not say everything would leave a check with nothing to hold the candidate against."""
    lacking = interface.files_of(release.service) - {path.name for path in release.directory.iterdir()}
    if lacking:
        raise ArtifactError(f"{release.service} {release.version} was released without {', '.join(sorted(lacking))}")


async def _process(
    place: World, root: Path, service: str, process: str, deployment: Deployment, looking: asyncio.Task[Looked]
) -> AsyncGenerator[CheckResult, None]:
    """One process of the candidate, started once for all that is asked of it."""
    async with AsyncExitStack() as stack:
        if process != service:
            place = await stack.enter_async_context(world.with_own_nats(place))
        await events.prepare_streams(place)
        settings = {"ENVIRONMENT": "production"}
        peers = await stack.enter_async_context(standing_in(name for name in PROCESSES if name != process))
        candidate = await stack.enter_async_context(running(place, root, process, peers.addresses, settings=settings))
        _, messages = await looking
        if process == service:
            async with aclosing(_provider(place, root, candidate, service, deployment, messages)) as found:
                async for check in found:
                    yield check
        if process in interface.OPENAPI_OF:
            async with aclosing(front(place, root, candidate, deployment.releases[service])) as found:
                async for check in found:
                    yield check
        async with aclosing(_consumer(place, candidate, peers, service, deployment, messages)) as found:
            async for check in found:
                yield check


async def _provider(
    place: World, root: Path, candidate: Candidate, service: str, deployment: Deployment, messages: Messages
) -> AsyncGenerator[CheckResult, None]:
    """What others get from the candidate: accepted credentials, events, HTTP."""
    method = interface.probe_method(service, messages)
    parties = deployment.parties()
    emitted = [each for each in deployment.emissions(service) if each.emission.provider == candidate.process]
    releases = deployment.releases[service]
    async with AsyncExitStack() as stack:
        # Before anything is asked: a wheel that is none must not be found at the end.
        trees = {each.version: stack.enter_context(sparse.unpacked(each)) for each in releases}
        for release in releases:
            yield await auth.emissions_of(place, candidate, service, release.version, emitted)
            labelled = vectors.load(release.vectors)
            approved = approvals.of(root, service, "credential")
            yield await auth.vectors_of(place, candidate, service, release.version, method, labelled, approved)
        yield await auth.never_accepted(place, candidate, service, method)
        before = {each.version: interface.read_events(each.directory / interface.EVENTS) for each in releases}
        spoken = {version: words.of(service, trees[version], root) for version in before}
        sent = {version: sparse.of(messages, old, parties, spoken[version]) for version, old in before.items()}
        # Beside what is asked of the candidate meanwhile; not earlier, as most of what blocks is found by then.
        made = {
            each.version: await stack.enter_async_context(
                sparse.by_release(place, trees[each.version], each, before[each.version], sent[each.version])
            )
            for each in releases
            if sent[each.version]
        }
        now = await events.published(place, candidate, service, messages)
        consumed = await events.consumed(place, candidate.process, deployment.types_consumed(service))
        for version, old in before.items():
            yield event_checks.published(version, old, now, parties)
            check = await event_checks.taken_in(place, candidate, service, version, old, consumed, parties, messages)
            yield check
            if version in made and check.verdict() is not Verdict.BREAKING:
                apart = approvals.of(root, service, "apart")
                yield await sparse.taken_in(
                    place, candidate, service, version, sent[version], await made[version], apart
                )


async def front(
    place: World, root: Path, candidate: Candidate, releases: Sequence[Release]
) -> AsyncGenerator[CheckResult, None]:
    """The HTTP interface of a running process, beside what each release says of it and what consumers' pacts say."""
    new = (await plain_http.get(candidate.http, "/openapi.json", timeout_s=5)).json()
    for release in releases:
        document = json.loads((release.directory / interface.OPENAPI_OF[candidate.process]).read_text())
        yield http.documents(f"{candidate.process} {release.version}", document, new)
        yield await http.kept_to(place, candidate, document)
    yield await pacts.kept(place, root, candidate)
    if candidate.process == "gateway":
        # Last: it takes as long as all before it.
        yield await fuzzing.ignored_auth(place, candidate)


async def _consumer(
    place: World, candidate: Candidate, peers: Peers, service: str, deployment: Deployment, messages: Messages
) -> AsyncGenerator[CheckResult, None]:
    """What the candidate sends to others, and how it bears their failures."""
    expected = deployment.types_consumed(service) if candidate.process == service else 0
    await emits.exercise(place, candidate, peers, messages, expected=expected)
    emitted = emits.emissions(candidate.process, peers.calls, messages)
    yield _reached(candidate, service, deployment, emitted)
    if emitted:
        profiles = [
            (name, release.version, interface.read_profile(release.directory / interface.AUTH))
            for name, releases in deployment.releases.items()
            for release in releases
        ]
        yield auth.inside_profiles(emitted, profiles)
        yield proto_checks.known_to_providers(emitted, deployment.releases)
        yield await callers.rehearsed(place, candidate, peers, messages)


def _reached(candidate: Candidate, service: str, deployment: Deployment, emitted: Sequence[Emission]) -> CheckResult:
    """Every provider the deployed release calls was called now: a recording that missed one proves nothing of it."""
    now = {each.provider for each in emitted}
    findings = []
    examined = 1
    for release in deployment.releases[service]:
        for before in interface.read_emits(release.directory / interface.EMITS):
            if before.consumer != candidate.process:
                continue
            examined += 1
            if before.provider not in now:
                detail = f"{candidate.process} was not seen calling {before.provider}, which {release.version} calls"
                cure = "Have the gate's exercise reach it, or retire the call with a release of its own."
                findings.append(Finding(Verdict.UNVERIFIED, "callers", candidate.process, detail, cure))
    return CheckResult(f"calls of {candidate.process}", examined, tuple(findings))
