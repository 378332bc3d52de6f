"""Incidents: the deepest failing edge is the cause, and one fault is one page."""

from dataclasses import replace
from datetime import timedelta

import pytest

from breakwater.chassis.errors import InvalidRequestError, NotFoundError
from breakwater.chassis.identity import Actor, Role, Scope
from services.gateway.ops.edges.domain import Circuit, Report
from services.gateway.ops.incidents.domain import Fault, Locus
from services.gateway.ops.incidents.evidence import IN_FLIGHT_S, LINGER_S
from services.gateway.ops.incidents.usecases import SETTLE_S, Incidents
from tests.support.reporters import GRAPH, Notes, Platform, edge_of

pytestmark = pytest.mark.capability(38)

ANNA = Actor("anna", Role.ONCALL, Scope.ALL)


@pytest.fixture
async def platform():
    """A platform that has been well for a minute."""
    found = Platform()
    await found.run(60)
    assert found.incidents.all() == ()
    return found


async def test_the_deepest_failing_edge_is_the_cause(platform):
    """leads → postgres fails, so gateway → leads and files → leads do: one incident, at PostgreSQL, with its symptoms."""
    await platform.run(10, [("leads", "postgres"), ("gateway", "leads"), ("files", "leads")])
    incident = platform.only()
    assert (incident.cause.caller, incident.cause.dependency) == ("leads", "postgres")
    assert set(incident.cause.symptoms) == {("gateway", "leads"), ("files", "leads")}
    assert incident.journeys == ("intake", "assignment", "export")
    assert (incident.owner, len(platform.opened)) == ("dba", 1)


async def test_an_edge_that_fails_for_every_caller_is_the_dependency(platform):
    """Everybody's edge to PostgreSQL: it is shared, remote, and one page."""
    await platform.run(10, [pair for pair in GRAPH if pair[1] == "postgres"])
    cause = platform.only().cause
    assert (cause.fault, cause.locus, cause.callers) == (Fault.SHARED, Locus.REMOTE, ("files", "leads", "notify"))


async def test_an_edge_that_fails_for_one_caller_alone_is_the_way(platform):
    """notify reaches PostgreSQL, leads does not: it is between the two."""
    await platform.run(10, [("leads", "postgres")])
    assert platform.only().cause.locus is Locus.NETWORK


async def test_a_process_that_nothing_answers_is_the_cause_itself(platform):
    """leads reaches neither PostgreSQL nor NATS, others reach both: one page, and it is local."""
    await platform.run(10, [("leads", "postgres"), ("leads", "nats")])
    incident = platform.only()
    assert (incident.cause.locus, incident.id.startswith("leads-local-")) == (Locus.LOCAL, True)
    assert incident.title == "leads reaches none of nats, postgres"


async def test_one_instance_of_several_is_named():
    """One of three: a replica, not the dependency."""
    platform = Platform(instances=3)
    await platform.run(60)
    await platform.run(10, [("leads", "postgres")], only="leads-1")
    incident = platform.only()
    assert (incident.cause.fault, incident.cause.instances) == (Fault.REPLICA, ("leads-1",))


async def test_a_tenth_of_failing_calls_is_found_with_every_circuit_closed(platform):
    """Gray failure: no circuit opens at 10 %."""
    await platform.run(90, [("files", "postgres")], share=0.1, open_circuit=False)
    assert (platform.only().cause.fault, platform.only().cause.dependency) == (Fault.GRAY, "postgres")


async def test_one_failure_in_a_hundred_pages_nobody(platform):
    """Half an hour of it, at every edge."""
    await platform.run(1800, GRAPH, share=0.01, open_circuit=False, per_s=100)
    assert platform.incidents.all() == ()


async def test_a_refused_credential_is_no_symptom_of_what_fails_below(platform):
    """Nobody refuses a credential because the database is down: two faults, two pages."""
    await platform.run(10, [("gateway", "leads")], outcome="auth")
    await platform.run(10, [("leads", "postgres")])
    assert {each.cause.fault for each in platform.incidents.open()} == {Fault.CREDENTIAL, Fault.DOWN}


async def test_a_symptom_seen_first_becomes_the_same_incident(platform):
    """gateway → leads trips ten seconds before leads → postgres does: the incident keeps its id and moves down."""
    await platform.run(10, [("gateway", "leads")])
    first = platform.only().id
    await platform.run(10, [("gateway", "leads"), ("leads", "postgres")])
    assert (platform.only().id, platform.only().cause.dependency) == (first, "postgres")
    assert len(platform.opened) == 1


async def test_what_settles_by_itself_at_once_pages_nobody(platform):
    """A circuit that is open for less than the time to look deeper."""
    await platform.run(int(SETTLE_S) - 1, [("gateway", "files")])
    await platform.run(120)
    assert platform.incidents.all() == ()


