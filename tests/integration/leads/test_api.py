"""The gRPC face: requests become use cases, answers become messages."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from breakwater.chassis.errors import (
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from breakwater.chassis.telemetry import remote_context
from breakwater.identity.v1 import identity_pb2 as identity
from breakwater.leads.v1 import leads_pb2 as pb
from services.leads.api.leads import Creations, LeadsApi, create_together
from services.leads.api.organisation import OrganisationApi
from services.leads.api.routing import RoutingApi
from services.leads.datasets.store import PostgresDatasetReader
from services.leads.organisation.domain import Person

ALL = identity.Actor(sub="m", role=identity.ROLE_SERVICE, scope=identity.SCOPE_ALL)
OWNER = identity.Actor(sub="1", role=identity.ROLE_SALES, scope=identity.SCOPE_OWN)
MANAGER = identity.Actor(sub="boss", role=identity.ROLE_MANAGER, scope=identity.SCOPE_ALL)
FANG = {"name": "王芳", "source": "官网", "phone": "138 0000 0001", "budget": "800000.50", "company": "恒力"}


@pytest.fixture
async def api(leads) -> AsyncIterator[LeadsApi]:
    """The servicer with its batcher running, one person in the rotation."""
    await leads.people(Person("1", "甲"))
    creations = Creations(partial(create_together, leads.begin_capture, leads.clock))
    task = asyncio.create_task(creations.run())
    yield LeadsApi(
        creations,
        leads.begin_reading,
        leads.begin_work,
        leads.begin_follow_ups,
        leads.begin(PostgresDatasetReader),
        leads.begin_growth_reading,
        leads.clock,
    )
    task.cancel()
    await asyncio.wait([task])


def keyed(key: str, body: bytes = b"body") -> identity.Idempotency:
    return identity.Idempotency(key=key, body_hmac=body)


async def test_a_created_lead_is_read_as_it_was_answered(api) -> None:
    """Every field the caller gave is there, in its one form."""
    utm = Struct()
    utm.update({"source": "baidu"})
    created = await api.CreateLead(pb.CreateLeadRequest(actor=ALL, utm=utm, **FANG), None)
    read = await api.GetLead(pb.GetLeadRequest(actor=OWNER, id=created.lead.id), None)
    assert read.lead == created.lead
    assert (read.lead.phone, read.lead.budget, read.lead.owner_id) == ("+8613800000001", "800000.50", "1")
    assert MessageToDict(read.lead.utm) == {"source": "baidu"}
    assert created.assignment.reason
    assert created.assignment.claim_by == read.lead.claim_by


async def test_a_replay_is_marked_and_answers_the_first_result(api) -> None:
    """Also after the lead has changed; the key with another body is refused."""
    request = pb.CreateLeadRequest(actor=ALL, idempotency=keyed("k"), **FANG)
    first = await api.CreateLead(request, None)
    await api.ClaimLead(pb.ClaimLeadRequest(actor=OWNER, lead_id=first.lead.id), None)
    again = await api.CreateLead(request, None)
    assert (first.replayed, again.replayed) == (False, True)
    again.replayed = False
    assert again == first
    request.idempotency.body_hmac = b"other"
    with pytest.raises(IdempotencyMismatchError):
        await api.CreateLead(request, None)


@pytest.mark.capability(53)
async def test_a_second_lead_of_a_customer_names_the_first(api) -> None:
    """The form is not lost, and whoever has the customer gets it."""
    first = await api.CreateLead(pb.CreateLeadRequest(actor=ALL, **FANG), None)
    second = await api.CreateLead(pb.CreateLeadRequest(actor=ALL, **{**FANG, "phone": "+8613800000001"}), None)
    assert second.duplicate_of == first.lead.id
    customer = await api.GetCustomer(pb.GetCustomerRequest(actor=OWNER, id=first.lead.customer_id), None)
    assert [lead.id for lead in customer.customer.leads] == [second.lead.id, first.lead.id]


async def test_every_wrong_field_is_named(api, leads) -> None:
    """Amounts and campaign values too; nothing is written."""
    utm = Struct()
    utm.update({"nested": {"a": 1}})
    with pytest.raises(InvalidRequestError) as caught:
        await api.CreateLead(pb.CreateLeadRequest(actor=ALL, name="", source="x", budget="much", utm=utm), None)
    assert {error.field for error in caught.value.errors} == {"name", "budget", "utm.nested"}
    assert await leads.value("SELECT count(*) FROM leads") == 0


async def test_on_call_creates_nothing(api) -> None:
    """The role is checked before anything waits."""
    oncall = identity.Actor(sub="x", role=identity.ROLE_ONCALL, scope=identity.SCOPE_ALL)
    with pytest.raises(PermissionDeniedError):
        await api.CreateLead(pb.CreateLeadRequest(actor=oncall, **FANG), None)


async def test_events_of_one_transaction_keep_the_trace_of_their_request(api, leads) -> None:
    """Batched together, told apart: each event carries the trace of the request that caused it."""

    async def create(number: int) -> None:
        with remote_context(f"00-{number:032x}-{number:016x}-01"):
            await api.CreateLead(pb.CreateLeadRequest(actor=ALL, name=f"客户{number}", source="官网"), None)

    await asyncio.gather(*(create(number) for number in range(1, 5)))
    rows = await leads.rows(
        "SELECT name, count(*) FROM leads JOIN outbox ON subject_id = leads.id::text"
        " AND split_part(traceparent, '-', 2)::numeric = substr(name, 3)::numeric GROUP BY name"
    )
    assert {row["name"]: row["count"] for row in rows} == {f"客户{number}": 2 for number in range(1, 5)}


async def test_work_on_a_lead_answers_messages(api, leads) -> None:
    """Claim, follow-up and stage; the history with its candidates."""
    lead = (await api.CreateLead(pb.CreateLeadRequest(actor=ALL, **FANG), None)).lead
    claimed = await api.ClaimLead(pb.ClaimLeadRequest(actor=OWNER, idempotency=keyed("c"), lead_id=lead.id), None)
    assert claimed.lead.HasField("claimed_at")
    due = Timestamp()
    due.FromDatetime(leads.clock.now() + timedelta(days=1))
    follow_up = pb.AddFollowUpRequest(
        actor=OWNER,
        idempotency=keyed("f"),
        lead_id=lead.id,
        goal="确认型号",
        customer_words="贵",
        next_action="报价",
        next_action_due=due,
        objection="价格",
        pain_tags=["ERP替换"],
    )
    first = await api.AddFollowUp(follow_up, None)
    again = await api.AddFollowUp(follow_up, None)
    assert (again.id, again.replayed) == (first.id, True)
    follow_up.ClearField("next_action_due")
    follow_up.idempotency.key = "g"
    with pytest.raises(InvalidRequestError) as caught:
        await api.AddFollowUp(follow_up, None)
    assert [error.field for error in caught.value.errors] == ["next_action_due"]
    moved = await api.ChangeStage(pb.ChangeStageRequest(actor=OWNER, lead_id=lead.id, stage="qualified"), None)
    assert moved.lead.stage == "qualified"
    history = await api.ListAssignments(pb.ListAssignmentsRequest(actor=OWNER, lead_id=lead.id), None)
    [assignment] = history.assignments
    assert {each.person_id: each.chosen for each in assignment.candidates}["1"]


async def test_pages_follow_their_cursor(api) -> None:
    """A cursor of ours goes on, any other text is refused."""
    for number in range(3):
        await api.CreateLead(pb.CreateLeadRequest(actor=ALL, name=f"客户{number}", source="官网"), None)
    first = await api.ListLeads(pb.ListLeadsRequest(actor=ALL, limit=2), None)
    last = await api.ListLeads(pb.ListLeadsRequest(actor=ALL, limit=2, cursor=first.next_cursor), None)
    assert [lead.name for lead in (*first.leads, *last.leads)] == ["客户2", "客户1", "客户0"]
    assert last.next_cursor == ""
    with pytest.raises(InvalidRequestError):
        await api.ListLeads(pb.ListLeadsRequest(actor=ALL, cursor="!"), None)
    with pytest.raises(InvalidRequestError):
        await api.ListLeads(pb.ListLeadsRequest(actor=ALL, limit=201), None)


async def test_a_dataset_comes_head_first(api) -> None:
    """Columns and the number of rows, then the rows, packed where that is asked for."""
    await api.CreateLead(pb.CreateLeadRequest(actor=ALL, **FANG), None)
    request = pb.StreamDatasetRequest(actor=ALL, dataset="leads", fields=["name", "budget"])
    head, rows = [part async for part in api.StreamDataset(request, None)]
    assert ([column.name for column in head.columns], head.rows_total) == (["name", "budget"], 1)
    assert head.columns[1].type == pb.COLUMN_TYPE_DECIMAL
    assert [list(row.cells) for row in rows.rows] == [["王芳", "800000.50"]]
    request.packed = True
    _, rows = [part async for part in api.StreamDataset(request, None)]
    assert (rows.packed_rows.decode(), len(rows.rows)) == ("王芳\x1f800000.50\x1e", 0)


async def test_rules_travel_as_json(leads) -> None:
    """What is read can be changed and put back; a dry run and a roll-back answer messages."""
    await leads.people(Person("1", "甲"))
    api = RoutingApi(leads.begin_rules, leads.clock)
    rules = (await api.GetRules(pb.GetRulesRequest(actor=MANAGER), None)).rules
    put = await api.PutRules(
        pb.PutRulesRequest(actor=MANAGER, document=rules.document, expected_version=rules.version), None
    )
    assert (put.rules.version, put.rules.author) == (2, "boss")
    back = await api.RollBackRules(pb.RollBackRulesRequest(actor=MANAGER, version=1), None)
    assert back.rules.document == rules.document
    run = await api.DryRunRules(pb.DryRunRulesRequest(actor=MANAGER, document=rules.document), None)
    assert (run.leads, run.changed) == (0, 0)
    with pytest.raises(NotFoundError):
        await api.RollBackRules(pb.RollBackRulesRequest(actor=MANAGER, version=9), None)


async def test_people_travel_with_their_load_and_supervisor(leads) -> None:
    """The next page goes on where this one ended."""
    await leads.people(Person("1", "甲", regions=("华东",), open_leads_max=5))
    api = OrganisationApi(leads.begin_people, leads.clock)
    page = await api.ListPeople(pb.ListPeopleRequest(actor=MANAGER, limit=1), None)
    [person] = page.people
    assert (person.id, person.supervisor_id, list(person.regions), person.open_leads_max) == (
        "1",
        "sales-supervisor",
        ["华东"],
        5,
    )
    rest = await api.ListPeople(pb.ListPeopleRequest(actor=MANAGER, cursor=page.next_cursor), None)
    assert [each.id for each in rest.people] == ["duty-desk", "sales-supervisor"]
