"""Spreadsheets as a stream: rows in, bytes out at once, memory bounded, nothing needed but the standard library.

from breakwater.sheets import Column, ColumnType, XlsxWriter

with open("leads.xlsx", "wb") as file:
    writer = XlsxWriter(file.write, [Column("phone", "电话", ColumnType.TEXT)], sheet_title="线索")
    writer.write_rows([["13800138000"]])
    summary = writer.close()
"""

from breakwater.sheets.cells import clean_text
from breakwater.sheets.columns import TEAM_ZONE, Column, ColumnType, Note, Sink, Summary
from breakwater.sheets.csv_writer import CsvWriter
from breakwater.sheets.deflate import STANDARD, Deflate, isal_deflate
from breakwater.sheets.rows import PlainRows, RowEncoder, vector_rows
from breakwater.sheets.xlsx_writer import XlsxWriter
from breakwater.sheets.zip32 import FileFullError

__all__ = [
    "STANDARD",
    "TEAM_ZONE",
    "Column",
    "ColumnType",
    "CsvWriter",
    "Deflate",
    "FileFullError",
    "Note",
    "PlainRows",
    "RowEncoder",
    "Sink",
    "Summary",
    "XlsxWriter",
    "clean_text",
    "isal_deflate",
    "vector_rows",
]
