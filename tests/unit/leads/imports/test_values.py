"""Cells into values: money, times, words, and what is refused."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.leads.intake.imports.values import boolean_of, clean_cells, datetime_of, decimal_of, integer_of, list_of

SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("cell", "amount"),
    [
        ("$1,117.10K", "1117100"),
        ("￥1,234.00", "1234"),
        ("5万", "50000"),
        ("5.5 万元", "55000"),
        ("1.2亿", "120000000"),
        ("人民币 3百万", "3000000"),
        ("３，０００．５０", "3000.5"),
        ("(12.50)", "-12.5"),
        ("-$3", "-3"),
        ("$-3.10", "-3.1"),
        ("USD 22,247.63", "22247.63"),
        ("$0.27", "0.27"),
        (".5", "0.5"),
        ("0", "0"),
        ("2.5M", "2500000"),
    ],
)
def test_money_is_read_in_the_forms_people_write(cell, amount):
    """Symbols, grouping, full width, 万 and K all give one exact decimal."""
    assert str(decimal_of(cell)) == amount


@pytest.mark.parametrize(
    "cell", ["abc", "1,23", "1.2.3", "12,3456", "$", "万", "1e400", "NaN", "Infinity", "--5", "9" * 16]
)
def test_what_is_no_amount_is_refused(cell):
    """Wrong grouping, words, not-a-numbers and sums out of range are no money."""
    with pytest.raises(ValueError, match="amount"):
        decimal_of(cell)


def test_a_mapping_may_say_that_the_comma_is_the_decimal_sign():
    """`1.234,56` is European for 1234.56."""
    assert decimal_of("1.234,56 €", decimal_comma=True) == Decimal("1234.56")


@given(st.decimals(min_value=-(10**12), max_value=10**12, places=2))
def test_a_written_amount_is_read_back_exactly(amount):
    """Grouped, with a currency sign in front, no amount changes."""
    assert decimal_of(f"¥{amount:,}".replace("¥-", "-¥")) == amount


@pytest.mark.parametrize(
    ("cell", "formats", "moment"),
    [
        ("15 Apr, 2021 00:03:00", (), datetime(2021, 4, 14, 16, 3, tzinfo=UTC)),
        ("2021-04-15 23:03:00", (), datetime(2021, 4, 15, 15, 3, tzinfo=UTC)),
        ("2021-04-15T00:03:00Z", (), datetime(2021, 4, 15, 0, 3, tzinfo=UTC)),
        ("2021-04-15T00:03:00.123456+02:00", (), datetime(2021, 4, 14, 22, 3, 0, 123456, tzinfo=UTC)),
        ("2021/4/5", (), datetime(2021, 4, 4, 16, tzinfo=UTC)),
        ("2021年4月5日 8时30分", (), datetime(2021, 4, 5, 0, 30, tzinfo=UTC)),
        ("２０２１－０４－０５", (), datetime(2021, 4, 4, 16, tzinfo=UTC)),
        ("20210405", (), datetime(2021, 4, 4, 16, tzinfo=UTC)),
        ("04/05/2021", ("%d/%m/%Y",), datetime(2021, 5, 3, 16, tzinfo=UTC)),
    ],
)
def test_times_become_utc(cell, formats, moment):
    """A time without zone is one of the mapping's zone; a zone in the cell wins."""
    assert datetime_of(cell, formats, SHANGHAI) == moment


@pytest.mark.parametrize(
    "cell", ["2021-02-30", "2021-13-01", "2021-04-15 25:00:00", "31 Feb, 2021", "yesterday", "0021-01-01"]
)
def test_impossible_times_are_refused(cell):
    """No day is invented for 30 February."""
    with pytest.raises(ValueError, match=r"is no|is not between"):
        datetime_of(cell, (), SHANGHAI)


def test_a_day_that_may_be_a_month_needs_a_format():
    """04/05/2021 is two different days: without a format in the mapping it is refused."""
    with pytest.raises(ValueError, match="known format"):
        datetime_of("04/05/2021", (), SHANGHAI)


@given(
    st.integers(1_000_000, 4_000_000_000_000_000).map(
        lambda us: datetime(1971, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    )
)
def test_an_iso_time_is_read_back_exactly(moment):
    """RFC 3339 loses nothing, not even microseconds."""
    assert datetime_of(moment.isoformat(), (), SHANGHAI) == moment


def test_numbers_words_and_lists():
    """Whole numbers as spreadsheets write them, yes and no in two languages, lists with any usual separator."""
    assert [integer_of(cell, (-9, 9_999)) for cell in ("420", "1,200", "7.0", "－３", "85%")] == [420, 1200, 7, -3, 85]
    assert [boolean_of(cell) for cell in ("Yes", "是", "TRUE", "否", "0")] == [True, True, True, False, False]
    assert list_of("华东、华南, 华北；西南") == ("华东", "华南", "华北", "西南")
    for refused in (
        lambda: integer_of("7.5", (0, 9)),
        lambda: integer_of("101", (0, 100)),
        lambda: boolean_of("maybe"),
    ):
        with pytest.raises(ValueError, match=r"is no whole number|is not between 0 and 100|neither yes nor no"):
            refused()


def test_cells_are_cleaned_of_what_nobody_sees():
    """Full-width spaces, zero-width and control characters go; words for nothing become blank; Chinese stays."""
    cells = ["　张伟 ", "a\u200bb", "\ufeffx", "N/A", "无", "line\nbreak", "\x07bell"]
    assert clean_cells(cells, frozenset({"n/a", "无"})) == ["张伟", "ab", "x", "", "", "line\nbreak", "bell"]
