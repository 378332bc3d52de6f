"""More of a lead as it grows, and forms that go live by configuration: the gRPC face on a real database."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from breakwater.chassis.errors import ConflictError, InvalidRequestError, NotFoundError, PermissionDeniedError
from breakwater.identity.v1 import identity_pb2 as identity
from breakwater.leads.v1 import events_pb2, leads_pb2
from breakwater.leads.v1 import intake_pb2 as pb
from services.leads.api.intake import IntakeApi
from services.leads.api.leads import Creations, LeadsApi, create_together
from services.leads.api.messages import struct
from services.leads.datasets.store import PostgresDatasetReader
from services.leads.documents.store import PostgresDocumentStore
from services.leads.intake.forms.store import PostgresFormStore
from services.leads.intake.growth.domain import GROWTH
from services.leads.organisation.domain import Person

SERVICE = identity.Actor(sub="site", role=identity.ROLE_SERVICE, scope=identity.SCOPE_ALL)
OWNER = identity.Actor(sub="1", role=identity.ROLE_SALES, scope=identity.SCOPE_OWN)
MANAGER = identity.Actor(sub="boss", role=identity.ROLE_MANAGER, scope=identity.SCOPE_ALL)
FORM: dict[str, Any] = {
    "title": "展会登记",
    "source": "展会扫码",
    "fields": [
        {"name": "name", "title": "姓名", "mandatory": True},
        {"name": "phone", "title": "手机", "mandatory": True},
        {"name": "company", "title": "公司"},
        {"name": "product", "title": "产品", "choices": ["注塑机", "压铸机"]},
        {"name": "budget", "title": "预算"},
    ],
    "alert": {"to": "owner", "title": "展会压铸机客户", "field": "product", "value": "压铸机"},
    "board": {"title": "本周展会线索", "figure": "assigned_in_time", "days": 7},
}


@pytest.fixture
async def apis(leads) -> AsyncIterator[tuple[IntakeApi, LeadsApi]]:
    """Both servicers over one batcher, one person in the rotation."""
    await leads.people(Person("1", "甲"))
    creations = Creations(partial(create_together, leads.begin_capture, leads.clock))
    task = asyncio.create_task(creations.run())
    intake = IntakeApi(
        creations,
        leads.begin_growth,
        leads.begin_growth_reading,
        partial(PostgresDocumentStore.begin, leads.database, GROWTH),
        partial(PostgresFormStore.begin, leads.database),
        leads.clock,
    )
    yield (
        intake,
        LeadsApi(
            creations,
            leads.begin_reading,
            leads.begin_work,
            leads.begin_follow_ups,
            leads.begin(PostgresDatasetReader),
            leads.begin_growth_reading,
            leads.clock,
        ),
    )
    task.cancel()
    await asyncio.wait([task])


async def created(api: LeadsApi, **fields: Any) -> leads_pb2.CreateLeadResponse:
    request = leads_pb2.CreateLeadRequest(
        **{"actor": SERVICE, "name": "王芳", "source": "官网", "phone": "13800000001", **fields}
    )
    return await api.CreateLead(request, None)


def edit(lead_id: str, actor: identity.Actor = OWNER, **fields: str) -> pb.EditLeadRequest:
    return pb.EditLeadRequest(actor=actor, lead_id=lead_id, fields=fields, reason="电话确认")


@pytest.mark.capability(54, 75, 79)
async def test_one_call_takes_details_and_files_by_reference(apis) -> None:
    """Budget owner and content preference come along; what a later stage asks for is refused at entry too."""
    _, api = apis
    photo = leads_pb2.Attachment(name="名片.jpg", reference="s3://cards/1", media_type="image/jpeg")
    details = {"budget_owner": "生产部", "content_preference": "案例", "product": "注塑机"}
    reply = await created(api, details=details, attachments=[photo])
    read = await api.GetLead(leads_pb2.GetLeadRequest(actor=OWNER, id=reply.lead.id), None)
    assert (dict(read.lead.details), list(read.lead.attachments)) == (details, [photo])
    with pytest.raises(InvalidRequestError) as refused:
        await created(api, details={"purchase_cycle": "半年"})
    assert [error.field for error in refused.value.errors] == ["fields.purchase_cycle"]
    assert "growth stage cycle" in refused.value.errors[0].reason


@pytest.mark.capability(75, 76, 78, 88)
async def test_a_lead_grows_stage_by_stage_and_every_step_is_kept(apis, leads) -> None:
    """What opens is told, what is not open is refused, and the change log says who, from, to and why."""
    intake, api = apis
    lead_id = (await created(api)).lead.id
    with pytest.raises(InvalidRequestError) as refused:
        await intake.EditLead(edit(lead_id, budget="500000", colour="red"), None)
    assert {error.field for error in refused.value.errors} == {"fields.budget", "fields.colour"}
    first = await intake.EditLead(edit(lead_id, product="注塑机"), None)
    assert [stage.open for stage in first.growth.stages] == [True, True, False, False]
    assert list(first.growth.missing) == ["industry", "company_size"]
    grown = await intake.EditLead(
        edit(lead_id, industry="制造业", company_size="200人", purchase_cycle="半年", budget="50,000"), None
    )
    assert all(stage.open for stage in grown.growth.stages)
    assert grown.growth.completeness > first.growth.completeness
    assert grown.growth.lead.budget == "50000"
    read = await intake.GetGrowth(pb.GetGrowthRequest(actor=OWNER, lead_id=lead_id), None)
    assert read.growth == grown.growth
    rows = await leads.rows("SELECT field, before, after, changed_by, reason FROM changes ORDER BY id")
    assert ("product", None, "注塑机", "1", "电话确认") in {tuple(row) for row in rows}
    assert {row["field"] for row in rows} == {"product", "industry", "company_size", "purchase_cycle", "budget"}


@pytest.mark.capability(53, 88)
async def test_a_corrected_phone_is_the_customers_too_and_finds_it_again(apis, leads) -> None:
    """Unless the customer knows better; a number that is somebody else's stays theirs."""
    intake, api = apis
    first = await created(api)
    other = await created(api, name="李强", phone="13900000009")
    await intake.EditLead(edit(first.lead.id, phone="138 0000 0002"), None)
    assert (await created(api, name="谁", phone="13800000002")).lead.customer_id == first.lead.customer_id
    assert await leads.value("SELECT phone FROM customers WHERE id = $1", first.lead.customer_id) == "+8613800000002"
    await intake.EditLead(edit(first.lead.id, phone="13900000009"), None)
    assert (await created(api, name="谁", phone="13900000009")).lead.customer_id == other.lead.customer_id
    with pytest.raises(InvalidRequestError) as refused:
        await intake.EditLead(edit(first.lead.id, phone="明天打", name=""), None)
    assert {error.field for error in refused.value.errors} == {"fields.phone", "fields.name"}
    stranger = identity.Actor(sub="2", role=identity.ROLE_SALES, scope=identity.SCOPE_OWN)
    with pytest.raises(NotFoundError):
        await intake.EditLead(edit(first.lead.id, stranger, product="注塑机"), None)


