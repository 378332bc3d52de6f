"""CSV as it really comes: encodings, delimiters, and rows that are broken."""

import csv
import io
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.imports.documents import mapping_from, shipped_mapping
from services.leads.intake.imports.domain import ImportLimits
from services.leads.intake.imports.tables import Broken, Layout, csv_rows, encoding_of, header_of, layout_of

LIMITS = ImportLimits()
COMMA = Layout("utf-8", ",")
CHINESE = "姓名,公司,来源\n" + "".join(f"张伟{n},宁波海天机械有限公司,展会扫码\n" for n in range(50))


def rows_of(content: bytes, layout: Layout = COMMA, limits: ImportLimits = LIMITS):
    return list(csv_rows(io.BytesIO(content), layout, limits))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030", "utf-16", "utf-16-be-with-bom"])
def test_the_encodings_of_chinese_files_are_told_apart(encoding):
    """UTF-8 with and without mark, GBK, UTF-16 with mark: the text arrives whole."""
    content = (
        b"\xfe\xff" + CHINESE.encode("utf-16-be") if encoding.startswith("utf-16-be") else CHINESE.encode(encoding)
    )
    layout = layout_of(content, shipped_mapping("default"))
    rows = rows_of(content, layout)
    assert rows[0] == (1, ["姓名", "公司", "来源"])
    assert rows[50] == (51, ["张伟49", "宁波海天机械有限公司", "展会扫码"])


def test_western_text_in_a_one_byte_code_is_not_taken_for_chinese():
    """Latin-1 decodes as GB18030 too, but to nonsense: it is refused and the way out is told."""
    content = b"name,source\n" + "".join(f"Zoé Gärtner{n},salon\n" for n in range(50)).encode("latin-1")
    with pytest.raises(InvalidRequestError) as caught:
        encoding_of(content)
    assert caught.value.errors[0].field == "file"
    assert "name its encoding in a mapping" in caught.value.errors[0].reason
    named = mapping_from("m", "dataset: leads\nencoding: windows-1252\ncolumns: {name: name, source: source}")
    assert rows_of(content, layout_of(content, named))[1][1][0] == "Zoé Gärtner0"


def test_a_few_undecodable_lines_are_refused_and_the_others_read():
    """A file that is UTF-8 but for one line loses that line, by number, and no other."""
    content = "姓名,来源\n张伟,展会\n".encode() + b"\xff\xfe\xfa,x\n" + "李娜,展会\n".encode()
    assert encoding_of(content) == "utf-8"
    rows = rows_of(content)
    assert isinstance(rows[2][1], Broken)
    assert "no characters" in rows[2][1].reason
    assert rows[3] == (4, ["李娜", "展会"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x00\x01\x02" * 100, "is no text"),
        ("姓名,来源\n".encode("utf-16-le"), "byte-order mark"),
        (bytes(range(128, 256)) * 20, "is neither"),
        (b"\xff\xfe", "is empty"),
    ],
)
def test_what_is_no_text_is_refused_as_a_whole(content, reason):
    """Binary files and UTF-16 without its mark do not become rows of rubbish."""
    with pytest.raises(InvalidRequestError) as caught:
        header_of(csv_rows(io.BytesIO(content), layout_of(content, shipped_mapping("default")), LIMITS))
    assert reason in caught.value.errors[0].reason


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_the_one_that_gives_the_headers_the_mapping_knows(delimiter):
    """Semicolons inside cells and commas inside amounts mislead nobody."""
    text = delimiter.join(["姓名", "来源", "预算"]) + "\n" + delimiter.join(["张;伟,x", "展会", '"1,000"']) + "\n"
    assert layout_of(text.encode(), shipped_mapping("default")).delimiter == delimiter


def test_a_quote_that_never_closes_costs_its_own_row_only():
    """The rows it would have swallowed are read; row numbers stay those a person sees."""
    rows = rows_of(b'a,b\n1,2\n"3,4\n5,6\n7,8\n')
    assert [number for number, _ in rows] == [1, 2, 3, 4, 5]
    assert isinstance(rows[2][1], Broken)
    assert rows[2][1].line == '"3,4'
    assert [cells for _, cells in rows[3:]] == [["5", "6"], ["7", "8"]]


def test_a_quote_opened_by_mistake_that_another_one_closes_is_found_out():
    """A row over several lines with a wrong number of cells has swallowed others: they are given back."""
    rows = rows_of(b'a,b\n"1,2\n3,4\n5,6"\n7,8\n')
    assert isinstance(rows[1][1], Broken)
    assert [cells for _, cells in rows[2:4]] == [["3", "4"], ["5", '6"']]
    assert rows[-1] == (5, ["7", "8"])


def test_rows_of_several_lines_count_as_one():
    """A line break inside quotes is part of the cell, as in a spreadsheet."""
    assert rows_of(b'a,b\n"1\n1",2\n3,4\n') == [(1, ["a", "b"]), (2, ["1\n1", "2"]), (3, ["3", "4"])]


def test_blank_rows_are_skipped_and_counted():
    """Row numbers stay those of the file."""
    assert rows_of(b"a,b\n\n,\n1,2\n") == [(1, ["a", "b"]), (4, ["1", "2"])]


def test_a_nul_costs_its_row():
    """PostgreSQL holds no NUL, so its row is refused and said to hold one."""
    rows = rows_of(b"a,b\n1,\x00\n3,4\n")
    assert isinstance(rows[1][1], Broken)
    assert "NUL" in rows[1][1].reason
    assert rows[2] == (3, ["3", "4"])


def test_a_row_is_bounded():
    """A line or a quoted cell without end is refused at the limit, and reading goes on behind it."""
    limits = ImportLimits(record_chars_max=100)
    rows = rows_of(b"a,b\n" + b"x" * 200 + b',1\n"' + b"line\n" * 50 + b"3,4\n", limits=limits)
    assert isinstance(rows[1][1], Broken)
    assert "longer than 100" in rows[1][1].reason
    assert isinstance(rows[2][1], Broken)
    assert rows[-1][1] == ["3", "4"]
    assert len(rows) == 1 + 1 + 50 + 1


def test_time_stays_linear_however_broken_the_file_is():
    """Half a million characters of nothing but opening quotes are read in one pass of bounded steps."""
    text = b"a,b\n" + b'"x,""\n' * 20_000
    assert len(rows_of(text)) == 20_001


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufffd"), max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    table=st.integers(1, 5).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=8)
    ),
    delimiter=st.sampled_from([",", ";", "\t"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
)
@example(table=[["a"], ["\r"]], delimiter=",", newline="\n", encoding="utf-8")
def test_whatever_a_writer_quotes_the_reader_gives_back(table, delimiter, newline, encoding):
    """Any table, written by the standard library with every cell quoted, is read back cell by cell."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=newline).writerows(table)
    rows = rows_of(text.getvalue().encode(encoding), Layout(encoding, delimiter))
    assert [cells for _, cells in rows] == [cells for cells in table if any(cells)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_whatever_crash_the_reader(content):
    """Any file is either refused as a whole, by name, or read row by row; every line is accounted for."""
    with suppress(InvalidRequestError):
        numbers = [number for number, _ in rows_of(content, layout_of(content, shipped_mapping("default")))]
        assert numbers == sorted(set(numbers))
