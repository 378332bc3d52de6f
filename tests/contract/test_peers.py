"""The gate beside public tools (`make proof-peers`): the page is what the record says, and the tools are really run."""

import json
from pathlib import Path

import pytest

from tests.mutation import compatible, protos
from tests.mutation.corpus import Outcome
from tests.peers import runs
from tests.peers.runs import BUF, PACT, PACT_OVERRIDE, PEERS, SCHEMATHESIS, expressible
from tests.proofs import peers, record
from tests.proofs.gate import _findings
from tests.proofs.register import proof_of

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


def test_the_page_is_what_the_record_says():
    """docs/peers.md is written by `make proof-peers`; a record that changed alone, or a page edited by hand, is found."""
    figures = json.loads((ROOT / "proof/peers.json").read_text())["figures"]
    assert peers.PAGE.read_text() == peers.page(figures)


def test_what_a_peer_cannot_see_is_not_held_against_it():
    """buf sees protos, Schemathesis the gateway's HTTP, Pact HTTP and events; nobody the credentials between services."""
    first = {mutant.dimension: mutant for mutant in peers.chosen(peers.Effort(sample=1)) if not mutant.compatible}
    seen = {dimension: {peer for peer in PEERS if expressible(mutant, peer)} for dimension, mutant in first.items()}
    assert seen["proto"] == {BUF}
    assert seen["auth"] == set()
    assert seen["events"] == {PACT, PACT_OVERRIDE}
    assert seen["http"] == seen[runs.HEADER_MOVED] == set(PEERS) - {BUF}
    assert SCHEMATHESIS in seen["http"]


def test_the_gates_own_words_are_taken_from_its_proof(monkeypatch):
    """Of a proof of the code as it is; another code's words are nobody's."""
    code = record.hash_of_code(proof_of("gate"))
    outcomes = [
        Outcome(name, "auth", False, code, "", f"said of {name}", True, 1.0) for name, code in (("a", 1), ("b", 0))
    ]
    figures = _findings({}, outcomes, 2).figures
    proof = {"code": code, "complete": False, "violations": [], "figures": figures}
    monkeypatch.setattr(record, "read", lambda *_: json.loads(json.dumps(proof)))
    assert peers._recorded() == {"a": "said of a", "b": ""}
    proof["code"] = "another"
    assert peers._recorded() == {}


def test_pact_sees_the_header_moved_and_its_override_hides_it():
    """Both are really run: the outage over HTTP, a deleted field, and the null mutant at which nobody may bark."""
    null = next(each for each in compatible.mutants() if each.service == "gateway")
    moved = next(each for each in runs.header_moved() if each.name.endswith("reads x-jwt"))
    deleted = next(each for each in protos.mutants() if each.name.endswith(" deleted"))
    said = runs.run([null, moved, deleted], frozenset(), 1, lambda _: None, until_s=float("inf"))
    words = {(each.mutant, each.peer): each.alarm for each in said}
    assert {peer: words[null.name, peer] for peer in (BUF, PACT, PACT_OVERRIDE)} == {
        BUF: "",
        PACT: "",
        PACT_OVERRIDE: "",
    }
    assert "401" in words[moved.name, PACT]
    assert words[moved.name, PACT_OVERRIDE] == ""
    assert "deleted" in words[deleted.name, BUF]
