"""Every caller beside providers that refuse its credential: an error or its fallback in time, after one attempt."""

from pathlib import Path

import pytest

from breakwater.compat import candidate, events, peers
from breakwater.compat.checks import callers
from breakwater.compat.messages import Messages
from breakwater.compat.protos import whole_image
from breakwater.local.topology import PROCESSES

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
