"""Packed rows, taken apart by column: what was put in comes out."""

from hypothesis import example, given
from hypothesis import strategies as st

from breakwater.leads.v1 import leads_pb2
from services.files.exports.columns import columns_of
from services.files.exports.encoder import rows_of

CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x1e\x1f"), max_size=8)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
)


@given(TABLES)
@example([["\ufeff"], [""], ['"']])
@example([["", ""], ["#", "\r\n"], ["\ufeffa", " "]])
def test_cells_come_out_as_they_were_put_in(rows):
    """By column and by row, also blanks, quotation marks, line ends and a byte order mark at the beginning."""
    packed = "".join("\x1f".join(row) + "\x1e" for row in rows).encode()
    assert [column.to_list() for column in columns_of(packed)] == list(map(list, zip(*rows, strict=True)))
    assert rows_of(leads_pb2.StreamDatasetResponse(packed_rows=packed)) == rows
