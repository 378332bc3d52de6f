"""The compatibility gate: lets the unchanged pass, stops what breaks a caller, and fails closed."""

import json
import os
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from breakwater.compat import artifacts, candidate, events, gate, interface, protos, rehearsals, release
from breakwater.compat.checks import http, sparse, words
from breakwater.compat.messages import Messages

ROOT = Path(__file__).parents[2]
VERSION = "1.0.0"
RELEASED = ("leads", "notify", "files", "health", "gateway")

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """A tree as it is, with the contracts of what is deployed."""
    root = tmp_path_factory.mktemp("released")
    for name in ("libs", "services", "proto", "contracts"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/lock.yaml", root / "deploy/lock.yaml")
    return root


@pytest.fixture
def tree(released, tmp_path):
    """That tree to change; its code is linked, so that a change replaces a file."""
    return changeable(released, tmp_path / "tree")


def changeable(released, root):
    """A tree of its own."""
    for name in ("proto", "contracts", "deploy"):
        shutil.copytree(released / name, root / name)
    for name in ("libs", "services"):
        shutil.copytree(released / name, root / name, copy_function=os.link)
    return root


def pinned(root, service="files"):
    """The version of a service in production."""
    return yaml.safe_load((root / "deploy/lock.yaml").read_text())["environments"]["prod"][service][0]["version"]


def edit(root, path, old, new):
    """Changes a file in one place."""
    file = root / path
    text = file.read_text()
    assert text.count(old) >= 1
    file.unlink()
    file.write_text(text.replace(old, new, 1))


_OUTAGE, _BOTH = rehearsals.RELEASES[rehearsals.OUTAGE], rehearsals.RELEASES[rehearsals.BOTH]
METHODS, READS, READS_ANOTHER, READS_BOTH = _OUTAGE.path, _OUTAGE.old, _OUTAGE.new, _BOTH.new


async def test_the_unchanged_candidate_passes(tree, place):
    """The null change is SAFE, and everything was looked at."""
    report = await gate.examine(tree, "files", "prod", place)
    assert report.exit_code() == 0, report.first_line()
    assert all(check.examined > 0 for check in report.checks)
    assert sum(check.examined for check in report.checks) > 600


@pytest.fixture(scope="module")
async def outage(released, place, tmp_path_factory):
    """What the gate says of the release of the outage."""
    tree = changeable(released, tmp_path_factory.mktemp("outage"))
    edit(tree, METHODS, READS, READS_ANOTHER)
    return await gate.examine(tree, "files", "prod", place)


def test_the_release_of_the_outage_is_stopped(outage):
    """files reads its token elsewhere: NO, naming the caller, what it sends, what is read instead, and the cure."""
    assert outage.exit_code() == 1
    assert outage.first_line() == (
        f"NO: files -> prod. BREAKING auth: gateway {pinned(ROOT, 'gateway')}: sends authorization: Bearer Ed25519;"
        f" files reads x-jwt. Accept both until gateway adapts, or stay on {pinned(ROOT)}."
    )


async def test_the_quickest_no_is_the_same(tree, place, outage):
    """Asked to stop at the first thing that blocks, the gate says the same line, after fewer checks."""
    edit(tree, METHODS, READS, READS_ANOTHER)
    report = await gate.examine(tree, "files", "prod", place, whole=False)
    assert (report.exit_code(), report.first_line()) == (outage.exit_code(), outage.first_line())
    assert 0 < len(report.checks) < len(outage.checks)


async def test_its_variant_that_accepts_both_passes_once_approved(tree, place):
    """The migration's first step breaks nobody; that it accepts more is for security to approve, and then it passes."""
    edit(tree, METHODS, READS, READS_BOTH)
    report = await gate.examine(tree, "files", "prod", place, whole=False)
    assert (report.verdict(), report.exit_code()) == ("LOOSENED", 1), report.first_line()
    assert "in x-jwt" in report.first_line()
    approval = {"service": "files", "credential": "in x-jwt", "approved_by": "security", "reason": "callers move"}
    (tree / "deploy/approvals.yaml").write_text(yaml.safe_dump({"approvals": [approval]}))
    report = await gate.examine(tree, "files", "prod", place)
    # A tree ahead of what is deployed may be NARROWED by what nobody is known to send.
    assert report.exit_code() == 0, report.first_line()


async def test_a_narrower_verifier_is_a_warning(tree, place):
    """What no known caller sends may be refused: NARROWED, told apart from BREAKING."""
    edit(tree, "libs/breakwater/chassis/auth/preparse.py", '{"Ed25519", "EdDSA"}', '{"Ed25519"}')
    report = await gate.examine(tree, "files", "prod", place)
    assert (report.verdict(), report.exit_code()) == ("NARROWED", 0), report.first_line()


async def test_a_looser_verifier_is_stopped(tree, place):
    """A verifier that does not look at the signature any more needs security's approval."""
    verify = "libs/breakwater/chassis/auth/verify.py"
    edit(tree, verify, 'if not JWSRegistry.algorithms["Ed25519"].verify(', "if False and (")
    report = await gate.examine(tree, "files", "prod", place, whole=False)
    assert report.exit_code() == 1
    assert "LOOSENED auth" in report.first_line()


async def test_a_verifier_that_lets_one_service_speak_for_another_is_stopped(tree, place):
    """What no release was recorded refusing is sent as well: a good token under a name that is not its key's."""
    edit(tree, "libs/breakwater/chassis/auth/verify.py", " or claims.iss != accepted.key.owner", "")
    report = await gate.examine(tree, "files", "prod", place, whole=False)
    assert report.exit_code() == 1
    assert "auth: gateway: files" in report.first_line()
    assert "another service's name" in report.first_line()
    assert report.checks[-1].name == "credentials never accepted"


async def test_a_consumer_that_breaks_only_sparse_events_is_stopped(tree, place):
    """An invoice without an amount says that its customer is known; a candidate that forgets this is named with the field."""
    approve_apart(tree)  # of where values lie, not of losing them
    nameless = 'if not told.amount:\n        return Told("", "", event.time)\n    if False:'
    edit(tree, "services/health/consumer.py", "if not told.amount:", nameless)
    report = await gate.examine(tree, "health", "prod", place, whole=False)
    assert report.exit_code() == 1
    assert report.first_line().startswith(
        f"NO: health -> prod. BREAKING events: leads {pinned(tree, 'leads')}: publishes breakwater.leads.v1.InvoiceRecorded;"
        " with amount left empty health makes nothing of customer_id any more."
    )


async def test_a_consumer_that_breaks_only_what_hangs_on_words_is_stopped(tree, place):
    """The customer of a won renewal is read on no other path: the line names the words that lead there."""
    edit(
        tree,
        "services/health/consumer.py",
        'told.customer_id, "renewal"',
        '"" if told.stage == WON else told.customer_id, "renewal"',
    )
    report = await gate.examine(tree, "health", "prod", place, whole=False)
    assert report.exit_code() == 1
    assert report.first_line().startswith(
        f"NO: health -> prod. BREAKING events: leads {pinned(tree, 'leads')}: publishes breakwater.leads.v1.OpportunityChanged;"
        " with stage Closed Won and kind Existing Business health keeps customer_id, occurred_at, opportunity_id in no one row"
    )


async def test_values_that_leave_their_row_pass_once_approved(tree, place):
    """That a candidate joins them again, no row tells: its NO says what to have approved, and then it passes."""
    edit(tree, "services/health/consumer.py", 'told.customer_id, "invoice"', '"", "invoice"')
    report = await gate.examine(tree, "health", "prod", place, whole=False)
    assert report.exit_code() == 1
    assert "in no one row any more" in report.first_line()
    assert "have `apart: breakwater.leads.v1.InvoiceRecorded` approved" in report.first_line()
    approve_apart(tree)
    report = await gate.examine(tree, "health", "prod", place)
    assert report.exit_code() == 0, report.first_line()


def approve_apart(tree):
    """As a team does that keeps an invoice's values in several rows."""
    approval = {"service": "health", "apart": "breakwater.leads.v1.InvoiceRecorded", "approved_by": "a", "reason": "b"}
    (tree / "deploy/approvals.yaml").write_text(yaml.safe_dump({"approvals": [approval]}))


def test_a_sparse_event_shares_no_value_with_another():
    """What one event left in the rows cannot be taken for another's; what is empty or a word of all is not looked for."""
    deployment = gate.Deployment(
        {name: artifacts.deployed(ROOT / "contracts", ROOT / "deploy/lock.yaml", "prod", name) for name in RELEASED}
    )
    tree = Messages(protos.whole_image(ROOT / "proto"))
    for party in deployment.parties():
        sent = sparse.of(tree, party.interface, deployment.parties(), words.of(party.name, ROOT))
        assert {each.type for each in sent if each.edit == sparse.Edit()} == set(party.interface.consumes)
        shown = [value for each in sent for value in each.shown.values()]
        assert len(set(shown)) == len(shown)
        assert all(each.edit.empty not in tree.fields_set(each.type, each.event.body) for each in sent)
        assert all(each.edit.leaves(path) for each in sent for path in each.shown)


CODE = """
import enum
WON, LOST = "Closed Won", "Closed Lost"
KINDS: frozenset = frozenset({"call", "visit"})

class Priority(enum.StrEnum):
    FIRST = "P0"

def handle(told, stage):
    if told.outcome not in {WON, LOST} or told.kind in KINDS or Priority.FIRST == told.priority:
        return told.flag is True or told.text == other()
    match told.reason:
        case "late" | "lost":
            return stage == 1
"""


def test_the_words_of_a_service_are_what_it_compares_a_name_with(tmp_path):
    """Written out, by name, in a set, of an enumeration, or matched; truth and what is only known at run time are none."""
    (tmp_path / "services/one").mkdir(parents=True)
    (tmp_path / "services/one/handler.py").write_text(CODE)
    found = words.of("one", tmp_path)
    assert {name: set(each) for name, each in found.items() if not name.isupper()} == {
        "outcome": {"Closed Won", "Closed Lost"},
        "kind": {"call", "visit"},
        "priority": {"P0"},
        "reason": {"late", "lost"},
        "stage": {1},
    }


async def test_a_candidate_that_crashes_is_stopped(tree, place):
    """A process that does not start proves nothing."""
    edit(tree, "services/files/main.py", "settings = load(FilesSettings)", "settings = load(Nothing)")
    report = await gate.examine(tree, "files", "prod", place)
    assert (report.verdict(), report.exit_code()) == ("UNVERIFIED", 1)
    assert "start" in report.first_line()
    assert "NameError" in report.first_line()


async def test_a_candidate_that_hangs_is_stopped(tree, place, monkeypatch):
    """A process that never says that it is ready is given up in bounded time."""
    monkeypatch.setattr(candidate, "START_TIMEOUT_S", 1.0)
    edit(tree, "services/files/main.py", "        await service.run()", "        await service.stop.wait()")
    report = await gate.examine(tree, "files", "prod", place)
    assert (report.verdict(), report.exit_code()) == ("UNVERIFIED", 1)
    assert "was not ready within" in report.first_line()


async def test_a_candidate_that_dies_under_a_request_is_stopped(tree, place):
    """What ends while it is asked is a NO, with what it said last."""
    edit(tree, METHODS, READS, '__import__("os")._exit(7)\n            if key == "authorization":')
    report = await gate.examine(tree, "files", "prod", place)
    assert report.exit_code() != 0
    assert "files ended with 7" in report.first_line() or "answers UNAVAILABLE" in report.first_line()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("string sha256 = 6;", "string sha256 = 99;"),
        ("string sha256 = 6;", "bytes sha256 = 6;"),
        ("string sha256 = 6;", ""),
        ("rpc GetExport(GetExportRequest) returns (GetExportResponse);", ""),
        ("returns (stream ReadContentResponse)", "returns (ReadContentResponse)"),
        ("repeated string fields = 3;", "string fields = 3;"),
    ],
)
def test_a_proto_change_that_breaks_a_caller_is_found(tree, old, new):
    """Removed, renumbered and retyped fields and RPCs, with the place; no candidate needs to run for it."""
    edit(tree, "proto/breakwater/files/v1/files.proto", old, new)
    checks = protos_checked(tree)
    found = [finding for check in checks for finding in check.findings if "files/v1/files.proto" in finding.detail]
    assert [finding.verdict for finding in found][:1] == ["BREAKING"]
    assert any(f"gateway {pinned(tree, 'gateway')}" in finding.subject for finding in found)