async def test_an_incident_ends_when_its_edges_have_been_well_for_a_while(platform):
    """And not at the first good second."""
    await platform.run(10, [("gateway", "files")])
    await platform.run(20)
    assert platform.only()
    await platform.run(30)
    assert platform.incidents.open() == ()
    assert platform.incidents.all()[0].resolved_at is not None


async def test_an_incident_accounts_for_alerts_of_what_it_hurts_and_for_half_an_hour_after_it(platform):
    """Of its dependency, of a symptom's, of its journey; a burnt budget is noticed late. Of nothing else, and not for ever."""
    below = [("leads", "postgres"), ("gateway", "leads")]
    now = platform.clock.now
    accounts_for = platform.incidents.account_for
    assert not accounts_for("leads", "", now())
    await platform.run(10, below)
    assert accounts_for("postgres", "", now())
    assert accounts_for("leads", "", now())
    assert accounts_for("", "intake", now())
    assert not accounts_for("objects", "scoring", now())
    assert not accounts_for("", "", now())
    await platform.run(120)
    assert platform.incidents.open() == ()
    assert accounts_for("leads", "", now() + timedelta(minutes=25))
    assert not accounts_for("leads", "", now() + timedelta(minutes=35))


async def test_what_nobody_asks_any_more_says_so_and_ends_unknown_after_its_limit(platform):
    """Not as resolved: nobody was answered. Asked again it is known again, and says that."""
    broken = ("gateway", "files")
    platform.incidents.unknown_s_max = 300
    await platform.run(10, [broken])
    others = [pair for pair in GRAPH if pair != broken]
    await platform.run(60, asked=others)
    assert platform.only().title.endswith("(nobody asks any more: unknown)")
    await platform.run(10, [broken])
    assert "unknown" not in platform.only().title
    await platform.run(280, asked=others)
    assert platform.only().unknown
    await platform.run(60, asked=others)
    assert platform.incidents.open() == ()
    assert platform.incidents.all()[0].unknown
    assert [what for what, _ in platform.notes.told] == ["opened", "ended"]


async def test_flapping_is_one_page(platform):
    """Down and up every ten seconds, twenty times."""
    for _ in range(20):
        await platform.run(10, [("gateway", "files")])
        await platform.run(10)
    assert len(platform.opened) == 1
    assert (platform.only().cause.fault, platform.only().pages) == (Fault.FLAPPING, 1)


async def test_what_comes_back_after_it_was_resolved_pages_again(platform):
    """Minutes later: the same incident, somebody is called again, and it takes longer to be believed well."""
    await platform.run(10, [("gateway", "files")])
    await platform.run(60)
    assert platform.incidents.open() == ()
    platform.notes.changes = ("files 0.3.0 deployed",)
    await platform.run(10, [("gateway", "files")])
    assert (platform.only().pages, platform.only().id) == (2, platform.opened[0])
    assert platform.only().changes == ("files 0.3.0 deployed",), "what was changed before this time"
    await platform.run(60)
    assert platform.only()


async def test_what_a_cause_dragged_along_has_time_to_recover(platform):
    """An upper circuit is open for a while after the cause is cured: no new page; a minute on it is a fault of its own."""
    await platform.run(10, [("leads", "postgres"), ("gateway", "leads")])
    await platform.run(50, [("gateway", "leads")], outcome="short_circuited")
    assert len(platform.opened) == 1
    await platform.run(int(LINGER_S), [("gateway", "leads")], outcome="short_circuited")
    assert len(platform.opened) == 2


async def test_what_fails_anew_is_not_taken_for_what_lingers(platform):
    """leads was dragged along by PostgreSQL, and fails by itself while PostgreSQL is still in doubt: paged within 20 s."""
    blip = [("leads", "postgres"), ("gateway", "leads")]
    await platform.run(4, blip, open_circuit=False)
    await platform.run(15, per_s=1)
    assert platform.only().cause.dependency == "postgres"
    await platform.run(int(IN_FLIGHT_S) + 10, [("gateway", "leads")])
    assert {each.cause.dependency for each in platform.incidents.open()} == {"postgres", "leads"}


async def test_what_was_dragged_along_and_is_asked_for_no_more_pages_nobody(platform):
    """Nothing has been called since: what is known of it was the fault of PostgreSQL."""
    await platform.run(3, [("leads", "postgres"), ("gateway", "leads")], open_circuit=False)
    await platform.run(int(2 * LINGER_S), per_s=2, asked=[("leads", "postgres")])
    assert [each.cause.dependency for each in platform.incidents.all()] == ["postgres"]


async def test_a_doubt_that_nothing_confirms_explains_nothing_and_ends(platform):
    """leads → nats is not used since NATS came back: leads is paged, and of NATS those have the word who use it."""
    both = [("leads", "nats"), ("notify", "nats")]
    await platform.run(4, both, open_circuit=False)
    asked = [pair for pair in GRAPH if pair != ("leads", "nats")]
    await platform.run(30, per_s=2, asked=asked)
    assert platform.only().cause.dependency == "nats"
    await platform.run(10, [("gateway", "leads"), ("files", "leads")], asked=asked)
    assert {each.cause.dependency for each in platform.incidents.open()} == {"nats", "leads"}
    await platform.run(60, asked=asked)
    assert platform.incidents.open() == ()


