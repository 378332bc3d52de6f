"""Runs the long proofs and tells which are stale: `python -m tests.proofs NAME|all|status`, or `make proof-NAME`."""

import argparse
import os
import signal
import sys
import time
from datetime import UTC, datetime

from tests.proofs.record import hash_of_code, read, state_of, write
from tests.proofs.register import PROOFS, Effort, Findings, Proof, proof_of


def run(proof: Proof, effort: Effort) -> bool:
    """True where the proof holds; its record is written either way."""
    print(f"{proof.name}: {proof.says}", flush=True)
    code, started, began_s = hash_of_code(proof), datetime.now(UTC), time.monotonic()

    def record(findings: Findings) -> None:
        write(proof, effort, findings, code=code, started=started, took_s=time.monotonic() - began_s)

    findings = proof.prove(effort, record)
    if hash_of_code(proof) != code:
        findings.violations.append("the code changed while the proof ran")
    record(findings)
    for violation in findings.violations:
        print(f"  {violation}")
    state = "does not hold" if findings.violations else "holds" if findings.complete else "is done in part"
    print(f"{proof.name}: {state}, {time.monotonic() - began_s:.0f} s -> proof/{proof.name}.json", flush=True)
    return not findings.violations


def status() -> bool:
    """Prints a line for each proof; True where all hold for the code as it is."""
    states = {proof: state_of(proof) for proof in PROOFS}
    for proof, state in states.items():
        record = read(proof)
        when = record["started_at"] if record else ""
        print(f"{state:8} {proof.name:16} {when:26} {proof.says}")
    return set(states.values()) == {"holds"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*(proof.name for proof in PROOFS), "all", "status"])
    parser.add_argument("--minutes", type=float, help="longest time of one proof; what is done by then is a part")
    parser.add_argument("--schedules", type=int, help="of proofs that run schedules")
    parser.add_argument("--sample", type=int, help="of proofs that go through a corpus: so many of each dimension")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--strict", action="store_true", help="status: exit 1 unless every proof holds")
    arguments = parser.parse_args()
    if arguments.name == "status":
        sys.exit(not status() and arguments.strict)
    effort = Effort(
        seed=arguments.seed,
        minutes=arguments.minutes,
        schedules=arguments.schedules,
        sample=arguments.sample,
        workers=arguments.workers,
    )
    # Stopped, it records what it has: Ctrl-C also where a shell started it in the background, and TERM.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    proofs = PROOFS if arguments.name == "all" else (proof_of(arguments.name),)
    held = [run(proof, effort) for proof in proofs]
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
