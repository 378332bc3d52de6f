"""What a lead must be to be taken in."""

from dataclasses import replace
from decimal import Decimal

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.domain import LENGTHS_MAX, Attachment, LeadDraft, facts_of, merge, money, normalise

DRAFT = LeadDraft(name="王芳", source="官网")


def refused(draft: LeadDraft) -> set[str]:
    with pytest.raises(InvalidRequestError) as caught:
        normalise(draft)
    return {error.field for error in caught.value.errors}


def test_every_field_that_is_wrong_is_named_at_once() -> None:
    """Whoever filled in the form sees all of it in one go (99)."""
    draft = LeadDraft(
        name=" ",
        source="",
        phone="abc",
        email="nobody",
        budget=Decimal(-1),
        utm={"source": "x" * 201},
        need="x" * 2_001,
    )
    assert refused(draft) == {"name", "source", "phone", "email", "budget", "utm.source", "need"}


@pytest.mark.parametrize("field", sorted(LENGTHS_MAX.keys() - {"phone", "email"}))
def test_each_text_has_its_limit(field: str) -> None:
    """The largest is taken, one more is refused by name."""
    at_limit = replace(DRAFT, **{field: "x" * LENGTHS_MAX[field]})
    assert getattr(normalise(at_limit), field) == "x" * LENGTHS_MAX[field]
    assert refused(replace(DRAFT, **{field: "x" * (LENGTHS_MAX[field] + 1)})) == {field}


@pytest.mark.capability(53)
def test_full_width_forms_and_spaces_do_not_make_another_customer() -> None:
    """１３８… typed on a Chinese keyboard is 138…; capitals and blanks around an address say nothing."""
    draft = normalise(replace(DRAFT, name="　王芳 ", phone="１３８１２３４５６７８", email=" Fang.WANG@Example.COM "))
    assert (draft.name, draft.phone, draft.email) == ("王芳", "+8613812345678", "fang.wang@example.com")


def test_control_characters_are_dropped() -> None:
    """A pasted NUL must not reach the database, where it would fail."""
    assert normalise(replace(DRAFT, need="要\x00报价\x1b[31m")).need == "要报价[31m"


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("500000", "500000"),
        ("1,200.50", "1200.50"),
        ("$22,247.63", "22247.63"),
        ("￥ 80", "80"),
        ("", None),
        (" ", None),
    ],
)
def test_money_is_exact(written: str, value: str | None) -> None:
    """Amounts are decimals, never floats."""
    assert money(written) == (None if value is None else Decimal(value))


@pytest.mark.parametrize("written", ["many", "NaN", "Infinity", "1e"])
def test_what_is_no_amount_is_refused(written: str) -> None:
    """A word is not zero."""
    with pytest.raises(ValueError, match="is not a decimal number"):
        money(written)


@pytest.mark.capability(53)
def test_merging_loses_nothing() -> None:
    """What the newer row leaves blank stays known."""
    known = replace(DRAFT, company="恒力", budget=Decimal(5), utm={"source": "baidu"})
    merged = merge(known, replace(DRAFT, name="王芳芳", industry="制造业"))
    assert (merged.name, merged.company, merged.industry) == ("王芳芳", "恒力", "制造业")
    assert (merged.budget, merged.utm) == (Decimal(5), {"source": "baidu"})


@pytest.mark.capability(53)
def test_merging_keeps_what_only_one_of_two_rows_tells() -> None:
    """Details and campaign values are put together by name, and files stay what they are."""
    file = Attachment("名片", "files/1")
    known = replace(DRAFT, details={"product": "注塑机", "title": "经理"}, utm={"source": "baidu"}, attachments=(file,))
    merged = merge(known, replace(DRAFT, details={"title": "总监"}, utm={"term": "机床"}))
    assert merged.details == {"product": "注塑机", "title": "总监"}
    assert merged.utm == {"source": "baidu", "term": "机床"}
    assert merged.attachments == (file,)


def test_rules_may_ask_for_campaign_values() -> None:
    """UTM values are facts under utm.KEY."""
    assert facts_of(replace(DRAFT, utm={"campaign": "春季"}))["utm.campaign"] == "春季"