async def test_what_nobody_asks_for_any_more_makes_no_other_fault_local(platform):
    """gateway's edge to files failed some minutes ago and was not called since; leads fails now: two faults, two pages."""
    await platform.run(4, [("gateway", "files")], open_circuit=False)
    await platform.run(120, asked=())
    await platform.run(10, [("gateway", "leads")], asked=[("gateway", "leads"), ("files", "leads")])
    assert {each.cause.dependency for each in platform.incidents.open()} == {"files", "leads"}


async def test_a_credential_refused_right_after_is_not_taken_for_what_lingers(platform):
    """leads is slow to recover from its database, and then refuses us: the release that did it is paged at once."""
    await platform.run(10, [("leads", "postgres"), ("gateway", "leads")])
    await platform.run(5)
    await platform.run(12, [("gateway", "leads")], outcome="auth")
    assert Fault.CREDENTIAL in {each.cause.fault for each in platform.incidents.open()}


async def test_a_resolution_is_held_back_by_nothing(platform):
    """Though another incident explains everything it touches, what is well is resolved."""
    await platform.run(10, [("gateway", "leads")], outcome="auth")
    below = [pair for pair in GRAPH if pair[1] == "postgres"]
    await platform.run(10, [*below, ("gateway", "files")])
    await platform.run(60, below)
    assert [each.cause.dependency for each in platform.incidents.open()] == ["postgres"]
    assert platform.incidents.all()[-1].cause.dependency == "leads"


async def test_silence_neither_opens_nor_resolves(platform):
    """Unknown is not healthy: a silent process keeps its incident, and makes none."""
    await platform.run(10, [("leads", "postgres")])
    before = platform.only().id
    await platform.run(300, silent=["leads"])
    assert platform.only().id == before
    await platform.run(300, silent=["leads", "files", "notify"])
    assert len(platform.opened) == 1


async def test_an_incident_says_what_was_changed_before(platform):
    """The lines of the timeline about what it touches."""
    platform.notes.changes = ("leads 0.3.0 deployed",)
    await platform.run(10, [("leads", "postgres")])
    assert platform.only().changes == ("leads 0.3.0 deployed",)


async def test_what_it_costs_is_counted_where_users_are(platform):
    """Half of 20 requests a second for ten seconds, at the gateway's edge and not twice on the way down."""
    await platform.run(14, [("leads", "postgres"), ("gateway", "leads")])
    assert platform.only().failed == pytest.approx(10 * (14 - SETTLE_S), abs=20)


async def test_two_replicas_that_hear_at_other_moments_name_it_alike(platform):
    """Ids follow from the cause and when it began by the clock of who told it."""
    late = Incidents(Notes(), platform.clock)
    platform.others.append(late)
    await platform.run(60)
    await platform.run(10, [("leads", "postgres"), ("gateway", "leads")])
    await platform.clock.advance(0.7)
    late.judge()
    await platform.clock.advance(SETTLE_S)
    late.judge()
    assert [each.id for each in late.open()] == [platform.only().id]


async def test_acknowledging_and_handing_over_are_on_the_record(platform):
    """Who has it in hand, to whom it went and why; a resolved or unknown incident cannot be taken."""
    await platform.run(10, [("gateway", "files")])
    incident_id = platform.only().id
    platform.incidents.acknowledge(ANNA, incident_id)
    assert platform.only().acknowledged_by == "anna"
    handed = platform.incidents.hand_over(ANNA, incident_id, to="boris", note="files is restarting")
    assert (handed.acknowledged_by, handed.actions[-1].note) == ("boris", "files is restarting")
    assert platform.notes.told[-2:] == [("acknowledged", incident_id), ("handed_over", incident_id)]
    with pytest.raises(InvalidRequestError) as refused:
        platform.incidents.hand_over(ANNA, incident_id, to=" ", note="")
    assert [each.field for each in refused.value.errors] == ["to", "note"]
    await platform.run(60)
    with pytest.raises(NotFoundError):
        platform.incidents.acknowledge(ANNA, incident_id)


async def test_an_open_circuit_that_nobody_asks_of_says_nothing():
    """It would let a probe through: neither a new page nor a resolution."""
    platform = Platform()
    await platform.run(10, [("gateway", "files")])
    waiting = edge_of(("gateway", "files"), "gateway-0", {}, Circuit.OPEN, platform.clock.now() + timedelta(minutes=5))
    waiting = replace(waiting, next_probe_s=0, totals=None)
    await platform.clock.advance(300)
    for _ in range(3):
        platform.incidents.observe(Report("gateway", "gateway-0", waiting.as_of, (waiting,)))
        platform.incidents.judge()
        await platform.clock.advance(100)
    assert platform.only().resolved_at is None
