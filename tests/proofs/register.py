"""The long proofs: what each says, which code it covers, where it begins. README.md tells how to add one."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much was asked for; a proof uses what it understands of it."""

    seed: int = 0
    minutes: float | None = None
    """Longest time; what is done by then is recorded as a part."""
    schedules: int | None = None
    sample: int | None = None
    """Of each dimension of a corpus; all of it without."""
    workers: int = 1


@dataclass(slots=True)
class Findings:
    """What a proof found, as it is recorded."""

    figures: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    """Every way in which the sentence of the proof does not hold; empty where it does."""
    complete: bool = True
    """False where less was done than the proof asks for."""


Progress = Callable[[Findings], None]
"""Records what is there so far, as a part; a proof that runs for long calls it now and then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """`module` has `prove(effort, progress) -> Findings`; it is imported when it is run."""

    name: str
    says: str
    covers: tuple[str, ...]
    """Files and folders, from the root: a change in them makes the proof stale. Its own code belongs to them."""
    module: str

    def prove(self, effort: Effort, progress: Progress) -> Findings:
        findings: Findings = importlib.import_module(self.module).prove(effort, progress)
        return findings


POLICIES: Final = tuple(
    f"libs/breakwater/resilience/{name}.py"
    for name in (
        "_admission", "_breaker", "_budget", "_bulkhead", "_chaos", "_clock", "_deadline", "_figures", "_outcome",
        "_override", "_policy", "_registry", "_retry", "_settings", "_timer", "_window", "errors", "faults", "snapshots",
    )
)  # fmt: skip
"""The client side of the resilience library."""
SIMULATION: Final = (
    "tests/simulation/bugs",
    *(f"tests/simulation/{name}.py" for name in ("calls", "loop", "replica", "scene", "schedule", "tally")),
)
POLICY_FILES: Final = (
    "libs/breakwater/chassis/policies.yaml",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "services").rglob("policies.yaml"))),
)
RUNBOOKS: Final = tuple(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs/runbooks").glob("*.md")))

PROOFS: Final = (
    Proof(
        name="simulation",
        says="In 1,000,000 seeded schedules of callers, replicas, faults and overrides no rule of the policies breaks.",
        covers=(*POLICIES, *SIMULATION, "tests/proofs/simulation.py"),
        module="tests.proofs.simulation",
    ),
    Proof(
        name="trips",
        says="A fault at 100/s opens the circuit within 2 s; at 1 % errors no edge's circuit opens in 24 hours.",
        covers=(
            *POLICIES,
            *POLICY_FILES,
            "tests/simulation/trips.py",
            "tests/simulation/loop.py",
            "tests/proofs/trips.py",
        ),
        module="tests.proofs.trips",
    ),
    Proof(
        name="gate",
        says=(
            "Of 300 incompatible changes the gate blocks every one that is not equivalent, and none of 100 compatible ones;"
            " 50 runs without a network say the same."
        ),
        covers=(
            "libs/breakwater/compat",
            "libs/breakwater/chassis/auth",
            "libs/breakwater/chassis/cloudevents.py",
            "tests/mutation",
            "tests/proofs/gate.py",
        ),
        module="tests.proofs.gate",
    ),
    Proof(
        name="peers",
        says="buf, Pact and Schemathesis catch nothing of the gate's corpus that the gate does not; a table shows the rest.",
        covers=(
            "libs/breakwater/compat",
            "libs/breakwater/chassis/auth",
            "libs/breakwater/chassis/cloudevents.py",
            "tests/mutation",
            "tests/peers",
            "tests/proofs/peers.py",
        ),
        module="tests.proofs.peers",
    ),
    Proof(
        name="breakers",
        says="Our breaker keeps every rule about generations, probes, cancellation and clocks; the table shows who else does.",
        covers=(
            *POLICIES,
            "tests/simulation/breaker_rules.py",
            "tests/simulation/loop.py",
            "tests/simulation/peers.py",
            "tests/proofs/breakers.py",
        ),
        module="tests.proofs.breakers",
    ),
    Proof(
        name="amplification",
        says="At 100 % failure a hop adds a tenth of load, three hops a third; an overload ends within 30 s of its cause.",
        covers=(*POLICIES, "tests/simulation/load.py", "tests/simulation/loop.py", "tests/proofs/amplification.py"),
        module="tests.proofs.amplification",
    ),
    Proof(
        name="rootcause",
        says=(
            "Of every edge under every class of fault, shared outages and pairs, at least 95 % have the right cause named first"
            " and one page each; 24 quiet hours have none."
        ),
        covers=(
            *POLICIES,
            *POLICY_FILES,
            "libs/breakwater/chassis/edges.py",
            "services/gateway/ops/edges/domain.py",
            "services/gateway/ops/translation.py",
            *(f"services/gateway/ops/incidents/{name}.py" for name in ("causes", "domain", "evidence", "usecases")),
            "tests/simulation/loop.py",
            "tests/rootcause",
            "tests/proofs/rootcause.py",
        ),
        module="tests.proofs.rootcause",
    ),
    Proof(
        name="runbooks",
        says="Each runbook that can be rehearsed, pasted as it stands: a fault fires its alert, what it tells to press cures it.",
        covers=(
            *RUNBOOKS,
            "deploy/prometheus/rules",
            "libs/breakwater/cli/commands",
            "tests/runbooks",
            "tests/support/watchers.py",
            "tests/proofs/runbooks.py",
        ),
        module="tests.proofs.runbooks",
    ),
    Proof(
        name="threeclicks",
        says="Each class of fault is mitigated in 3 minutes and 3 clicks by what the page offers first, or by itself in 15 s.",
        covers=(
            "deploy/playbooks",
            "services/gateway/ops/incidents",
            "services/gateway/ops/playbooks",
            "services/gateway/ops/page/incidents.js",
            "services/gateway/ops/page/playbooks.js",
            "tests/threeclicks",
            "tests/proofs/threeclicks.py",
        ),
        module="tests.proofs.threeclicks",
    ),
    Proof(
        name="exports",
        says=(
            "kill -9 of files, its encoders, the gateway, NATS and PostgreSQL at every moment of exports: none is lost, doubled"
            " or half a file; with files killed the first file is there in 2 s."
        ),
        covers=(
            "services/files",
            "services/gateway/exports",
            "services/gateway/consumer.py",
            "libs/breakwater/chassis/outbox.py",
            "libs/breakwater/chassis/inbox.py",
            "tests/exportkills",
            "tests/proofs/exports.py",
        ),
        module="tests.proofs.exports",
    ),
    Proof(
        name="channels",
        says="Whatever a robot or a mail server answers, nothing is called delivered that was not; Apprise beside it in a table.",
        covers=(
            "libs/breakwater/robots",
            "libs/breakwater/chassis/mail.py",
            "libs/breakwater/chassis/http_client.py",
            "services/notify/clients.py",
            "contracts/external/wecom",
            "contracts/external/dingtalk",
            "contracts/external/feishu",
            "tests/channelmatrix",
            "tests/proofs/channels.py",
        ),
        module="tests.proofs.channels",
    ),
    Proof(
        name="sla",
        says=(
            "On 1,000,000 seeded cases of calendars, zones, holidays, 调休, lunches and pauses the due time is that of a slow"
            " count of every minute."
        ),
        covers=(
            *(f"services/leads/sla/{name}.py" for name in ("calendar", "calendars", "domain")),
            "services/leads/sla/pauses/domain.py",
            "services/leads/sla/holidays.yaml",
            "tests/businesstime",
            "tests/proofs/sla.py",
        ),
        module="tests.proofs.sla",
    ),
    Proof(
        name="timers",
        says=(
            "Of 1,000,000 timers and silences that come due while replicas are killed with kill -9 none is lost and none told"
            " twice, and not one in a hundred is more than a second late."
        ),
        covers=(
            *(f"services/leads/sla/{name}.py" for name in ("escalation", "store", "usecases", "worker")),
            "services/leads/sla/silence",
            *(f"services/leads/migrations/{name}.sql" for name in ("0004_sla", "0130_silence", "0131_sla_policies")),
            "libs/breakwater/chassis/outbox.py",
            "tests/timers",
            "tests/proofs/timers.py",
        ),
        module="tests.proofs.timers",
    ),
    Proof(
        name="month",
        says=(
            "In a simulated month with outages, leaves and neglect every lead has an owner, where nobody may take it the duty"
            " desk, within 15 minutes of its form, and every one that nobody followed up for 24 hours has alarmed."
        ),
        covers=(
            *(
                f"services/leads/{name}"
                for name in ("sla", "routing", "intake", "organisation", "followups", "migrations")
            ),
            "tests/month",
            "tests/timers/place.py",
            "tests/proofs/month.py",
        ),
        module="tests.proofs.month",
    ),
    Proof(
        name="assignment",
        says=(
            "Of 1,000,000 leads captured by 64 workers of several replicas, killed with -9 at named points and PostgreSQL with"
            " them, none is lost or doubly assigned; every sampled decision replays equal; planted bugs are found."
        ),
        covers=(
            *(f"services/leads/{room}" for room in ("intake", "organisation", "routing", "migrations")),
            "services/leads/idempotence.py",
            "libs/breakwater/chassis/database.py",
            "libs/breakwater/chassis/idempotency.py",
            "libs/breakwater/chassis/outbox.py",
            "tests/assignment",
            "tests/proofs/assignment.py",
        ),
        module="tests.proofs.assignment",
    ),
    Proof(
        name="duplicates",
        says=(
            "Of people who come again in disguise 98 % are found, 99.5 % of what is found is right; a look-up among 1,000,000"
            " contacts takes 10 ms at most in 99 of 100."
        ),
        covers=(
            *(f"services/leads/intake/{name}" for name in ("duplicates", "companies.py", "customers.py", "phones.py")),
            *(f"services/leads/intake/{name}.txt" for name in ("regions", "simplified")),
            "services/leads/migrations/0140_duplicates.sql",
            "tests/support/likeness_overlay.py",
            "tests/proofs/duplicates.py",
        ),
        module="tests.proofs.duplicates",
    ),
    Proof(
        name="rotation",
        says="In 10,000 rotations of a key no valid token is refused where the overlap holds, and all others are flagged.",
        covers=(
            *(f"libs/breakwater/chassis/auth/{name}.py" for name in ("keys", "preparse", "rotation", "sign", "verify")),
            "tests/simulation/rotation.py",
            "tests/proofs/rotation.py",
        ),
        module="tests.proofs.rotation",
    ),
)


def proof_of(name: str) -> Proof:
    """The proof of that name; ValueError names those there are."""
    for proof in PROOFS:
        if proof.name == name:
            return proof
    known = ", ".join(proof.name for proof in PROOFS)
    raise ValueError(f"no proof {name}; there are: {known}")
