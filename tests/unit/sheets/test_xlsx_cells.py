"""What goes into a cell comes out of it, in every reader."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from breakwater.sheets import Column, ColumnType
from breakwater.sheets.cells import CELL_UNITS_MAX, clean_text
from tests.unit.sheets.conftest import HOSTILE

pytestmark = pytest.mark.capability(36, 37)

TEXT = [Column("a", "甲"), Column("b", "乙")]
slow_is_fine = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@slow_is_fine
@given(st.lists(st.tuples(HOSTILE, HOSTILE), min_size=1, max_size=20))
@example([("_x000D_", "=HYPERLINK(1)"), ("]]>", " x "), ("\r\n", "\ud83d"), ("客户", '"quoted" & <b>')])
def test_any_text_reads_back_the_same(xlsx, by_openpyxl, by_calamine, rows):
    """openpyxl and calamine give the text that was written, less what no XML can hold."""
    content, summary = xlsx(TEXT, rows)
    wanted = [[clean_text(cell) for cell in row] for row in rows]
    for read in (by_openpyxl(content)[1:], by_calamine(content)[1:]):
        # readers leave out empty rows and columns at the edges of a sheet
        padded = [[*(cell or "" for cell in row), ""][:2] for row in read] + [["", ""]] * (len(rows) - len(read))
        assert padded == wanted
    assert summary.rows == len(rows)


@slow_is_fine
@given(
    st.lists(
        st.tuples(
            st.integers(-(10**15) + 1, 10**15 - 1),
            st.decimals(-(10**12), 10**12, places=2),
            st.dates(date(1900, 3, 1), date(9999, 12, 30)),
            st.datetimes(datetime(1901, 1, 2), datetime(2099, 12, 30), timezones=st.just(UTC)),  # noqa: DTZ001
            st.booleans(),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_type_reads_back_with_its_type(columns_of_every_type, xlsx, by_openpyxl, rows):
    """Numbers, dates, times and booleans come back as such, times in the team's zone."""
    content, _ = xlsx(columns_of_every_type, [["0086", *row] for row in rows])
    zone = ZoneInfo("Asia/Shanghai")
    for read, (visits, budget, day, instant, active) in zip(by_openpyxl(content)[1:], rows, strict=True):
        assert read[:2] == ["0086", visits]
        assert Decimal(repr(read[2])) == budget
        assert read[3].date() == day
        assert abs(read[4] - instant.astimezone(zone).replace(tzinfo=None)) < timedelta(milliseconds=1)
        assert read[5] is active


def test_canonical_text_and_python_values_give_the_same_file(columns_of_every_type, xlsx):
    """Rows off the wire and rows of Python values are one and the same."""
    from_wire = ["138", "7", "1.50", "2026-01-05", "2026-01-05T01:30:00Z", "true"]
    instant = datetime(2026, 1, 5, 9, 30, tzinfo=ZoneInfo("Asia/Shanghai"))
    from_python = ["138", 7, Decimal("1.50"), date(2026, 1, 5), instant, True]
    assert xlsx(columns_of_every_type, [from_wire]) == xlsx(columns_of_every_type, [from_python])


@pytest.mark.parametrize(
    ("column_type", "value"),
    [
        (ColumnType.INTEGER, "1234567890123456"),
        (ColumnType.INTEGER, "1e5"),
        (ColumnType.INTEGER, "1_000"),
        (ColumnType.INTEGER, "１２"),
        (ColumnType.DECIMAL, "12345678901234.56"),
        (ColumnType.DECIMAL, "NaN"),
        (ColumnType.DECIMAL, "1.2.3"),
        (ColumnType.DECIMAL, "=1+1"),
        (ColumnType.DATE, "1899-12-31"),
        (ColumnType.DATE, "2026-02-30"),
        (ColumnType.DATETIME, "yesterday"),
        (ColumnType.DATETIME, "2026-01-05T01:30:00"),
        (ColumnType.DATETIME, "2026-01-05T25:30:00Z"),
        (ColumnType.BOOLEAN, "maybe"),
    ],
)
def test_what_does_not_fit_its_column_is_kept_as_text(xlsx, by_openpyxl, column_type, value):
    """No cell is lost, rounded or turned into a formula because its column promised another type."""
    content, _ = xlsx([Column("a", "甲", column_type)], [[value]])
    assert by_openpyxl(content)[1] == [value]


