"""Contracts of external providers: our stubs keep to the recorded vectors, and what departs from them is found."""

import shutil
from pathlib import Path
from urllib.parse import unquote

import pytest

from breakwater.compat import gate
from breakwater.compat.external import check, recorded
from breakwater.compat.external.http import HttpProvider
from tests.support.http_robot import Says
from tests.support.objects import FolderProvider
from tests.support.providers import KEY, SECRET, STUBS, DingTalk, Feishu, Finance, WeCom, stub_of

ROOT = Path(__file__).parents[2]


async def checked(provider):
    """What the vectors find of a stub, given by its name or class."""
    async with stub_of(provider) as stub:
        http = HttpProvider(stub.name, stub.base, KEY, SECRET, scene=stub)
        return await check.held(recorded.load(ROOT, stub.name), http)


@pytest.mark.parametrize("provider", STUBS)
async def test_a_stub_answers_as_was_recorded(provider):
    """Every vector that can be asked is answered as the provider would."""
    result = await checked(provider)
    assert result.verdict() == "SAFE", result.findings
    assert result.examined >= 8


async def test_the_object_store_answers_as_was_recorded(tmp_path):
    """The local folder, used as files uses it: whole objects, ranges, conditions, and errors that tell what is wrong."""
    result = await check.held(recorded.load(ROOT, "object-store"), FolderProvider(tmp_path))
    assert result.verdict() == "SAFE", result.findings
    assert result.examined == 16


class ErrorsByStatus(WeCom):
    """HTTP 500 in place of a 200 with a code."""

    def says(self, code):
        return Says(500) if code else super().says(code)


class OtherCode(WeCom):
    """A code nobody has heard of for a bad key."""

    def says(self, code):
        return super().says(77777 if code == 93000 else code)


class NoTextLimit(WeCom):
    """Takes texts of any length."""

    def refusal_of(self, kind, content):
        return 0 if kind == "text" else super().refusal_of(kind, content)


class CountsCharacters(WeCom):
    """Measures a text in characters."""

    def refusal_of(self, kind, content):
        return 0 if kind == "text" and len(content["content"]) <= 2048 else super().refusal_of(kind, content)


class NoRate(WeCom):
    """Takes any number of messages."""

    def rate(self):
        return 0


class CodeAsText(WeCom):
    """Codes as text."""

    def says(self, code):
        return Says(200, b'{"errcode": "%d"}' % code)


class SignedTwice(DingTalk):
    """Takes a sign that was encoded once too often."""

    def signed(self, query):
        return super().signed({name: unquote(value) if "%" in value else value for name, value in query.items()})


class Unsigned(DingTalk):
    """Looks at no sign."""

    def signed(self, query):
        return True


class NoThrottle(DingTalk):
    """Forgets within a minute."""

    def rate(self):
        return 130101 if not self.within(60.0, 20) else self.times_s.append(self._now_s) or 0


class NoClock(Feishu):
    """Takes signs of any age."""

    def signed(self, message):
        now_s, self._now_s = self._now_s, float(message.get("timestamp", "0"))
        try:
            return super().signed(message)
        finally:
            self._now_s = now_s


class SaysValid(Finance):
    """Finds everything valid."""

    def says(self, code):
        return Says(200, b'{"number": "%s", "valid": true}' % self.number.encode()) if code == 0 else super().says(code)


class Crashes(Finance):
    """Ends every connection without an answer."""

    def answer(self, heard):
        raise ConnectionError


DEVIATIONS = {
    ErrorsByStatus: "status is 500, not 200",
    OtherCode: "errcode is 77777, not 93000",
    NoTextLimit: "a text of 2049 bytes is refused",
    CountsCharacters: "counts bytes, not characters",
    NoRate: "the twenty-first within a minute",
    CodeAsText: "errcode is '0', not 0",
    SignedTwice: "a sign that is encoded twice is refused",
    Unsigned: "a sign by another secret is refused",
    NoThrottle: "still throttled",
    NoClock: "a sign of more than an hour ago",
    SaysValid: "the reserved number is never valid",
    Crashes: "no answer",
}


