"""XLSX as strangers send it: types, wrong sizes, no zip, a zip bomb."""

import io
import zipfile
from datetime import date, datetime

import openpyxl
import pytest

from breakwater.chassis.errors import InvalidRequestError
from services.leads.intake.imports import reading
from services.leads.intake.imports.documents import mapping_from, shipped_mapping
from services.leads.intake.imports.domain import FileShape, ImportLimits
from services.leads.intake.imports.rows import Record

LIMITS = ImportLimits()
DEFAULT = shipped_mapping("default")


def workbook(*rows, title="Sheet", **more_sheets) -> bytes:
    book = openpyxl.Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    for name, other in more_sheets.items():
        sheet = book.create_sheet(name)
        for row in other:
            sheet.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def repacked(content: bytes, change) -> bytes:
    """The workbook with its parts changed by `change(name, data)`."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target.getvalue()


def in_directory(content: bytes, name: str, *, offset: int, value: bytes) -> bytes:
    """The zip with a field of one entry in its central directory overwritten (APPNOTE 4.3.12)."""
    start = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode())) + offset
    return content[:start] + value + content[start + len(value) :]


def records(content: bytes, mapping=DEFAULT, limits=LIMITS):
    assert reading.inspect(content, mapping, "leads.xlsx", limits) == FileShape("xlsx", "", "")
    text = b"".join(reading.as_csv(io.BytesIO(content), mapping, limits))
    return list(reading.read(io.BytesIO(text), mapping, reading.CONVERTED, limits, skip=0))


def refused(content: bytes, mapping=DEFAULT, limits=LIMITS, filename="leads.xlsx") -> str:
    with pytest.raises(InvalidRequestError) as caught:
        reading.inspect(content, mapping, filename, limits)
    assert {error.field for error in caught.value.errors} == {"file"}
    return "; ".join(error.reason for error in caught.value.errors)


def test_cells_of_every_type_become_the_text_they_show():
    """Phones kept as numbers keep their digits, days are days, amounts are exact, row numbers are the sheet's."""
    [first, second] = records(
        workbook(
            ("姓名", "手机", "来源", "预算", "创建时间", "需求"),
            ("张伟", 13812345678, "展会", 620000.5, datetime(2021, 4, 15, 8, 30), "两行\n需求"),  # noqa: DTZ001 - as sheets have it
            (None, None, None, None, None, None),
            ("李娜", 13912345678.0, "官网", 5, date(2021, 4, 5), True),
        )
    )
    assert (first.row, first.values["phone"], str(first.values["budget"])) == (2, "13812345678", "620000.5")
    assert first.values["created_at"].isoformat() == "2021-04-15T00:30:00+00:00"
    assert first.values["need"] == "两行\n需求"
    assert (second.row, second.values["phone"], second.values["need"]) == (4, "13912345678", "TRUE")


def test_rows_beyond_the_size_a_sheet_claims_are_read():
    """Some writers put a wrong dimension into the sheet: believing it would lose rows."""
    content = repacked(
        workbook(("姓名", "来源"), ("张伟", "展会"), ("李娜", "官网")),
        lambda name, data: data.replace(b'ref="A1:B3"', b'ref="A1"') if "sheet1" in name else data,
    )
    assert [record.values["name"] for record in records(content)] == ["张伟", "李娜"]


def test_a_row_wider_than_the_header_is_refused_and_not_cut():
    """A cell without a header is nobody's: the row is listed."""
    [wide, good] = records(workbook(("姓名", "来源"), ("张伟", "展会", "?"), ("李娜", "官网")))
    assert "has 3 cells" in wide.reason
    assert isinstance(good, Record)


def test_a_mapping_may_name_the_sheet():
    """The first sheet is read unless the mapping says otherwise; a missing one is named."""
    content = workbook(("irrelevant",), Leads=[("姓名", "来源"), ("张伟", "展会")])
    named = mapping_from("m", "dataset: leads\nsheet: Leads\ncolumns: {姓名: name, 来源: source}")
    assert [record.values["name"] for record in records(content, named)] == ["张伟"]
    other = mapping_from("m", "dataset: leads\nsheet: Other\ncolumns: {姓名: name, 来源: source}")
    assert "no sheet 'Other'" in refused(content, other)


def test_what_is_no_workbook_is_refused_by_name():
    """No zip, an old Excel file, a broken zip, a zip with other things in it, a protected one."""
    good = workbook(("姓名", "来源"), ("张伟", "展会"))
    empty_zip = io.BytesIO()
    zipfile.ZipFile(empty_zip, "w").close()
    other = io.BytesIO()
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "no zip file" in refused("姓名,来源\n张伟,展会\n".encode())
    assert "old or a protected" in refused(b"\xd0\xcf\x11\xe0" + b"\0" * 512)
    assert "zip file is broken" in refused(good[:-30])
    assert "no readable XLSX" in refused(other.getvalue())
    assert "no zip file" in refused(empty_zip.getvalue())
    assert "password" in refused(in_directory(good, "xl/workbook.xml", offset=8, value=b"\x01\x00"))


def test_broken_xml_inside_is_refused():
    """A part that is no XML, and one that names entities without end, end in an answer."""
    good = workbook(("姓名", "来源"), ("张伟", "展会"))
    assert "no readable XLSX" in refused(repacked(good, lambda name, data: b"<x" if "workbook.xml" in name else data))
    bomb = (
        b'<!DOCTYPE x [<!ENTITY a "'
        + b"a" * 100
        + b'">'
        + b"".join(b'<!ENTITY a%d "' % n + (b"&a;" if n == 0 else b"&a%d;" % (n - 1)) * 50 + b'">' for n in range(8))
        + b"]><workbook>&a7;</workbook>"
    )
    assert "no readable XLSX" in refused(repacked(good, lambda name, data: bomb if name == "xl/workbook.xml" else data))


def test_a_zip_bomb_is_refused_before_it_is_unpacked():
    """The sizes in the directory are added up first; an entry that lies about its own is cut there and found broken."""
    good = workbook(("姓名", "来源"), ("张伟", "展会"))
    bomb = repacked(good, lambda name, data: b"\0" * 3_000_000 if "styles" in name else data)
    assert len(bomb) < 20_000
    limits = ImportLimits(unpacked_bytes_max=2_000_000)
    assert "unpacks to more than 2000000" in refused(bomb, limits=limits)
    lie = in_directory(bomb, "xl/styles.xml", offset=24, value=(1_000).to_bytes(4, "little"))
    assert "no readable XLSX (BadZipFile)" in refused(lie, limits=limits)


def test_a_sheet_with_too_many_columns_is_refused():
    """Columns are bounded, whatever a spreadsheet allows."""
    limits = ImportLimits(columns_max=10)
    assert "more than 10 columns" in refused(workbook(tuple(f"c{n}" for n in range(11))), limits=limits)
