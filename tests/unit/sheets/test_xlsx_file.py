"""The file around the cells: a valid ZIP, the look, sheets and notes, and a stream."""

import io
import random
import re
import struct
import tracemalloc
import zipfile

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakwater.sheets import Column, ColumnType, FileFullError, Note, XlsxWriter, isal_deflate, zip32
from breakwater.sheets.xlsx_writer import sheet_title

pytestmark = pytest.mark.capability(36, 37)

COLUMN = [Column("a", "甲")]


def test_the_zip_is_sound_and_plain(columns_of_every_type, xlsx):
    """Every entry's checksum and sizes hold, and none uses the 64-bit extension that Excel rejects."""
    content, summary = xlsx(columns_of_every_type, [["a", 1, None, None, None, None]] * 5_000)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert all(entry.extra == b"" and entry.flag_bits & 0x08 for entry in archive.infolist())
        assert archive.namelist()[0] == "_rels/.rels"
    assert b"PK\6\6" not in content
    assert summary.size_bytes == len(content)


def test_bytes_leave_before_the_first_row(columns_of_every_type):
    """A download starts at once: the constructor already writes."""
    sent = []
    XlsxWriter(sent.append, columns_of_every_type)
    assert b"".join(sent).startswith(b"PK\3\4")


def test_memory_does_not_grow_with_the_rows(columns_of_every_type):
    """A file of many rows takes no more memory than one of few."""
    line = random.Random(7)

    def rows(count):
        for number in range(count):
            yield (line.randbytes(8).hex(), number, None, None, f"2026-01-{number % 28 + 1:02}T01:00:00Z", None)

    def peak(count):
        writer = XlsxWriter(len, columns_of_every_type)
        tracemalloc.start()
        writer.write_rows(rows(count))
        writer.close()
        bytes_max = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_max

    few, many = peak(3_000), peak(30_000)
    assert many < 1.2 * few < 8_000_000


def test_equal_rows_make_equal_files(columns_of_every_type, xlsx):
    """No time and no chance in a file: a job taken over makes the same bytes."""
    rows = [["a", 1, "1.5", "2026-01-05", None, True]]
    assert xlsx(columns_of_every_type, rows) == xlsx(columns_of_every_type, rows)


def test_both_compressors_pack_the_same_sheets(columns_of_every_type, xlsx):
    """isal is faster and nothing else."""
    rows = [[str(number), number, None, None, None, None] for number in range(3_000)]
    standard, fast = xlsx(columns_of_every_type, rows)[0], xlsx(columns_of_every_type, rows, deflate=isal_deflate())[0]
    with zipfile.ZipFile(io.BytesIO(standard)) as one, zipfile.ZipFile(io.BytesIO(fast)) as other:
        assert {name: one.read(name) for name in one.namelist()} == {
            name: other.read(name) for name in other.namelist()
        }


def test_the_sheet_is_ready_to_work_with(columns_of_every_type, xlsx):
    """Header in bold and frozen, a filter over all rows, columns wide enough, the zone named."""
    rows = [["13800138000" * 3, 1, "1.5", "2026-01-05", "2026-01-05T01:00:00Z", True]] * 3
    book = openpyxl.load_workbook(io.BytesIO(xlsx(columns_of_every_type, rows, sheet_title="线索")[0]))
    sheet = book.active
    assert sheet.title == "线索"
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:F4"
    assert all(cell.font.b for cell in sheet[1])
    assert sheet["E1"].value == "创建时间（Asia/Shanghai）"
    assert sheet.column_dimensions["A"].width > 33
    assert [cell.number_format for cell in sheet[2]] == [
        "@",
        "0",
        "#,##0.00",
        r"yyyy\-mm\-dd",
        r"yyyy\-mm\-dd\ hh:mm:ss",
        "General",
    ]


@given(st.lists(st.text(max_size=10), min_size=1, max_size=5))
def test_no_text_ever_becomes_a_formula(xlsx, rows):
    """There is no formula element in a sheet, whatever the cells say."""
    content, _ = xlsx(COLUMN, [["=" + text] for text in rows])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert b"<f" not in archive.read("xl/worksheets/sheet1.xml")


def test_a_full_sheet_is_followed_by_another(xlsx, by_openpyxl, by_calamine):
    """Past the rows a sheet may have, a new one begins with its own header, and no row is lost."""
    content, summary = xlsx(COLUMN, [[str(number)] for number in range(25)], sheet_title="线索", rows_max=11)
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames == ["线索", "线索 (2)", "线索 (3)"]
    assert [sheet.auto_filter.ref for sheet in book] == ["A1:A11", "A1:A11", "A1:A6"]
    read = [by_openpyxl(content, sheet) for sheet in range(3)]
    assert read == [by_calamine(content, sheet) for sheet in range(3)]
    assert [rows[0] for rows in read] == [["甲"]] * 3
    assert [row[0] for rows in read for row in rows[1:]] == [str(number) for number in range(25)]
    assert (summary.rows, summary.sheets) == (25, 3)