def test_a_stub_that_is_older_than_its_proto_is_found(tree):
    """What runs is the stub: a proto that changed alone promises what nobody serves."""
    edit(tree, "proto/breakwater/files/v1/files.proto", "string sha256 = 6;", "string sha256 = 6;\n  string note = 60;")
    stubs = next(check for check in protos_checked(tree) if check.name == "stubs beside protos")
    assert [finding.subject for finding in stubs.findings] == ["stubs"]


def protos_checked(root):
    """The checks of the proto dimension alone."""
    lock = root / "deploy/lock.yaml"
    deployment = gate.Deployment(
        {name: artifacts.deployed(root / "contracts", lock, "prod", name) for name in RELEASED}
    )
    return gate.look_at_protos(root, "files", deployment)[0]


def corrupt(path):
    """Changes one byte."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def lock_with(root, service="files", **entry):
    """Replaces what the lock says of a service."""
    path = root / "deploy/lock.yaml"
    lock = yaml.safe_load(path.read_text())
    lock["environments"]["prod"][service] = [entry] if entry else []
    path.write_text(yaml.safe_dump(lock))


def rewrite(root, name, content, service="files"):
    """Replaces a file of the deployed release, hashes and all."""
    directory = root / "contracts" / service / pinned(root, service)
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_text(content)
    lock_with(root, service, version=pinned(root, service), digest=f"sha256:{artifacts.write_sums(directory)}")


def deployed(root, name, service="files"):
    """A file of the deployed release."""
    return root / "contracts" / service / pinned(root, service) / name


FOREIGN = "sha256:" + "0" * 64
FAULTS = {
    "no lock": lambda root: (root / "deploy/lock.yaml").unlink(),
    "an empty lock": lambda root: (root / "deploy/lock.yaml").write_text(""),
    "a lock that is no YAML": lambda root: (root / "deploy/lock.yaml").write_text("{["),
    "nothing deployed": lock_with,
    "no consumer deployed": lambda root: lock_with(root, "gateway"),
    "a range for a version": lambda root: lock_with(root, version=">=1", digest=FOREIGN),
    "latest": lambda root: lock_with(root, version="latest", digest=FOREIGN),
    "no digest": lambda root: lock_with(root, version=VERSION),
    "a foreign digest": lambda root: lock_with(root, version=pinned(root), digest=FOREIGN),
    "a release that is not here": lambda root: lock_with(root, version="9.9.9", digest=FOREIGN),
    "no contracts": lambda root: shutil.rmtree(root / "contracts"),
    "no image": lambda root: deployed(root, "image.binpb").unlink(),
    "a changed image": lambda root: corrupt(deployed(root, "image.binpb")),
    "an image that is none": lambda root: rewrite(root, "image.binpb", "no image"),
    "changed vectors": lambda root: corrupt(deployed(root, "vectors.jsonl")),
    "zero vectors": lambda root: rewrite(root, "vectors.jsonl", ""),
    "vectors of an unknown label": lambda root: rewrite(root, "vectors.jsonl", '{"label": "maybe"}\n'),
    "changed sums": lambda root: corrupt(deployed(root, "SHA256SUMS")),
    "a file too many": lambda root: deployed(root, "extra").write_text("x"),
    "no events": lambda root: rewrite(root, "events.yaml", None),
    "events that are none": lambda root: rewrite(root, "events.yaml", "publishes: 7"),
    "no emissions": lambda root: rewrite(root, "emits.json", None, "gateway"),
    "zero emissions of the consumer": lambda root: rewrite(root, "emits.json", "[]", "gateway"),
    "no profile of the provider": lambda root: rewrite(root, "auth.yaml", None, "leads"),
    "no wheel": lambda root: rewrite(root, f"breakwater_files-{pinned(root)}-py3-none-any.whl", None),
    "a wheel that is none": lambda root: rewrite(root, f"breakwater_files-{pinned(root)}-py3-none-any.whl", "no zip"),
    "no protos": lambda root: shutil.rmtree(root / "proto"),
    "a broken proto": lambda root: edit(root, "proto/breakwater/files/v1/files.proto", "sha256 = 6;", "sha256 ="),
    "no service": lambda root: shutil.rmtree(root / "services/files"),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_gate_that_cannot_look_says_no(tree, place, fault):
    """Whatever the gate lacks, it never passes, and says what it lacks."""
    FAULTS[fault](tree)
    report = await gate.examine(tree, "files", "prod", place)
    assert report.exit_code() != 0
    assert report.first_line().startswith("NO: files -> prod.")


BUF = {
    "that is missing": FileNotFoundError("buf"),
    "that hangs": subprocess.TimeoutExpired("buf", 30),
    "that fails": subprocess.CompletedProcess([], 1, "", "no such flag"),
    "that finds something and names nothing": subprocess.CompletedProcess([], protos.FOUND, "", ""),
}


@pytest.mark.parametrize("buf", BUF)
async def test_a_buf_that_does_not_work_blocks(tree, place, monkeypatch, buf):
    """Exit 1 is no finding, and no finding without words: both block."""

    def run(*_args, **_options):
        if isinstance(BUF[buf], Exception):
            raise BUF[buf]
        return BUF[buf]

    monkeypatch.setattr(subprocess, "run", run)
    report = await gate.examine(tree, "files", "prod", place)
    assert report.exit_code() == 2
    assert "buf" in report.first_line()


async def test_a_gate_that_takes_too_long_blocks(tree, place, monkeypatch):
    """A run has a bound of its own."""
    monkeypatch.setattr(gate, "RUN_TIMEOUT_S", 0.2)
    began_s = time.monotonic()
    report = await gate.examine(tree, "files", "prod", place)
    assert report.exit_code() == 2
    assert time.monotonic() - began_s < 30


def test_a_released_version_is_never_written_again(tree):
    """A changed interface needs a new version."""
    with pytest.raises(artifacts.ArtifactError, match="released before"):
        release.write(tree, "files", pinned(tree))


def test_the_report_is_the_same_for_people_and_machines(outage):
    """JSON and JUnit say what the first line says."""
    document = json.loads(outage.to_json())
    assert (document["verdict"], document["exit_code"], document["line"]) == ("BREAKING", 1, outage.first_line())
    suite = ET.fromstring(gate.junit([outage])).find("testsuite")
    assert int(suite.get("failures")) == sum(case.find("failure") is not None for case in suite)
    assert int(suite.get("failures")) >= 1


def test_two_runs_over_one_nats_do_not_meet():
    """NATS drops what bears an id of the last two minutes: what one run sent is no repeat of another's."""
    event = events.Event("s", dict.fromkeys(("ce-id", events.MESSAGE_ID), "x"), b"")
    one, other = (
        {edit.of(event.renewed()).headers.get(events.MESSAGE_ID) for edit in events.edits(event)} for _ in range(2)
    )
    assert one & other <= {None}


def test_an_answer_of_another_type_is_found_where_the_old_one_was_a_model_that_is_gone():
    """A list of a model became a text, and nobody defines the model any more: the diff names the type, and ends."""

    def document(schema, **schemas):
        answer = {"content": {"application/json": {"schema": {"type": "object", "properties": {"rows": schema}}}}}
        return {"paths": {"/v1/x": {"get": {"responses": {"200": answer}}}}, "components": {"schemas": schemas}}

    old = document({"type": "array", "items": {"$ref": "#/components/schemas/Row"}}, Row={"type": "object"})
    found = http.documents("0.1.0", old, document({"type": "string"})).findings
    assert [(each.verdict, each.subject) for each in found] == [("BREAKING", "callers")] * 2
    assert any("does not answer array for 200.rows any more" in each.detail for each in found)


def test_every_release_says_everything():
    """What is deployed was described whole: the gate would refuse it otherwise."""
    for service in RELEASED:
        present = {path.name for path in (ROOT / "contracts" / service / pinned(ROOT, service)).iterdir()}
        assert interface.files_of(service) <= present
