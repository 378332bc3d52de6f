"""Playbooks that start by themselves, with the real policies and engine on the virtual clock: in time, and not for a blip."""

import logging
import random
from pathlib import Path
from typing import Final

import pytest
import structlog

from services.gateway.ops.incidents.domain import ALERTS
from services.gateway.ops.playbooks import reading
from services.gateway.ops.playbooks.domain import Watch
from services.gateway.ops.playbooks.usecases import LOOK_S
from services.gateway.ops.playbooks.world import OpsWorld
from tests.rootcause import faults, trial

pytestmark = [pytest.mark.capability(38), pytest.mark.timeout(600)]

SEED: Final = 11
WARM_S: Final = 40.0
RATES_TIMES: Final = 5.0
"""15 calls a second from gateway to health: fewer than the drill of tests/threeclicks makes."""
STARTED_S_MAX: Final = 12.0
"""What is left of 15 s is for laying the override, and for a busy machine."""
BLIP_S: Final = 3.0
AUTOMATIC: Final = {
    name: playbook
    for name, playbook in reading.read(Path(__file__).parents[2] / "deploy/playbooks").playbooks.items()
    if playbook.automatic
}


@pytest.fixture(autouse=True)
def _quiet_log():
    """Each change of a circuit is a line of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Looking:
    """Looks at the triggers as often as ops does."""

    def __init__(self):
        self.world, (self.ops,) = trial.world_with_ops(SEED, 1, rates_times=RATES_TIMES, report_s=1.0)
        self._eyes = OpsWorld(self, None, None, None, self.world.clock, None)
        self._watch = Watch()
        self.world.run(WARM_S)

    def incidents(self, *, open_only):
        assert open_only
        return self.ops.incidents.open()

    def failing(self):
        return self.ops.incidents.failing()

    def started_s(self, name, within_s):
        """After how long it starts; None when it does not."""
        began_s = self.world.loop.now_s
        while self.world.loop.now_s < began_s + within_s:
            self.world.run(LOOK_S)
            if self._watch.due({name: AUTOMATIC[name]}, self._eyes.open_incidents(), self.world.loop.now_s):
                return self.world.loop.now_s - began_s
        return None


def trouble_of(name, world):
    """The fault that the playbook is for, at the edge it mitigates."""
    playbook = AUTOMATIC[name]
    kind = next(fault.value for fault, alert in ALERTS.items() if alert == playbook.trigger.alert)
    return faults.at_edge(kind, ("gateway", playbook.trigger.dependency), world, random.Random(SEED))


@pytest.mark.parametrize("name", sorted(AUTOMATIC))
def test_an_automatic_playbook_starts_in_time_and_not_for_a_blip(name):
    """Three seconds of the fault start nothing, though it may open an incident; lasting it starts the run, once."""
    looking = Looking()
    blip = trouble_of(name, looking.world)
    blip.begin(looking.world)
    assert looking.started_s(name, BLIP_S) is None
    blip.end(looking.world)
    assert looking.started_s(name, 90) is None
    trouble = trouble_of(name, looking.world)
    trouble.begin(looking.world)
    started_s = looking.started_s(name, 60)
    assert started_s is not None
    assert started_s <= STARTED_S_MAX
