"""Every caller beside providers that refuse its credential: an error or its fallback in time, after one attempt."""

import json
from pathlib import Path

import pytest

from breakwater.compat import candidate, emits, events, openapi, peers
from breakwater.compat.checks import callers
from breakwater.compat.messages import Messages
from breakwater.compat.protos import whole_image
from breakwater.local.topology import PROCESSES
from tests.mutation import proto_users

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.capability(36, 37), pytest.mark.timeout(300)]


@pytest.mark.parametrize("process", sorted({caller for caller, _ in callers.CALLERS}))
async def test_a_refused_credential_ends_in_an_error_or_the_fallback_after_one_attempt(place, process):
    """Eight ways of refusal on every edge of the real process: nobody waits past the budget, nothing is sent again."""
    messages = Messages(whole_image(ROOT / "proto"))
    await events.prepare_streams(place)
    others = [name for name in PROCESSES if name != process]
    settings = {"ENVIRONMENT": "production"}
    async with (
        peers.standing_in(others) as stand_ins,
        candidate.running(place, ROOT, process, stand_ins.addresses, settings=settings) as running,
    ):
        # files claims exports by an event.
        await events.consumed(place, process, 1 if process == "files" else 0)
        check = await callers.rehearsed(place, running, stand_ins, messages, callers.AUTH_FAILURES)
    assert check.examined >= len(callers.AUTH_FAILURES) == 8
    assert [finding.detail for finding in check.findings] == []


@pytest.mark.parametrize("process", ["gateway", "ops"])
async def test_every_rpc_that_a_process_calls_is_recorded(place, process):
    """What its code calls it is made to call: an RPC that no recording names would break for nobody known."""
    messages = Messages(whole_image(ROOT / "proto"))
    await events.prepare_streams(place)
    others = [name for name in PROCESSES if name != process]
    settings = {"ENVIRONMENT": "production"}
    async with (
        peers.standing_in(others) as stand_ins,
        candidate.running(place, ROOT, process, stand_ins.addresses, settings=settings) as running,
    ):
        await emits.exercise(place, running, stand_ins, messages)
    packages = {file.package.split(".")[1] for file in messages.files.file if file.package.startswith("breakwater.")}
    rpcs = {name.partition("/")[2] for package in packages for name in messages.methods_of(package)}
    users = proto_users.by_name()
    written = {rpc for rpc in rpcs if process in users[rpc]}
    assert written
    assert written - {call.method.partition("/")[2] for call in stand_ins.calls} == set()
    # What every process serves, every one is asked.
    asked = {(call.provider, call.method) for call in stand_ins.calls if "edges" in call.method}
    assert {(name, method) for name in others for _, method in asked} == asked


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer", "minimum": 1.0}, "1"),
        ({"type": "integer", "exclusiveMinimum": 0.5}, "2"),
        ({"type": "integer"}, "1"),
    ],
)
def test_an_example_of_an_integer_is_one(schema, value):
    """A document may write its least value as 1.0, which a strict reader refuses in a body."""
    assert json.dumps(openapi.example({}, schema)) == value