@pytest.mark.parametrize("value", ["-5", "100000000000000000000", "-0.01", "0007"])
def test_numbers_of_unusual_shape_stay_numbers(xlsx, by_openpyxl, value):
    """A sign, leading or trailing zeros do not make a number text."""
    content, _ = xlsx([Column("a", "甲", ColumnType.DECIMAL)], [[value]])
    assert by_openpyxl(content)[1] == [float(value)]


def test_times_follow_the_zone_through_a_change_of_clocks(xlsx, by_openpyxl):
    """Each instant gets the offset of its own moment, also within the hour in which clocks change."""
    column = [Column("t", "时间", ColumnType.DATETIME)]
    instants = ["2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-25T00:30:00.5Z", "2026-10-25T01:30:00Z"]
    content, _ = xlsx(column, [[instant] for instant in instants], zone=ZoneInfo("Europe/Berlin"))
    header, *read = [row[0] for row in by_openpyxl(content)]
    assert header == "时间（Europe/Berlin）"
    assert [str(moment) for moment in read] == [
        "2026-03-29 01:59:59",
        "2026-03-29 03:00:00",
        "2026-10-25 02:30:00.500000",
        "2026-10-25 02:30:00",
    ]


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"])
def test_zones_with_odd_offsets_are_right(xlsx, by_openpyxl, zone):
    """Offsets and changes of half hours are followed."""
    instants = [datetime(2026, 4, 4, tzinfo=ZoneInfo("UTC")) + timedelta(minutes=7 * step) for step in range(300)]
    content, _ = xlsx([Column("t", "时间", ColumnType.DATETIME)], [[i] for i in instants], zone=ZoneInfo(zone))
    wanted = [instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for instant in instants]
    assert [row[0] for row in by_openpyxl(content)[1:]] == wanted


@pytest.mark.parametrize(("character", "kept"), [("客", CELL_UNITS_MAX), ("😀", CELL_UNITS_MAX // 2)])
def test_a_cell_past_the_limit_is_cut_and_counted(xlsx, by_openpyxl, character, kept):
    """Excel counts UTF-16 units: a cell is cut to 32,767 of them, never inside a character, and that is told."""
    content, summary = xlsx([Column("a", "甲")], [[character * 40_000], [character * kept]])
    assert [len(row[0]) for row in by_openpyxl(content)[1:]] == [kept, kept]
    assert summary.cells_cut == 1


def test_a_datetime_without_zone_is_refused(xlsx):
    """A naive time means nothing and is never guessed."""
    with pytest.raises(ValueError, match="without zone"):
        xlsx([Column("t", "时间", ColumnType.DATETIME)], [[datetime(2026, 1, 5)]])  # noqa: DTZ001


def test_a_value_of_no_known_kind_is_refused(xlsx):
    """A float has no exact text and is not taken."""
    with pytest.raises(TypeError, match="float"):
        xlsx([Column("a", "甲", ColumnType.DECIMAL)], [[0.1]])


def test_a_row_of_another_length_is_refused(xlsx):
    """Cells never slip into a neighbour's column."""
    with pytest.raises(ValueError, match="cells"):
        xlsx(TEXT, [["a"]])
    with pytest.raises(ValueError, match="shorter"):
        xlsx(TEXT, [["a", "b"], ["a"]])


def test_libreoffice_reads_the_same_cells(columns_of_every_type, xlsx, by_libreoffice):
    """LibreOffice opens the file without repair and shows every type as it was meant, hostile text included."""
    hostile = [
        "0013800138000",
        "=1+1",
        "＝cmd",
        "_x000D_",
        "a_x0041_",
        " 前后空格 ",
        "第一行\n第二行\t三",
        '"引号", 逗号',
        "<b>&amp;]]>",
        "\x00\x0b控制\x85",
        "\ud83d半个",
        "😀" * 300,
        "\u3000全角",
    ]
    values = ["-7", "123456.78", "2026-02-28", "2026-02-28T23:30:15Z", "true"]
    content, _ = xlsx(columns_of_every_type, [[text, *values] for text in hostile], sheet_title="线索")
    shown = list(csv.reader(io.StringIO(by_libreoffice(content)["线索"], newline="")))
    assert shown[0] == ["电话", "次数", "预算", "日期", "创建时间（Asia/Shanghai）", "有效"]
    assert [row[0] for row in shown[1:]] == [clean_text(text) for text in hostile]
    assert {tuple(row[1:]) for row in shown[1:]} == {("-7", "123456.78", "2026-02-28", "2026-03-01 07:30:15", "TRUE")}
