"""The mapping language: what it says, and every error with its place."""

import re
from pathlib import Path

import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.imports.documents import DOCUMENT_BYTES_MAX, mapping_from, shipped_mapping, shipped_mappings
from services.leads.intake.imports.fields import FIELDS, Dataset
from services.leads.intake.imports.mapping import Mapping, fold


def errors_of(document: str) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        mapping_from("test", document)
    return {error.field: error.reason for error in caught.value.errors}


def test_every_shipped_mapping_is_valid():
    """What comes with us can be used; the names callers rely on are there."""
    mappings = {name: shipped_mapping(name) for name in shipped_mappings()}
    assert set(mappings) >= {
        "default", "zoho", "zoho-users", "zoho-contacts", "zoho-potentials", "zoho-calls", "zoho-invoices"
    }  # fmt: skip
    related = [item.mapping for mapping in mappings.values() for item in (*mapping.before, *mapping.after)]
    assert set(related) <= set(mappings)


def test_every_field_of_a_lead_has_a_column_in_the_default_mapping():
    """Our own names and the Chinese titles can be used without writing a mapping."""
    mapping = shipped_mapping("default")
    assert {column.field for column in mapping.columns} == set(FIELDS[Dataset.LEADS])
    headers = {fold(column.header) for column in mapping.columns}
    assert headers >= {fold(title) for title in ("姓名", "公司", "手机", "邮箱", "来源", "Name", "ＰＨＯＮＥ")}


def test_scalars_are_text_whatever_yaml_thinks_of_them():
    """`Yes:` is a word of the file and no boolean, `0123` keeps its zero."""
    mapping = mapping_from(
        "test",
        """
dataset: leads
columns:
  A: name
  B: source
  C: {field: converted, words: {Yes: true, 0123: false}}
""",
    )
    assert mapping.columns[2].words == {"yes": "true", "0123": "false"}


def test_one_column_may_fill_several_fields():
    """A status word gives the stage and is kept as it came."""
    columns = [column for column in shipped_mapping("zoho").columns if column.header == "Lead Status"]
    assert [column.field for column in columns] == ["stage", "source_status"]


def test_every_error_is_told_at_once_with_its_line():
    """An unknown field, an unknown setting, a wrong word, a wrong zone and what is missing: one answer."""
    errors = errors_of(
        """dataset: leads
colour: red
zone: Mars/Olympus
columns:
  Name: nmae
  Source: source
  Status:
    field: stage
    words:
      Open: opened
    formats: ["%d"]
optional: [Nonsense]
"""
    )
    assert set(errors) == {
        "mapping.colour",
        "mapping.zone",
        "mapping.columns.Name",
        "mapping.columns.Status.formats",
        "mapping.columns.Status.words.Open",
        "mapping.columns",
        "mapping.optional.0",
    }
    assert errors["mapping.columns.Name"].startswith("line 5: 'nmae' is no field")
    assert errors["mapping.columns.Status.words.Open"].startswith("line 10:")
    assert "mandatory field 'name'" in errors["mapping.columns"]


@pytest.mark.parametrize(
    ("document", "field", "reason"),
    [
        ("", "mapping", "must be a table"),
        ("[1, 2]", "mapping", "must be a table"),
        ("dataset: cats", "mapping.dataset", "is none of leads"),
        ("dataset: leads\ncolumns: [", "mapping", "line"),
        ("dataset: leads\ncolumns: {Name: name, name: source}", "mapping.columns.name", "same header"),
        ("dataset: leads\ncolumns: {Name: name, Name: source}", "mapping", "is there twice"),
        ("a: &a [1]\nb: *a", "mapping", "aliases are not allowed"),
        ("dataset: !!python/object:os.system leads", "mapping.columns", "mandatory"),
        ("[" * 5000, "mapping", "is no YAML"),
        ("x" * (DOCUMENT_BYTES_MAX + 1), "mapping", "is larger than"),
        ("dataset: leads\nvalues: {source: '{Open'}", "mapping.values.source", "brace"),
        ("dataset: leads\nrefs: ['a:{B}']", "mapping.refs", "use external_id"),
        (
            "dataset: leads\nrelated: {after: [{file: ../secret, mapping: x}]}",
            "mapping.related.after.0.file",
            "same folder",
        ),
        ("dataset: leads\nencoding: rot13", "mapping.encoding", "is none of"),
        ("dataset: leads\ndelimiter: x", "mapping.delimiter", "is none of"),
        ("dataset: leads\nphone_region: China", "mapping.phone_region", "is no country"),
    ],
)
def test_what_is_wrong_is_named(document, field, reason):
    """Each fault names its place; hostile documents are refused like careless ones."""
    errors = errors_of(document)
    assert field in errors
    assert reason in errors[field]


def test_an_unknown_name_lists_those_there_are():
    """A caller who misspells a mapping sees the right names."""
    with pytest.raises(InvalidRequestError) as caught:
        shipped_mapping("zohoo")
    [error] = caught.value.errors
    assert error.field == "mapping"
    assert "zoho-calls" in error.reason


def test_a_name_is_never_a_path():
    """Nothing but the shipped files can be named."""
    for name in ("../mappings/zoho", "/etc/passwd", "zoho.yaml", ""):
        with pytest.raises(InvalidRequestError):
            shipped_mapping(name)


def test_headers_compare_without_case_space_and_width():
    """What people see as the same header is the same header."""
    assert (
        len(
            {
                fold(text)
                for text in ("Lead Source", "lead source", "LEADSOURCE", "Ｌｅａｄ　Ｓｏｕｒｃｅ", "\ufeffLead Source ")
            }
        )
        == 1
    )


def test_a_mapping_is_immutable():
    """Validated once, the same for every row."""
    mapping = shipped_mapping("zoho")
    assert isinstance(mapping, Mapping)
    with pytest.raises(AttributeError):
        mapping.zone = "UTC"


MANUAL = (Path(__file__).parents[4] / "docs/mappings.md").read_text(encoding="utf-8")


def test_the_manual_s_example_is_a_mapping():
    """What people copy from docs/mappings.md works."""
    [example] = re.findall(r"```yaml\n(.*?)```", MANUAL, re.DOTALL)
    mapping = mapping_from("example", example)
    assert mapping.may_lack("产品")
    assert [item.file for item in mapping.after] == ["通话.csv"]


@pytest.mark.parametrize("dataset", Dataset)
def test_the_manual_names_every_field(dataset):
    """Each field of a dataset stands in its row, the mandatory ones in bold."""
    [row] = re.findall(rf"^\| `{dataset}` \| (.*) \|$", MANUAL, re.MULTILINE)
    for name, field in FIELDS[dataset].items():
        assert re.search(rf"\*\*{name}\*\*" if field.mandatory else rf"(?<![\w*]){name}(?![\w*])", row), name
