import io
import shutil
import subprocess

import openpyxl
import pytest
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape
from python_calamine import CalamineWorkbook

from breakwater.sheets import Column, ColumnType, XlsxWriter

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.characters(codec=None, categories=["Cs", "Cc", "Zs"]),
        st.sampled_from("=+-@＝＋<>&\"' \t\r\n\0_x0041_\ufffe\u3000客户😀"),
    ),
    max_size=40,
)
"""Text that some reader or writer takes for something else."""

LIBREOFFICE_AS_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false,false,false,-1"


@pytest.fixture(scope="session")
def columns_of_every_type():
    return [
        Column("phone", "电话", ColumnType.TEXT),
        Column("visits", "次数", ColumnType.INTEGER),
        Column("budget", "预算", ColumnType.DECIMAL),
        Column("day", "日期", ColumnType.DATE),
        Column("created_at", "创建时间", ColumnType.DATETIME),
        Column("active", "有效", ColumnType.BOOLEAN),
    ]


@pytest.fixture(scope="session")
def xlsx():
    """Writes rows into an XLSX file in memory: (content, summary)."""

    def write(columns, rows, **options):
        content = io.BytesIO()
        writer = XlsxWriter(content.write, columns, **options)
        writer.write_rows(rows)
        summary = writer.close()
        return content.getvalue(), summary

    return write


@pytest.fixture(scope="session")
def by_openpyxl():
    """The cells of a sheet as openpyxl reads them; it leaves escapes to its callers."""

    def read(content, sheet=0):
        rows = openpyxl.load_workbook(io.BytesIO(content)).worksheets[sheet].iter_rows(values_only=True)
        return [[unescape(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]

    return read


@pytest.fixture(scope="session")
def by_calamine():
    """The cells of a sheet as calamine reads them."""

    def read(content, sheet=0):
        return CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(sheet).to_python()

    return read


@pytest.fixture(scope="session")
def by_libreoffice(tmp_path_factory):
    """A file as LibreOffice reads it: the text of each sheet as CSV, by the sheet's title."""
    program = shutil.which("soffice")
    if program is None:
        pytest.fail("this test needs LibreOffice: install the Debian package libreoffice-calc-nogui")
    folder = tmp_path_factory.mktemp("libreoffice")

    def read(content):
        source = folder / "table.xlsx"
        source.write_bytes(content)
        for old in folder.glob("table-*.csv"):
            old.unlink()
        profile = f"-env:UserInstallation={(folder / 'profile').as_uri()}"
        arguments = [program, "--headless", profile, "--convert-to", LIBREOFFICE_AS_CSV, "--outdir", folder, source]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr
        return {path.stem.removeprefix("table-"): path.read_text("utf-8") for path in folder.glob("table-*.csv")}

    return read