@pytest.mark.parametrize("deviation", DEVIATIONS, ids=lambda each: each.__name__)
async def test_a_stub_that_departs_is_found(deviation):
    """Each planted departure is BREAKING, and the finding says where."""
    result = await checked(deviation)
    assert result.verdict() == "BREAKING"
    assert any(DEVIATIONS[deviation] in finding.detail for finding in result.findings), result.findings


async def test_only_what_is_harmless_is_asked_of_a_live_provider():
    """Without a scene one vector is asked: the bad key, never a message to people."""
    async with stub_of("wecom") as stub:
        result = await check.held(recorded.load(ROOT, "wecom"), HttpProvider("wecom", stub.base, KEY))
        assert (result.verdict(), result.examined) == ("SAFE", 1)
        assert [each.target for each in stub.heard] == ["/cgi-bin/webhook/send?key=breakwater-probe"]
        assert stub.taken == []


async def test_a_contract_without_vectors_to_ask_shows_nothing():
    """Zero examined is UNVERIFIED, not SAFE."""
    async with stub_of("wecom") as stub:
        result = await check.held(
            recorded.Contract("wecom", "1.0.0"), HttpProvider("wecom", stub.base, KEY, scene=stub)
        )
        assert result.verdict() == "UNVERIFIED"


def test_the_contracts_are_whole():
    """Every provider's vectors are there, pinned, and agree with themselves; the signs of the documents are signed anew."""
    result = check.whole(ROOT)
    assert result.verdict() == "SAFE", result.findings
    assert result.examined > 130


WECOM = "contracts/external/wecom/1.0.0"


def rewritten(root, old, new):
    """Changes vectors of WeCom, hashes and pin included: only what they say can give it away."""
    path = root / WECOM / "vectors.jsonl"
    path.write_text(path.read_text().replace(old, new) if old else new)
    pin(root)


def pin(root):
    """Pins WeCom's vectors as they are."""
    pins = root / "contracts/external/versions.yaml"
    lines = [line for line in pins.read_text().splitlines() if not line.startswith("wecom:")]
    digest = recorded.artifacts.write_sums(root / WECOM)
    pins.write_text("\n".join([*lines, f"wecom: {{version: 1.0.0, digest: 'sha256:{digest}'}}"]))


FAULTS = {
    "no pins": lambda root: (root / "contracts/external/versions.yaml").unlink(),
    "pins that are none": lambda root: (root / "contracts/external/versions.yaml").write_text("[]"),
    "a missing provider": lambda root: shutil.rmtree(root / "contracts/external/wecom"),
    "a changed vector": lambda root: (root / WECOM / "vectors.jsonl").write_text("{}"),
    "a file too many": lambda root: (root / WECOM / "more.jsonl").write_text("{}"),
    "zero vectors": lambda root: rewritten(root, "", ""),
    "a vector that is none": lambda root: rewritten(root, "", '{"ask": 1}\n'),
    "an unknown meaning": lambda root: rewritten(root, '"means": "ok"', '"means": "fine"'),
    "no harmless vector": lambda root: rewritten(root, ', "live": true', ""),
    "no word where it comes from": lambda root: ((root / WECOM / "README.md").unlink(), pin(root)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_contracts_that_are_not_whole_are_never_safe(tmp_path, fault):
    """Missing, changed, empty or senseless vectors block."""
    shutil.copytree(ROOT / "contracts/external", tmp_path / "contracts/external")
    assert check.whole(tmp_path).verdict() == "SAFE"
    FAULTS[fault](tmp_path)
    result = check.whole(tmp_path)
    assert result.verdict() in {"UNVERIFIED", "BREAKING"}
    assert any(finding.subject.startswith("wecom") for finding in result.findings), result.findings


async def test_the_gate_looks_at_the_contracts_of_external_providers(tmp_path, monkeypatch):
    """A tree whose recordings were changed is not passed, whatever else holds."""
    monkeypatch.setattr(gate.artifacts, "deployed", lambda *_: [])
    shutil.copytree(ROOT / "contracts/external", tmp_path / "contracts/external")
    FAULTS["a changed vector"](tmp_path)
    report = await gate.examine(tmp_path, "notify", "prod")
    assert report.exit_code() != 0
    assert any(finding.dimension == "external" for each in report.checks for finding in each.findings)