def test_a_sheet_ends_before_its_xml_is_too_long(xlsx, by_openpyxl):
    """The limit of an entry's bytes begins a new sheet as the limit of rows does."""
    rows = [[f"{number:06}"] for number in range(13_000)]
    content, summary = xlsx(COLUMN, rows, sheet_bytes_max=100_000)
    assert summary.sheets == 3
    assert [row for sheet in range(3) for row in by_openpyxl(content, sheet)[1:]] == rows


def test_a_file_past_four_gigabytes_is_refused(monkeypatch):
    """What the format cannot hold is an error, not a broken file."""
    monkeypatch.setattr(zip32, "SIZE_BYTES_MAX", 20_000)
    writer = XlsxWriter(len, COLUMN)
    noise = random.Random(7)
    with pytest.raises(FileFullError, match="4 GiB"):
        writer.write_rows([noise.randbytes(100).hex()] for _ in range(5_000))


def test_a_note_is_shown_on_opening_and_the_data_stay_first(xlsx, by_openpyxl):
    """A degraded file says so itself; programs that read the first sheet still find the rows there."""
    note = Note("此文件由本地引擎生成", [("缺少字段", "预算、需求"), ("原因", "文件服务不可用")])
    content, summary = xlsx(COLUMN, [["x"]], sheet_title="线索", note=note)
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames == ["线索", "说明"]
    assert book.active.title == "说明"
    assert [bool(sheet.sheet_view.tabSelected) for sheet in book] == [False, True]
    shown = [cell for row in by_openpyxl(content, 1) for cell in row if cell]
    assert shown == ["此文件由本地引擎生成", "缺少字段", "预算、需求", "原因", "文件服务不可用"]
    assert summary.sheets == 1


def test_a_table_without_rows_is_a_file_with_a_header(columns_of_every_type, xlsx, by_openpyxl):
    """Nothing to export is an answer, not an error."""
    content, summary = xlsx(columns_of_every_type, [])
    assert len(by_openpyxl(content)) == 1
    assert summary.rows == 0


def test_columns_past_z_have_their_letters(xlsx, by_openpyxl, by_calamine):
    """References go on after Z and ZZ."""
    row = [str(number) for number in range(800)]
    content, _ = xlsx([Column(name, name) for name in row], [row])
    assert by_openpyxl(content) == by_calamine(content) == [row, row]


def test_a_table_without_columns_is_refused():
    """There is no sheet without columns, and none with more than Excel has."""
    for count in (0, 16_385):
        with pytest.raises(ValueError, match="columns"):
            XlsxWriter(len, COLUMN * count)


@given(st.text(max_size=50), st.integers(1, 4))
def test_any_title_becomes_one_that_excel_accepts(title, sheets):
    """Titles are short, free of forbidden characters, never reserved, and no two are equal."""
    taken = set()
    for _ in range(sheets):
        made = sheet_title(title, taken)
        assert 0 < len(made.encode("utf-16-le")) // 2 <= 31
        assert not re.search(r"[\[\]:*?/\\]", made)
        assert made.strip("'") == made
        assert made.strip()
        assert made.casefold() != "history"
        assert made.casefold() not in {other.casefold() for other in taken}
        taken.add(made)


@pytest.mark.parametrize("title", ["线索/客户", "history", "''", "a" * 40, '<&">', "\ud83d", ""])
def test_a_workbook_opens_with_any_title(xlsx, title):
    """The title is escaped wherever it stands, the filter's name included."""
    content, _ = xlsx(COLUMN, [["x"]] * 3, sheet_title=title, rows_max=3)
    book = openpyxl.load_workbook(io.BytesIO(content))
    assert book.sheetnames[0] == sheet_title(title, set())
    assert len(book.sheetnames) == 2


def test_libreoffice_opens_several_sheets_and_a_note(columns_of_every_type, xlsx, by_libreoffice):
    """LibreOffice finds every sheet of a long and degraded file."""
    content, _ = xlsx(
        columns_of_every_type,
        [["a", 1, "1.5", "2026-01-05", "2026-01-05T01:00:00Z", True]] * 10,
        sheet_title="客户's",
        rows_max=8,
        note=Note("此文件由本地引擎生成", [("缺少", "预算")]),
    )
    shown = by_libreoffice(content)
    assert set(shown) == {"客户's", "客户's (2)", "说明"}
    assert shown["客户's"].count("\n") == 8
    assert shown["客户's (2)"].count("\n") == 4


def test_sizes_in_the_directory_are_those_of_the_entries(xlsx):
    """The data descriptor of an entry and the directory agree."""
    content, _ = xlsx(COLUMN, [["x"]])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            end = entry.header_offset + 30 + len(entry.filename.encode()) + entry.compress_size
            descriptor = struct.unpack("<4sIII", content[end : end + 16])
            assert descriptor == (b"PK\7\10", entry.CRC, entry.compress_size, entry.file_size)


def test_a_decimal_column_takes_null(xlsx, by_openpyxl):
    """An empty cell is empty, not zero and not text."""
    content, _ = xlsx([Column("a", "甲", ColumnType.DECIMAL), Column("b", "乙")], [[None, "x"], ["", "y"]])
    assert by_openpyxl(content)[1:] == [[None, "x"], [None, "y"]]
