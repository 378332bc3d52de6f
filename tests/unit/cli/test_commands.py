"""The command line as scripts and people meet it: exit codes, streams, tokens, help."""

import ast
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from breakwater.chassis.auth import CALLER_AUDIENCE, CallerVerifier, KeySource, new_private_jwk, public_jwk
from breakwater.chassis.identity import Actor, Role, Scope
from breakwater.cli import commands
from breakwater.cli.commands.token import ROLES, SCOPES
from breakwater.cli.durations import Duration
from breakwater.cli.errors import RequestNotAllowedError, RequestRefusedError
from breakwater.cli.main import main
from breakwater.cli.tokens import AUDIENCE
from breakwater.local.sample import generate
from breakwater.local.state import CALLER_ISSUER, State
from services.leads.intake.imports.mapping import read_mapping


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """Runs a command as `breakwater ARGUMENTS` of a platform that does not run."""
    for name in ("BREAKWATER_TOKEN", "BREAKWATER_GATEWAY", "BREAKWATER_OPS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BREAKWATER_STATE", str(tmp_path))

    def run(*arguments: str):
        return CliRunner().invoke(main, arguments)

    return run


@pytest.fixture
def caller_key(tmp_path):
    """A local issuer's key, as the first start makes it."""
    state = State.at(tmp_path)
    state.keys.mkdir()
    jwk = new_private_jwk("callers", development=True)
    state.caller_key.write_text(json.dumps(jwk))
    state.caller_jwks.write_text(json.dumps({"keys": [public_jwk(jwk)]}))
    return state


async def test_a_token_is_one_the_gateway_accepts(cli, caller_key):
    """The gateway's own verifier reads role, scope and subject from it."""
    token = cli("token", "--role", "sales", "--sub", "1001", "--scope", "own", "--ttl", "5m").stdout.strip()
    keys = KeySource(str(caller_key.caller_jwks), production=False)
    await keys.start()
    assert await CallerVerifier(keys, CALLER_ISSUER).verify(token) == Actor("1001", Role.SALES, Scope.OWN)


def test_roles_scopes_and_audience_are_those_of_the_platform():
    """The command line repeats three constants of slow modules; they are the same."""
    assert set(ROLES) == {role.value for role in Role}
    assert set(SCOPES) == {scope.value for scope in Scope}
    assert AUDIENCE == CALLER_AUDIENCE


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("token", "--role", "king", "--sub", "me"), 2, "Invalid value for '--role'"),
        (("token", "--role", "sales"), 2, "Missing option '--sub'"),
        (("token", "--role", "sales", "--sub", "me", "--ttl", "8d"), 2, "at most 7d"),
        (("token", "--role", "sales", "--sub", "me"), 4, "breakwater up"),
        (("status",), 1, "breakwater up"),
        (("service", "stop", "files"), 1, "breakwater up"),
        (("export", "leads", "-o", "leads.xlsx", "--ask-password"), 1, "no terminal"),
        (("export", "leads", "-o", "leads.xlsx", "--password-file", "no-such-file"), 2, "no-such-file"),
        (("fallback", "on", "files"), 2, "--reason"),
        (("dlq", "replay"), 2, "--all"),
        (("no-such-thing",), 2, "No such command"),
    ],
)
def test_failures_have_their_exit_code_and_say_what_to_do(cli, arguments, code, words):
    """0 done, 1 failed, 2 wrong usage, 4 not allowed; the message is on standard error, nothing on standard output."""
    result = cli(*arguments)
    assert result.exit_code == code
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("1h", 3_600), ("7d", 604_800), (" 2m ", 120)]
)
def test_durations_have_a_unit(text, seconds):
    """As people write them."""
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "15", "0s", "-1m", "1w", "1.5h", "m"])
def test_what_is_no_duration_is_refused(text):
    """A bare number has no unit, zero ends at once."""
    with pytest.raises(click.BadParameter):
        Duration().convert(text, None, None)


def test_a_refusal_shows_the_fields_and_the_next_step():
    """The problem document becomes a message; 401 and 403 exit with 4."""
    problem = {"detail": "no", "code": "invalid_request", "errors": [{"field": "phone", "reason": "too long"}]}
    message = RequestRefusedError(422, problem).format_message()
    assert "phone: too long" in message
    assert "breakwater explain invalid_request" in message
    assert RequestRefusedError(422, {}).exit_code == 1
    assert RequestNotAllowedError(401, {}).exit_code == 4


def test_no_command_imports_what_it_may_not_need():
    """At their top, command modules import the standard library, click and our light modules only."""
    light = {"click", "breakwater", *sys.stdlib_module_names}
    heavy = []
    for path in Path(commands.__path__[0]).glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            heavy += [f"{path.name}: {name}" for name in names if name.split(".")[0] not in light]
            heavy += [f"{path.name}: {name}" for name in names if name.startswith(("breakwater.chassis", "services"))]
    assert heavy == []


def test_a_command_starts_without_what_it_does_not_need():
    """`breakwater token` loads neither the HTTP client nor the chassis: it starts in a blink."""
    source = "import sys; from breakwater.cli.main import main; main(['token', '--help'], standalone_mode=False); "
    source += "sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert loaded.isdisjoint({"httpx2", "rich", "grpc", "asyncpg", "yaml", "cryptography", "breakwater.chassis"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_that_shell(cli, shell):
    """It names the program and asks it for completions."""
    assert "_BREAKWATER_COMPLETE" in cli("completion", shell).stdout


def test_sample_data_is_the_same_for_the_same_seed():
    """Reproducible to the byte; another seed gives other data."""
    today = date(2026, 1, 5)
    assert generate(1, today, leads=50) == generate(1, today, leads=50)
    assert generate(1, today, leads=50) != generate(2, today, leads=50)


def test_the_importer_understands_the_sample_mappings():
    """Each mapping is one that leads takes, without a fault."""
    for sample in generate(1, date(2026, 1, 5), leads=50):
        mapping, faults = read_mapping(sample.name, yaml.load(sample.mapping, yaml.BaseLoader))  # noqa: S506 - makes text of all scalars
        assert faults == []
        assert mapping is not None


def test_sample_data_is_chinese_and_belongs_to_nobody():
    """Names and companies are Chinese; e-mail addresses lie in domains nobody owns (RFC 2606)."""
    _, leads, *_ = generate(7, date(2026, 1, 5), leads=50)
    assert yaml.safe_load(leads.mapping)["dataset"] == "leads"
    assert "有限公司" in leads.content
    addresses = [word for word in leads.content.replace("\n", ",").split(",") if "@" in word]
    assert len(addresses) == 50
    assert all(address.endswith(".example.com") for address in addresses)


def test_an_error_code_is_explained_without_a_platform(cli):
    """The next step; a near miss is guessed."""
    assert "Idempotency-Key" in cli("explain", "deadline_exceeded").stdout
    guess = cli("explain", "dead_line_exceeded")
    assert guess.exit_code == 1
    assert "Did you mean deadline_exceeded?" in guess.stderr
