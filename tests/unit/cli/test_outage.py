"""The drill of the outage takes back what it laid, whatever goes wrong on its way."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from breakwater.cli.drills import outage
from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options
from breakwater.compat.deploying import NotDeployedError
from breakwater.compat.verdict import CheckResult, Finding, Report, Verdict
from breakwater.local import deployments
from breakwater.local.deployments import folder_of

PIN = SimpleNamespace(version="0.2.0", digest="ab" * 32, wheel=Path("files.whl"))
YES = Report("files 0.2.0", "prod", (CheckResult("pair", 1),))
NO = Report("files 0.2.0", "prod", (CheckResult("pair", 1, (Finding(Verdict.BREAKING, "auth", "gateway", "x"),)),))


@pytest.fixture
def options(tmp_path):
    return Options(tmp_path, None, as_json=False, quiet=True)


@pytest.fixture
def done(monkeypatch):
    """What the platform was told to do, in order."""
    told = []

    class Target:
        def __init__(self, state):
            pass

        def switch(self, service, version, digest, wheel):
            told.append(("switch", version, digest, wheel))

        def withdraw(self, service):
            told.append(("withdraw", service))

    monkeypatch.setattr(deployments, "LocalTarget", Target)
    return told


def deploying(monkeypatch, answer):
    """Deployments are answered so."""

    def deploy(*_, **__):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(outage, "deploy", deploy)


def test_an_interrupted_drill_gives_the_platform_its_tree_back(monkeypatch, options, done):
    """Ctrl-C inside: files runs from the tree again, where it ran before."""
    deploying(monkeypatch, YES)
    with pytest.raises(KeyboardInterrupt), outage._on_its_pin(options, Path(), PIN):
        raise KeyboardInterrupt
    assert done == [("withdraw", "files")]


@pytest.mark.parametrize("answer", [NO, NotDeployedError("it does not serve")])
def test_a_pin_that_does_not_run_ends_the_drill_before_anything_is_broken(monkeypatch, options, done, answer):
    """Without a way back nobody goes: the block is not entered."""
    deploying(monkeypatch, answer)
    with pytest.raises(CommandError), outage._on_its_pin(options, Path(), PIN):
        pytest.fail("the drill goes on")
    assert done == [("withdraw", "files")]


def test_a_platform_that_ran_the_pin_keeps_it(monkeypatch, options, done):
    """What was deployed before the drill is what runs after it."""
    deploying(monkeypatch, YES)
    (options.state / "deployed.json").write_text(f'{{"files": "{folder_of("files", PIN.version, PIN.digest)}"}}')
    with outage._on_its_pin(options, Path(), PIN):
        pass
    assert done == []


def test_a_platform_that_runs_another_release_is_refused(options, done):
    """The drill would not know what to go back to."""
    (options.state / "deployed.json").write_text('{"files": "files-0.9.0-0123"}')
    with pytest.raises(CommandError, match="not the pin"), outage._on_its_pin(options, Path(), PIN):
        pytest.fail("the drill goes on")
    assert done == []


@pytest.mark.parametrize("answer", [NO, NotDeployedError("its canary does otherwise")])
def test_the_pin_is_put_back_even_where_deploy_does_not(monkeypatch, options, done, answer):
    """Whatever it is that keeps it, the pin runs, and the drill says what it was."""
    deploying(monkeypatch, answer)
    with pytest.raises(CommandError):
        outage._restore(options, Path(), PIN)
    assert done == [("switch", PIN.version, PIN.digest, PIN.wheel)]
