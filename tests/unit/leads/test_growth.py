"""Progressive capture (75, 76, 78), autofill (77) and forms by configuration (69, 121), without a database."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.domain import FormAlert, LeadDraft, normalise
from services.leads.intake.forms.domain import read_form
from services.leads.intake.growth.autofill import from_minutes, from_page_views, from_signature
from services.leads.intake.growth.domain import Growth, GrowthStage, known_of, read_growth

GROWTH = Growth(
    (
        GrowthStage("contact", "联系", ("name", "phone", "email", "product"), (("phone", "email"), ("product",))),
        GrowthStage("profile", "规模", ("industry", "company_size"), (("industry",),)),
        GrowthStage("cycle", "周期", ("purchase_cycle",), (("purchase_cycle",),)),
        GrowthStage("budget", "预算", ("budget",), (("budget",),)),
    ),
    ("title",),
)


@pytest.mark.capability(75, 76)
def test_a_field_of_a_later_stage_is_refused_with_its_stage_and_what_opens_it() -> None:
    """The budget is not asked of somebody whose product nobody knows."""
    [error] = GROWTH.against({"name": "王芳", "phone": "1"}, {"budget": "5", "title": "经理"})
    assert error.field == "fields.budget"
    assert error.reason == "belongs to growth stage budget (预算), which opens when product is known"


@pytest.mark.capability(75, 76)
def test_one_call_may_go_through_several_stages_but_leaves_none_out() -> None:
    """What an earlier stage is told opens the next; a gap closes all that follow."""
    known = {"name": "王芳", "email": "a@b.cn"}
    assert (
        GROWTH.against(known, {"product": "注塑机", "industry": "制造", "purchase_cycle": "半年", "budget": "5"}) == []
    )
    refused = GROWTH.against(known, {"product": "注塑机", "purchase_cycle": "半年", "budget": "5"})
    assert [error.field for error in refused] == ["fields.purchase_cycle", "fields.budget"]


VALUES = st.dictionaries(st.sampled_from(GROWTH.fields), st.sampled_from(["", "1"]), max_size=8)


@pytest.mark.capability(75, 76)
@given(VALUES, VALUES)
def test_whatever_is_taken_every_stage_before_it_is_complete(known: Mapping[str, str], told: Mapping[str, str]) -> None:
    """Of any two sets of fields: a value of a stage is taken only when the stages before it are complete."""
    if GROWTH.against(known, told):
        return
    after = {**known, **told}
    for number, stage in enumerate(GROWTH.stages):
        if any(told.get(name) for name in stage.fields):
            assert not any(earlier.missing(after) for earlier in GROWTH.stages[:number])


@pytest.mark.capability(78)
def test_completeness_is_the_share_of_fields_that_are_known() -> None:
    """Of nine fields three: a third; a blank counts for nothing."""
    known = known_of(LeadDraft("王芳", "官网", phone="13812345678", budget=Decimal(5), details={"product": ""}))
    assert GROWTH.completeness(known) == 33


@pytest.mark.capability(75)
def test_every_mistake_in_growth_stages_is_told_with_its_place() -> None:
    """A field twice, a group that names no field of its stage, a key nobody knows."""
    document = {
        "stages": [
            {"name": "a", "title": "一", "fields": ["phone"], "complete_with": ["phone|email"]},
            {"name": "B", "title": "二", "fields": ["phone"], "complete": []},
        ],
    }
    with pytest.raises(InvalidRequestError) as refused:
        read_growth(document)
    assert [error.field for error in refused.value.errors] == [
        "stages[0].complete_with[0]",
        "stages[1].complete",
        "stages[1].name",
        "stages[1].fields[0]",
    ]


@pytest.mark.capability(77)
@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        (
            "王芳 采购部经理\n宁波恒力精密机械有限公司\nTel: +86 138-1234-5678\nfang@hengli.cn | www.hengli.cn",
            {"name": "王芳", "department": "采购部", "title": "经理", "company": "宁波恒力精密机械有限公司",
             "phone": "+8613812345678", "email": "fang@hengli.cn", "website": "www.hengli.cn"},
        ),
        ("职务：生产总监\n部门：制造中心", {"title": "生产总监", "department": "制造中心"}),
        ("John Smith\nPurchasing Manager\nDepartment of Logistics\nAcme GmbH",
         {"title": "Manager", "department": "Logistics", "company": "Acme GmbH"}),
        ("此致\n敬礼", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_a_signature_says_title_and_department(signature: str, expected: Mapping[str, str]) -> None:
    """And what else stands there; nothing is made up where nothing is said."""
    found = from_signature(signature)
    assert {name: found[name] for name in expected} == expected
    assert expected or found.keys() <= {"name"}


@pytest.mark.capability(77)
def test_minutes_and_page_views_fill_what_they_say() -> None:
    """Labelled lines become fields; what somebody looked at three times they like."""
    minutes = from_minutes("会议纪要\n客户：王芳\n1. 预算：50万\n采购周期: 半年")
    assert (minutes["name"], minutes["budget"], minutes["purchase_cycle"]) == ("王芳", "50万", "半年")
    assert minutes["minutes"].startswith("会议纪要")
    assert from_page_views(["/cases/1", "/cases/2", "/about", "/cases/3"])["content_preference"] == "cases"
    assert "content_preference" not in from_page_views(["/cases/1"])


@pytest.mark.capability(77)
@given(st.text("王芳经理采购部:：\n0123456789@.cn ", max_size=300))
def test_autofill_takes_any_text(text: str) -> None:
    """No text is too odd, and no value longer than a field may be."""
    for found in (from_signature(text), from_minutes(text)):
        assert all(0 < len(value) <= 200 for name, value in found.items() if name != "minutes")


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
    "alert": {"to": "supervisor", "title": "展会大客户", "field": "product", "value": "压铸机"},
    "board": {"title": "展会线索", "figure": "leads", "days": 7},
}


@pytest.mark.capability(69, 121)
def test_an_answer_to_a_form_is_a_lead_with_its_source_and_alert() -> None:
    """Five fields, columns and details alike; the alert goes out for the value it names."""
    form = read_form("fair", FORM)
    lead = normalise(form.lead({"name": "王芳", "phone": "13812345678", "product": "压铸机", "budget": "500000"}))
    assert (lead.source, lead.form, lead.details, lead.budget) == ("展会扫码", "fair", {"product": "压铸机"}, 500_000)
    assert lead.alert == FormAlert(
        "supervisor", "展会大客户", "姓名：王芳，手机：13812345678，产品：压铸机，预算：500000"
    )
    assert form.lead({"name": "王芳", "phone": "1", "product": "注塑机"}).alert is None


@pytest.mark.capability(69, 121)
def test_an_answer_that_is_wrong_names_each_value() -> None:
    """Mandatory, choices, numbers, and fields the form does not ask for."""
    with pytest.raises(InvalidRequestError) as refused:
        read_form("fair", FORM).lead({"name": " ", "phone": "1", "product": "机床", "budget": "面议", "age": "5"})
    assert {error.field for error in refused.value.errors} == {
        "values.name",
        "values.product",
        "values.budget",
        "values.age",
    }


@pytest.mark.capability(69, 121)
@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"fields": [*FORM["fields"], {"name": "need", "title": "需求"}]}, "fields"),
        ({"fields": [{"name": "phone", "title": "手机"}]}, "fields"),
        ({"fields": [FORM["fields"][0], {"name": "Phone", "title": ""}]}, "fields[1].title"),
        ({"fields": [FORM["fields"][0], {"name": "Phone", "title": "手机"}]}, "fields[1].name"),
        ({"alert": {"to": "owner", "title": "新线索", "field": "age", "value": "5"}}, "alert.field"),
        ({"alert": "owner"}, "alert"),
        ({"board": {"title": "线索", "figure": "sum", "days": 7}}, "board.figure"),
        ({"board": {"title": "线索", "figure": "leads", "days": 0}}, "board.days"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_mistake_in_a_form_is_told_with_its_place(change: Mapping[str, Any], place: str) -> None:
    """Nothing is put in force that would fail at the first answer."""
    with pytest.raises(InvalidRequestError) as refused:
        read_form("fair", {**FORM, **change})
    assert place in {error.field for error in refused.value.errors}
