"""What a drill says held and what it says broke, from calls made up for it."""

from dataclasses import replace

import pytest

from breakwater.cli.drills.faults import Check
from breakwater.cli.drills.load import Answer, Sample
from breakwater.cli.drills.plans import PLANS
from breakwater.cli.drills.report import checks, document
from breakwater.cli.drills.run import Seen

BEGAN_S, ENDED_S = 100.0, 115.0


def sample(load="exports", at_s=105.0, answer=Answer.WHOLE, took_s=0.2, code=""):
    return Sample(load, at_s, took_s, answer, code)


def calm(*loads):
    """One whole answer of each load before, during and after."""
    return [sample(load, at_s) for load in loads for at_s in (98.0, 105.0, 120.0)]


@pytest.fixture
def files_down():
    """A drill that held: exports degraded while files was down, everything else as ever."""
    samples = [*calm("leads", "console"), sample(at_s=98.0), sample(answer=Answer.DEGRADED), sample(at_s=120.0)]
    return Seen(
        PLANS["files-down"],
        samples,
        BEGAN_S,
        ENDED_S,
        detected_s=1.0,
        detected_as="gateway -> files open",
        recovered_s=2.0,
        alarm_s=None,
        left_out=0,
        exports_asked=3,
        exports_whole=3,
        shown=(),
        slack_s=1.0,
    )


def broken(seen):
    """Names of the checks that did not hold."""
    return [check.name for check in checks(seen) if not check.held]


def test_a_drill_that_held_says_so(files_down):
    """Every check holds, and the document counts each load in each phase."""
    told = document(files_down)
    assert (broken(files_down), told["held"]) == ([], True)
    counts = {(each["load"], each["phase"]): (each["requests"], each["degraded"]) for each in told["loads"]}
    assert counts["exports", "during"] == (1, 1)
    assert counts["leads", "before"] == (1, 0)
    assert (told["time_to_detect_s"], told["time_to_recover_s"], told["fault_s"]) == (1.0, 2.0, 15.0)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("before the fault", sample("leads", 97.0, Answer.ERROR, code="unavailable")),
        ("control group", sample("leads", answer=Answer.ERROR, code="unavailable")),
        ("control group", sample("console", 116.0, Answer.ERROR, code="unavailable")),
        ("waits", sample("leads", took_s=3.5)),
        ("waits", sample("exports", took_s=11.0)),
        ("errors", sample(answer=Answer.ERROR, code="unavailable")),
    ],
)
def test_one_ill_call_breaks_its_part_of_the_steady_state(files_down, name, more):
    """A failing control call, a call that waits too long, an export that fails: each is named, and nothing else."""
    assert broken(replace(files_down, samples=[*files_down.samples, more])) == [name]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("full files", {"exports_whole": 2}),
        ("what the fault shows", {"shown": (Check("what the fault shows", held=False, said="the gate let it pass"),)}),
        ("detected", {"detected_s": None}),
        ("detected", {"detected_s": 11.5}),
        ("recovered", {"recovered_s": None}),
        ("recovered", {"recovered_s": 31.5}),
    ],
)
def test_what_takes_too_long_or_never_comes_breaks_it(files_down, name, change):
    """A full file that never follows, a fault on-call never sees, circuits that stay open."""
    assert broken(replace(files_down, **change)) == [name]


def test_a_slow_machine_is_told_by_the_control_group(files_down):
    """Callers may wait longer by what the control group waited beside the fault, it by what it took before; no longer."""

    def broken_with(*more, **change):
        return broken(replace(files_down, samples=[*files_down.samples, *more], **change))

    slow, slower = sample("leads", took_s=2.5), sample("exports", took_s=8.0)
    assert broken_with(slower) == ["waits"]
    assert broken_with(slow, slower) == []
    assert broken_with(slow, replace(slower, took_s=9.0)) == ["waits"]
    assert broken_with(slow, detected_s=13.0, recovered_s=33.0) == []
    assert broken_with(replace(slow, took_s=4.5)) == ["waits"]
    assert broken_with(replace(slow, took_s=4.5), sample("console", 97.0, took_s=1.8)) == []


def test_a_fault_that_nobody_noticed_was_none(files_down):
    """Without one degraded answer the drill has shown nothing."""
    whole = [replace(each, answer=Answer.WHOLE) for each in files_down.samples]
    assert broken(replace(files_down, samples=whole)) == ["degraded answers"]


def test_a_load_that_was_never_called_is_told(files_down):
    """A control group that is missing proves nothing, and so does a fault during which somebody was not called."""
    left = [each for each in files_down.samples if each.load != "leads"]
    assert broken(replace(files_down, samples=left)) == ["called"]
    unasked = [each for each in files_down.samples if (each.load, each.began_s) != ("console", 105.0)]
    assert broken(replace(files_down, samples=unasked)) == ["called"]


def test_a_restart_may_refuse_calls_honestly_and_only_so():
    """While PostgreSQL is away callers may be told "later"; an internal error is a defect."""
    loads = calm("leads", "notifications", "console")
    held = Seen(PLANS["postgres-restart"], loads, BEGAN_S, ENDED_S, None, "", 1.0, None, 0, 0, 0, (), 1.0)
    assert broken(held) == [], "nobody felt it"
    later = sample("leads", answer=Answer.ERROR, code="unavailable")
    assert broken(replace(held, samples=[*loads, later], detected_s=1.0)) == []
    assert broken(replace(held, samples=[*loads, later])) == ["detected"]
    defect = sample("leads", answer=Answer.ERROR, code="internal")
    assert broken(replace(held, samples=[*loads, defect], detected_s=1.0)) == ["errors"]


def test_an_outage_without_an_alarm_is_told(files_down):
    """Where the circuit is to open, on-call must get an incident; only downloads may fail."""
    later = sample("downloads", answer=Answer.ERROR, code="dependency_auth")
    samples = [*files_down.samples, *calm("downloads"), later]
    outage = replace(files_down, plan=PLANS["jwt-outage"], samples=samples, alarm_s=9.0)
    assert broken(outage) == []
    assert document(outage)["time_to_alarm_s"] == 9.0
    assert broken(replace(outage, alarm_s=None)) == ["alarm"]
    refused = sample("exports", answer=Answer.ERROR, code="dependency_auth")
    assert broken(replace(outage, samples=[*samples, refused])) == ["errors"]


def test_a_call_that_the_fault_overtook_belongs_to_it(files_down):
    """Begun before and ended after the beginning: its wait is the fault's."""
    late = sample("exports", 99.0, Answer.DEGRADED, took_s=2.0)
    told = document(replace(files_down, samples=[*files_down.samples, late]))
    assert {(each["phase"], each["degraded"]) for each in told["loads"] if each["load"] == "exports"} == {
        ("before", 0),
        ("during", 2),
        ("after", 0),
    }
