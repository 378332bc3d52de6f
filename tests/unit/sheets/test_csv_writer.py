"""CSV that Excel opens right and that runs nothing."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.sheets import Column, ColumnType, CsvWriter
from breakwater.sheets.cells import clean_text

pytestmark = pytest.mark.capability(36, 37)

TEXT = [Column("a", "甲"), Column("b", "乙")]
DANGEROUS = tuple("=+-@＝＋－＠\t\r\n\0")


def write(columns, rows, **options):
    """Writes rows into CSV in memory: (content, summary)."""
    content = io.BytesIO()
    writer = CsvWriter(content.write, columns, **options)
    writer.write_rows(rows)
    summary = writer.close()
    return content.getvalue(), summary


def read(content, encoding="utf-8-sig"):
    """The cells as the standard library reads them."""
    return list(csv.reader(io.StringIO(content.decode(encoding), newline="")))


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), min_size=1, max_size=20))
def test_any_text_reads_back_the_same_and_guarded(rows):
    """A reader gives the text that was written, with an apostrophe where it could have run."""
    content, _ = write(TEXT, rows)
    for shown, row in zip(read(content)[1:], rows, strict=True):
        for cell, value in zip(shown, row, strict=True):
            clean = clean_text(value)
            guarded = value.startswith(DANGEROUS) or clean.startswith(DANGEROUS)
            assert cell == ("'" + clean if guarded else clean)


@pytest.mark.parametrize("start", DANGEROUS)
def test_text_that_could_run_is_guarded(start):
    """Formula signs, their full-width forms and what hides them are led by an apostrophe."""
    content, _ = write(TEXT, [[f"{start}cmd|' /C calc'!A0", "x"]])
    assert read(content)[1][0].startswith("'")


def test_numbers_and_times_are_not_guarded(columns_of_every_type):
    """A negative amount stays a number; what only pretends to be one is guarded."""
    rows = [
        ["x", "-5", "-1.50", "2026-01-05", "2026-01-05T01:30:00.25Z", "true"],
        ["x", "-5+1", "=1", "", "=now", ""],
    ]
    shown = read(write(columns_of_every_type, rows)[0])
    assert shown[0][4] == "创建时间（Asia/Shanghai）"
    assert shown[1] == ["x", "-5", "-1.50", "2026-01-05", "2026-01-05 09:30:00.25", "true"]
    assert shown[2] == ["x", "'-5+1", "'=1", "", "'=now", ""]


def test_excel_is_told_the_encoding():
    """UTF-8 begins with its byte order mark."""
    assert write(TEXT, [])[0].startswith(b"\xef\xbb\xbf")


def test_gbk_on_request_counts_what_it_cannot_hold():
    """Older programs read GBK; a character outside it becomes a question mark and is counted, real ones are not."""
    content, summary = write(TEXT, [["客户?", "😀泰"]], encoding="gbk")
    assert read(content, "gbk")[1] == ["客户?", "?泰"]
    assert summary.characters_replaced == 1


def test_the_summary_counts_rows_and_bytes():
    """What was written is told exactly."""
    content, summary = write(TEXT, [["a", "b"]] * 7)
    assert (summary.rows, summary.size_bytes) == (7, len(content))


def test_datetimes_of_all_shapes_are_local():
    """Fractions, early years and zones written out are understood; a broken one is kept as it came."""
    column = [Column("t", "时间", ColumnType.DATETIME)]
    rows = [["2026-01-05T23:00:00.250Z"], ["2026-01-05T23:00:00+00:00"], ["1890-01-01T00:00:00Z"], ["soon"], [""]]
    rows += [["2026-01-05T23"]]
    assert [(*row, "")[0] for row in read(write(column, rows)[0])[1:]] == [
        "2026-01-06 07:00:00.250",
        "2026-01-06 07:00:00",
        "1890-01-01 08:05:43",
        "soon",
        "",
        "2026-01-05T23",
    ]
    assert read(write(column, rows[:1])[0])[1] == ["2026-01-06 07:00:00.250"]