@pytest.mark.capability(76, 78)
async def test_growth_stages_are_changed_without_a_release_and_completeness_is_held_against_conversion(
    apis, leads
) -> None:
    """A new version is in force with the next call; converted leads are counted by how complete they were."""
    intake, api = apis
    lead_id = (await created(api)).lead.id
    document = {
        "stages": [{"name": "all", "title": "全部", "fields": ["name", "phone", "budget"]}],
        "any_time": ["hobby"],
    }
    put = pb.PutGrowthStagesRequest(actor=MANAGER, document=struct(document), expected_version=1)
    assert (await intake.PutGrowthStages(put, None)).stages.version == 2
    with pytest.raises(ConflictError):
        await intake.PutGrowthStages(put, None)
    grown = await intake.EditLead(edit(lead_id, budget="5", hobby="钓鱼"), None)
    assert grown.growth.completeness == 100
    await created(api, name="李强", phone="")
    await leads.admin.execute("UPDATE leads SET stage = 'converted' WHERE id = $1", lead_id)
    reply = await intake.GetCompleteness(pb.GetCompletenessRequest(actor=MANAGER), None)
    assert [(band.from_percent, band.leads, band.converted) for band in reply.bands] == [(20, 1, 0), (80, 1, 1)]


@pytest.mark.capability(69, 121)
async def test_a_form_is_live_when_it_is_put(apis, leads) -> None:
    """Five fields, one alert, one board row: the next answer is a routed lead, alarms its owner, and is counted."""
    intake, _ = apis
    answer = pb.SubmitFormRequest(
        actor=SERVICE, form="fair", values={"name": "王芳", "phone": "13812345678", "product": "压铸机", "budget": "5"}
    )
    with pytest.raises(NotFoundError):
        await intake.SubmitForm(answer, None)
    put = pb.PutFormRequest(actor=MANAGER, name="fair", document=struct(FORM))
    assert (await intake.PutForm(put, None)).form.document.version == 1
    taken = (await intake.SubmitForm(answer, None)).created
    assert (taken.lead.source, taken.lead.form, taken.lead.owner_id) == ("展会扫码", "fair", "1")
    [payload] = await leads.rows("SELECT payload FROM outbox WHERE type LIKE '%FormAlerted'")
    alert = events_pb2.FormAlerted.FromString(payload["payload"])
    assert (alert.form, alert.lead_id, alert.recipient_id, alert.title) == (
        "fair",
        taken.lead.id,
        "1",
        "展会压铸机客户",
    )
    assert "产品：压铸机" in alert.body
    answer.values["product"] = "注塑机"
    await intake.SubmitForm(answer, None)
    assert await leads.value("SELECT count(*) FROM outbox WHERE type LIKE '%FormAlerted'") == 1
    [row] = (await intake.ListForms(pb.ListFormsRequest(actor=MANAGER), None)).forms
    assert (row.title, row.figure, row.leads, row.value) == ("本周展会线索", "assigned_in_time", 2, 1.0)


@pytest.mark.capability(69, 121)
async def test_a_changed_form_is_in_force_with_the_next_answer_and_a_wrong_one_never(apis) -> None:
    """Whoever has not seen the newest version is told so; sales changes none."""
    intake, _ = apis
    await intake.PutForm(pb.PutFormRequest(actor=MANAGER, name="fair", document=struct(FORM)), None)
    changed = {**FORM, "fields": FORM["fields"][:1]}
    put = pb.PutFormRequest(actor=MANAGER, name="fair", document=struct(changed), expected_version=1)
    with pytest.raises(InvalidRequestError) as refused:
        await intake.PutForm(put, None)
    assert [error.field for error in refused.value.errors] == ["alert.field"]
    put.document["alert"] = {"to": "supervisor", "title": "新线索"}
    await intake.PutForm(put, None)
    with pytest.raises(ConflictError):
        await intake.PutForm(put, None)
    with pytest.raises(InvalidRequestError) as refused:
        await intake.SubmitForm(pb.SubmitFormRequest(actor=SERVICE, form="fair", values={"phone": "1"}), None)
    assert {error.field for error in refused.value.errors} == {"values.phone", "values.name"}
    with pytest.raises(PermissionDeniedError):
        await intake.PutForm(pb.PutFormRequest(actor=OWNER, name="fair", document=struct(FORM)), None)
