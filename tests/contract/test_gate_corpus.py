"""A seeded sample of the gate's corpus (`make proof-gate` runs it whole), and the corpus itself: large enough, and labelled."""

import random
from dataclasses import asdict

import pytest

from tests.mutation import compatible, corpus
from tests.mutation.corpus import Outcome
from tests.mutation.mutant import Mutant
from tests.proofs import gate as proof
from tests.proofs.record import hash_of_code
from tests.proofs.register import Effort, proof_of

SEED = 1
SAMPLE = {"proto": 2, "auth": 4, "events": 2, "compatible": 3}

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(600)]


def drawn(dimension):
    """A seeded draw that leaves out the gateway, whose run takes as long as four others."""
    every = list(compatible.mutants() if dimension == "compatible" else corpus.DIMENSIONS[dimension]())
    short = [mutant for mutant in every if mutant.service != "gateway" and mutant.edits]
    return random.Random(SEED).sample(short, SAMPLE[dimension])


def test_a_sample_is_judged_as_its_labels_say():
    """What breaks a caller is blocked and named by the first line; what breaks nobody passes."""
    outcomes = corpus.run([mutant for dimension in SAMPLE for mutant in drawn(dimension)], 2, lambda _: None)
    assert len(outcomes) == sum(SAMPLE.values())
    wrong = [each for each in outcomes if (each.exit_code != 0) is each.compatible and not each.equivalent]
    assert wrong == []
    unnamed = [each.line for each in outcomes if not each.compatible and not each.equivalent and not each.named]
    assert unnamed == []


@pytest.mark.parametrize(("dimension", "at_least"), [("proto", 120), ("auth", 100), ("http", 40), ("events", 40)])
def test_the_corpus_is_large_enough(dimension, at_least):
    """As many changes as the issue asks for, each by a name of its own, each a real change of the tree."""
    every = list(corpus.DIMENSIONS[dimension]())
    assert len({mutant.name for mutant in every}) == len(every) >= at_least
    assert all(mutant.consumers and mutant.edits for mutant in every)


def test_there_are_a_hundred_compatible_changes_and_a_null_mutant_of_every_service():
    """Added fields and RPCs, widened acceptance with approval, refactorings, and no change at all."""
    every = list(compatible.mutants())
    assert len(every) >= 100
    assert [mutant.service for mutant in every if not mutant.edits] == ["files", "leads", "notify", "health", "gateway"]


LINE = "NO: files -> prod. BREAKING auth: gateway 0.1.0, ops 0.1.0: sends a token; files rejects it. Accept both."


@pytest.mark.parametrize(
    ("line", "dimension", "consumers", "named"),
    [
        (LINE, "auth", ("ops",), True),
        (LINE, "auth", ("files",), False),
        (LINE, "http", ("gateway",), False),
        (LINE.replace("gateway 0.1.0, ops 0.1.0", "no known consumer"), "auth", ("no known consumer",), True),
    ],
)
def test_a_first_line_is_held_against_the_label(line, dimension, consumers, named):
    """Its dimension and its subject count, not a name that comes up somewhere in the sentence."""
    assert corpus.is_named(line, Mutant("m", "files", dimension, consumers, {})) is named


def outcome(name, dimension="auth", *, compatible=False, exit_code=1, **more):
    return Outcome(name, dimension, compatible, exit_code, "", LINE, named=True, took_s=1.0, **more)


def test_what_the_corpus_does_not_show_is_named():
    """A survivor that is not equivalent, and a harmless change that was blocked."""
    assert proof.judged([outcome("a"), outcome("b", exit_code=0, equivalent=True), outcome("c", exit_code=0)]) == [
        "not blocked: c"
    ]
    assert proof.judged([outcome("d", compatible=True)]) == [f"blocked: d: {LINE}"]
    assert proof.judged([outcome("e", compatible=True, exit_code=0)]) == []


def test_a_corpus_that_is_too_small_is_no_proof():
    """So many of each dimension, a hundred compatible ones, and the null mutant of every service."""
    enough = [outcome(f"{name} {n}", name) for name, least in proof.LEAST.items() for n in range(least)]
    harmless = [outcome(mutant.name, compatible=True, exit_code=0) for mutant in compatible.mutants()]
    assert sum(proof.LEAST.values()) >= 300
    assert proof.lacking([*enough, *harmless]) == []
    assert proof.lacking([*enough[1:], *harmless]) == ["only 119 of proto"]
    assert proof.lacking([*enough, *harmless[5:]]) == ["only 0 null mutants"]


def test_a_part_is_gone_on_with_where_nothing_is_another(monkeypatch):
    """Of the same code, seed and deployed releases: what was found of others says nothing of these."""
    found = outcome("a")
    figures = {"deployed": proof._pins(), "outage": {}, "outcomes": [asdict(found)]}
    part = {"complete": False, "code": hash_of_code(proof_of("gate")), "seed": 0, "figures": figures}
    monkeypatch.setattr(proof, "read", lambda _: part)
    assert proof._earlier_part(Effort()) == ({"outage": {}}, [found])
    assert proof._earlier_part(Effort(seed=1)) == ({}, [])
    figures["deployed"] = {"files": ["9.9.9"]}
    assert proof._earlier_part(Effort()) == ({}, [])
