"""The fast tier makes the cells of the standard library's, whatever it is given."""

import io
import zipfile
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breakwater.sheets import Column, ColumnType, PlainRows, XlsxWriter, vector_rows
from tests.unit.sheets.conftest import HOSTILE

pytestmark = pytest.mark.capability(36, 37)

NUMBERS = st.from_regex(r"-?[0-9]{0,17}\.?[0-9]{0,3}", fullmatch=True)
DAYS = st.from_regex(r"(0001|1899|1900|2024|9999)-[01][0-9]-[0-3][0-9]", fullmatch=True)
INSTANTS = st.from_regex(
    r"(1899|1988|2000|2026|2099)-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,7})?Z", fullmatch=True
)
COLUMNS = [Column(kind.value, kind.value, kind) for kind in ColumnType]
"""One of each type."""


def cells():
    """Canonical texts of each type, and for each type those of all others."""
    any_of_them = st.one_of(HOSTILE, NUMBERS, DAYS, INSTANTS, st.sampled_from(["", "true", "false", "True"]))
    fitting = {
        ColumnType.TEXT: HOSTILE | st.sampled_from(["", "x" * 255, "x" * 256, "😀" * 20_000]),
        ColumnType.INTEGER: NUMBERS,
        ColumnType.DECIMAL: NUMBERS,
        ColumnType.DATE: DAYS,
        ColumnType.DATETIME: INSTANTS,
        ColumnType.BOOLEAN: st.sampled_from(["true", "false", ""]),
    }
    return st.tuples(*(fitting[column.type] | any_of_them for column in COLUMNS))


def same(xml):
    """Where cells are told apart by what they hold, whether the space around them is kept says nothing."""
    return xml.replace(b' xml:space="preserve"', b"")


@settings(deadline=None)
@given(
    st.lists(cells(), min_size=1, max_size=12),
    st.sampled_from(["Asia/Shanghai", "America/St_Johns", "Australia/Lord_Howe"]),
)
@example(
    [("a", "1", "1.5", "2026-01-05", "2026-07-05T01:30:00.25Z", "true"), ("", "", "", "", "", "")], "Asia/Shanghai"
)
@example([("\ud83d", "1.", ".5", "1900-02-28", "2026-04-04T15:30:00Z", "no")], "Australia/Lord_Howe")
def test_it_makes_the_same_cells(rows, zone):
    """Byte by byte but for the mark that keeps spaces, and cuts as many."""
    columns = list(zip(*rows, strict=True))
    plain, fast = (make(COLUMNS, ZoneInfo(zone)) for make in (PlainRows, vector_rows()))
    one_by_one = b"".join(plain.encode(7 + number, [[cell] for cell in row]) for number, row in enumerate(rows))
    assert same(fast.encode(7, columns)) == same(one_by_one)
    assert fast.cells_cut == plain.cells_cut
    with (
        pytest.raises(UnicodeEncodeError)
        if any("\ud800" <= c <= "\udfff" for row in rows for cell in row for c in cell)
        else io.BytesIO()
    ):
        by_series = [pl.Series(values, dtype=pl.String) for values in columns]
        assert same(fast.encode(7, by_series)) == same(one_by_one)


def test_a_file_of_it_is_the_same_file():
    """Over sheets that are full, with columns of polars and with rows, the entries of the archive are equal."""
    rows = [("a", f"{n}", "1.5", "2026-01-05", "2026-01-05T01:30:00Z", "true") for n in range(250)]

    def entries(write, **options):
        target = io.BytesIO()
        writer = XlsxWriter(target.write, COLUMNS, rows_max=101, **options)
        write(writer)
        assert writer.close().rows == 250
        with zipfile.ZipFile(target) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    def by_rows(writer):
        writer.write_rows(rows)

    def by_columns(writer):
        writer.write_columns([pl.Series(values) for values in zip(*rows, strict=True)])

    plain = entries(by_rows)
    assert entries(by_rows, rows=vector_rows()) == plain
    assert entries(by_columns, rows=vector_rows()) == plain


def test_columns_of_two_lengths_are_refused():
    """A table is a rectangle."""
    writer = XlsxWriter(len, COLUMNS[:2])
    for columns in ([["a"]], [["a"], ["b", "c"]]):
        with pytest.raises(ValueError, match="2 columns of one length"):
            writer.write_columns(columns)
