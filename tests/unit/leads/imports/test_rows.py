"""Rows into records, and rows that are refused with every reason."""

import io

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.domain import Stage
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_from, shipped_mapping
from services.leads.intake.imports.domain import RAW_CHARS_MAX, ImportLimits, Rejection
from services.leads.intake.imports.rows import Record
from services.leads.intake.imports.targets import LeadTarget, Reading

LIMITS = ImportLimits()
DEFAULT = shipped_mapping("default")


def records(text: str, mapping=DEFAULT, skip=0):
    content = text.encode()
    shape = reading.inspect(content, mapping, "leads.csv", LIMITS)
    return list(reading.read(io.BytesIO(content), mapping, shape, LIMITS, skip=skip))


def refused(text: str, mapping=DEFAULT) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        reading.inspect(text.encode(), mapping, "leads.csv", LIMITS)
    return [(error.field, error.reason) for error in caught.value.errors]


@pytest.mark.capability(53, 70)
def test_chinese_titles_are_enough():
    """姓名, 公司, 手机, 邮箱, 来源 and the like need no mapping."""
    [record] = records(
        "姓名,公司,手机,邮箱,来源,预算,紧急程度,状态\n王芳,海天机械,138-0013-8000,w@h.cn,展会扫码,62万,高,跟进中\n"
    )
    draft = LeadTarget().prepare(record, Reading(DEFAULT, person_id=str))
    assert (draft.name, draft.company, draft.phone) == ("王芳", "海天机械", "+8613800138000")
    assert (str(draft.budget), draft.urgency, draft.stage, draft.source_status) == (
        "620000",
        "high",
        Stage.CONTACTED,
        "跟进中",
    )


def test_a_row_is_refused_with_its_number_all_its_reasons_and_itself():
    """Row 3 lacks its name, has no amount and no day: one rejection says all of it."""
    [good, bad] = records("姓名,来源,预算,创建时间\n张伟,展会,5万,2021-04-05\n,展会,much,2021-02-30\n")
    assert isinstance(good, Record)
    assert bad == Rejection(
        row=3,
        field="name",
        reason="is mandatory and blank; budget: column '预算': 'much' is no amount; "
        "created_at: column '创建时间': '2021-02-30' is no possible time",
        raw=",展会,much,2021-02-30",
    )


def test_a_rejection_is_bounded():
    """However long a row is, 2,000 characters of it are kept."""
    [bad] = records(f"姓名,来源,需求\n张伟,,{'很长' * 5000}\n")
    assert len(bad.raw) == RAW_CHARS_MAX


def test_the_first_column_with_a_value_wins():
    """Of two columns for one field, the blank one does not hide the other."""
    [record] = records("手机,电话,姓名,来源\n,010-62345678,张伟,展会\n")
    assert record.values["phone"] == "010-62345678"


def test_templates_name_records_and_fill_fields():
    """An id is made of cells; one with a blank part names nothing; a constant fills what no column fills."""
    mapping = mapping_from(
        "test",
        """
dataset: activities
blanks: ["0"]
external_id: "crm:call:{ID}"
refs: ["crm:contact:{Contact}", "crm:lead:{Lead}"]
columns: {When: occurred_at}
values: {kind: call, subject: "{First} {Last}"}
""",
    )
    [first, second] = records("ID,Contact,Lead,When,First,Last\n7,0,9,2021-04-05,,Li\n,,,2021-04-05,,\n", mapping)
    assert (first.external_id, first.refs, first.values["subject"]) == ("crm:call:7", ("crm:lead:9",), "Li")
    assert (second.external_id, second.refs) == ("", ())
    assert second.values["kind"] == "call"
    assert "subject" not in second.values


def test_what_does_not_fit_the_mapping_is_told_at_once():
    """Every missing header, a doubled one, a mandatory field without a column: before anything is stored."""
    missing = refused("LEADID,Company\n1,x\n", shipped_mapping("zoho"))
    assert ("file", "the header 'Last Name' is missing") in missing
    assert len(missing) == 10
    assert refused("姓名,来源,来源\na,b,c\n") == [("file", "the header '来源' is there 2 times")]
    [(field, reason)] = refused("公司,来源\na,b\n")
    assert field == "file"
    assert reason.startswith("no column for 姓名 (name): one of name, 姓名")


@pytest.mark.parametrize(("text", "reason"), [("", "is empty"), ("\n \n", "is empty"), ('"姓名,来源\n', "header that")])
def test_a_file_without_a_header_is_refused(text, reason):
    """Nothing, blank lines, or a header that never ends."""
    assert reason in refused(text)[0][1]


def test_a_word_the_mapping_does_not_know_refuses_the_row_and_quotes_it():
    """A new status of the other system is not guessed."""
    mapping = mapping_from(
        "test",
        """
dataset: leads
columns:
  N: name
  S: source
  Status: {field: stage, words: {Open: new}}
""",
    )
    [good, bad] = records("N,S,Status\na,b,ＯＰＥＮ\na,b,Parked\n", mapping)
    assert good.values["stage"] == "new"
    assert (bad.field, bad.reason) == ("stage", "column 'Status': 'Parked' is a word the mapping does not know")


def test_reading_goes_on_behind_any_row():
    """Skipping what was done gives exactly the rest, broken rows counted."""
    text = '姓名,来源\na,1\n"b,2\n\nc,3\nd\ne,5\n'
    everything = records(text)
    assert [row.row for row in everything] == [2, 3, 5, 6, 7]
    for skip in range(6):
        assert records(text, skip=skip) == everything[skip:]
