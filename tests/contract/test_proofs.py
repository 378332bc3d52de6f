"""The long proofs: each is registered as it says, and a record is worth what it says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.proofs.record import covered_files, hash_of_code, read, state_of, write
from tests.proofs.register import PROOFS, Effort, Findings, Proof

PROOF = Proof(name="sum", says="Two and two are four.", covers=("code", "one.py"), module="nowhere")


@pytest.fixture
def tree(tmp_path) -> Path:
    (tmp_path / "code" / "deep").mkdir(parents=True)
    (tmp_path / "code" / "deep" / "two.py").write_text("two = 2\n")
    (tmp_path / "one.py").write_text("one = 1\n")
    return tmp_path


def record(tree: Path, findings: Findings) -> str:
    """Writes a record of the code as it is and gives what it is worth."""
    moment = datetime(2026, 1, 5, tzinfo=UTC)
    write(PROOF, Effort(seed=3), findings, code=hash_of_code(PROOF, tree), started=moment, took_s=1.5, root=tree)
    return state_of(PROOF, tree)


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.name)
def test_a_proof_covers_code_that_is_there_and_its_own(proof):
    """A path that is gone would be covered by nothing, and a proof that changed must run again."""
    files = {str(path.relative_to(Path(__file__).parents[2])) for path in covered_files(proof)}
    assert files
    assert any(path == proof.module.replace(".", "/") + ".py" for path in files)


def test_the_names_are_unique():
    """`make proof-NAME` means one proof."""
    assert len({proof.name for proof in PROOFS}) == len(PROOFS)


def test_a_proof_that_was_never_run_is_missing(tree):
    """No record is no proof."""
    assert state_of(PROOF, tree) == "missing"


def test_a_whole_run_without_violations_holds(tree):
    """And its record carries figures, seed and the hash of the code."""
    assert record(tree, Findings(figures={"sums": 4})) == "holds"
    assert read(PROOF, tree) == {
        "proof": "sum",
        "says": "Two and two are four.",
        "holds": True,
        "complete": True,
        "violations": [],
        "figures": {"sums": 4},
        "seed": 3,
        "asked": {"minutes": None, "schedules": None, "sample": None, "workers": 1},
        "started_at": "2026-01-05T00:00:00+00:00",
        "took_s": 1.5,
        "code": hash_of_code(PROOF, tree),
        "covers": ["code", "one.py"],
    }


def test_a_run_of_less_than_all_is_a_part(tree):
    """What was not run is not proved."""
    assert record(tree, Findings(complete=False)) == "part"


def test_a_violation_breaks_a_proof_whatever_else_is_true(tree):
    """A part that found something is broken, and stays so when the code changes."""
    assert record(tree, Findings(violations=["seed 5: two and two are five"], complete=False)) == "broken"
    (tree / "one.py").write_text("one = 2\n")
    assert state_of(PROOF, tree) == "broken"


@pytest.mark.parametrize("change", ["edit", "add", "remove", "rename"])
def test_a_change_of_the_covered_code_makes_a_proof_stale(tree, change):
    """Any file below what is covered counts, by content and by name."""
    assert record(tree, Findings()) == "holds"
    deep = tree / "code" / "deep"
    if change == "edit":
        (deep / "two.py").write_text("two = 3\n")
    elif change == "add":
        (deep / "three.py").write_text("")
    elif change == "remove":
        (deep / "two.py").unlink()
    else:
        (deep / "two.py").rename(deep / "zwei.py")
    assert state_of(PROOF, tree) == "stale"


def test_what_is_no_code_makes_nothing_stale(tree):
    """A README beside the code, or a compiled file, changes no behaviour."""
    assert record(tree, Findings()) == "holds"
    (tree / "code" / "README.md").write_text("words")
    (tree / "code" / "deep" / "two.pyc").write_bytes(b"\0")
    assert state_of(PROOF, tree) == "holds"
