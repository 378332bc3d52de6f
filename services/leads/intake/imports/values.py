"""Cells into values: money, times, numbers, words. Pure; every refusal is a ValueError that says what was found."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from collections.abc import Mapping as ReadMapping
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from services.leads.intake.imports.fields import Field, FieldType
from services.leads.intake.imports.mapping import Column, Mapping, fold

Value = str | int | bool | Decimal | datetime | tuple[str, ...]
Converter = Callable[[str], Value]

SHOWN_CHARS_MAX = 60
"""Of a cell quoted in a reason."""
LIST_ITEMS_MAX = 100
REMEMBERED_MAX = 4_096
"""Distinct cells of a column whose value is kept: dates, owners and status words repeat."""
DECIMAL_LIMIT = Decimal(10) ** 15
YEARS = range(1970, 2101)

_CURRENCY = re.compile(
    r"[$¥€£₩₹]|\b(?:RMB|CNY|USD|EUR|GBP|HKD|JPY)\b|人民币|美元|港币|港元|欧元|元整?|圆整?", re.IGNORECASE
)
_SCALES = {
    "": 0, "k": 3, "m": 6, "mn": 6, "mm": 6, "b": 9, "bn": 9,
    "千": 3, "万": 4, "十万": 5, "百万": 6, "千万": 7, "亿": 8,
}  # fmt: skip
_NUMBER = re.compile(
    r"(?P<digits>\d{1,3}(?:,\d{3})+|\d+)?(?:\.(?P<fraction>\d+))?(?P<scale>[a-z]{0,2}|[十百千]?万|千|亿)"
)
_TIME_OF_DAY = r"(?:[T ]?\s*(\d{1,2})[:时点](\d{1,2})(?:[:分](\d{1,2})(?:\.(\d{1,6})\d*)?秒?|分)?)?"
_ISO_LIKE = re.compile(
    r"(\d{4})(?:[-/.年](\d{1,2})[-/.月](\d{1,2})日?|(\d{2})(\d{2}))" + _TIME_OF_DAY + r"\s*(Z|UTC|[+-]\d{2}:?\d{2})?",
    re.IGNORECASE,
)
_KNOWN_FORMATS = (
    "%d %b, %Y %H:%M:%S", "%d %b, %Y", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%d %b %Y", "%d-%b-%Y",
    "%b %d, %Y %H:%M:%S", "%b %d, %Y %I:%M %p", "%b %d, %Y", "%d %B %Y", "%B %d, %Y",
)  # fmt: skip
"""Formats in which nobody can take the day for the month; others must be named in the mapping."""
_TRUE = frozenset({"true", "yes", "y", "1", "on", "是", "对", "有", "√", "在职"})
_FALSE = frozenset({"false", "no", "n", "0", "off", "否", "不", "无", "×", "离职"})
_LIST_SEPARATOR = re.compile(r"[,，、;；|/]")
_INVISIBLE = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2060\ufeff]")


def clean_cells(cells: Sequence[str], blanks: frozenset[str]) -> list[str]:
    """The cells trimmed, without control and zero-width characters; a word of `blanks` becomes empty."""
    clean = list(map(str.strip, cells))
    # Nearly all rows pass these two tests whole, which costs a tenth of asking cell by cell.
    if not "".join(clean).isprintable():
        clean = [_INVISIBLE.sub("", cell).strip() for cell in clean]
    if not blanks.isdisjoint(map(str.casefold, clean)):
        clean = ["" if cell.casefold() in blanks else cell for cell in clean]
    return clean


def shown(cell: str) -> str:
    """The cell as it may be quoted in a reason."""
    return repr(cell if len(cell) <= SHOWN_CHARS_MAX else cell[: SHOWN_CHARS_MAX - 1] + "…")


def decimal_of(cell: str, *, decimal_comma: bool = False) -> Decimal:
    """`$1,117.10K`, `￥1,234.00`, `5万`, `(12.50)`, `-3`; with `decimal_comma`, `1.234,56`."""
    plain = _CURRENCY.sub("", unicodedata.normalize("NFKC", cell))
    plain = "".join(plain.split()).lower()
    negative = plain.startswith("-") or (plain.startswith("(") and plain.endswith(")"))
    plain = plain[1:-1] if plain.startswith("(") and plain.endswith(")") else re.sub("^[+-]", "", plain)
    if decimal_comma:
        plain = plain.translate({ord("."): ",", ord(","): "."})
    match = _NUMBER.fullmatch(plain)
    if match is None or match["scale"] not in _SCALES or not (match["digits"] or match["fraction"]):
        raise ValueError(f"{shown(cell)} is no amount")
    digits = (match["digits"] or "0").replace(",", "")
    value = Decimal(f"{digits}.{match['fraction'] or '0'}").scaleb(_SCALES[match["scale"]])
    if value >= DECIMAL_LIMIT:
        raise ValueError(f"{shown(cell)} is an amount out of range")
    value = -value if negative else value
    # 5万 is 50000, not 5.0E+4.
    return value.quantize(Decimal(1)) if value == value.to_integral_value() else value.normalize()


def integer_of(cell: str, bounds: tuple[int, int]) -> int:
    """A whole number within `bounds`; `420`, `1,200`, `7.0` as spreadsheets write it, `85%`."""
    plain = "".join(unicodedata.normalize("NFKC", cell).split()).replace(",", "").removesuffix("%")
    match = re.fullmatch(r"([+-]?\d{1,13})(?:\.0+)?", plain)
    if match is None:
        raise ValueError(f"{shown(cell)} is no whole number")
    if not bounds[0] <= int(match[1]) <= bounds[1]:
        raise ValueError(f"{shown(cell)} is not between {bounds[0]} and {bounds[1]}")
    return int(match[1])


def datetime_of(cell: str, formats: tuple[str, ...], zone: ZoneInfo) -> datetime:
    """A moment in UTC; a time without a zone is one of `zone`. `formats` come before the known ones."""
    plain = " ".join(unicodedata.normalize("NFKC", cell).split())
    moment = _by_format(plain, formats)
    if moment is None:
        match = _ISO_LIKE.fullmatch(plain)
        moment = _by_parts(cell, match) if match else _by_format(plain, _KNOWN_FORMATS)
    if moment is None:
        raise ValueError(f"{shown(cell)} is no time in a known format")
    if moment.year not in YEARS:
        raise ValueError(f"{shown(cell)} is not between {YEARS.start} and {YEARS.stop - 1}")
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)


def _by_format(plain: str, formats: tuple[str, ...]) -> datetime | None:
    for form in formats:
        try:
            return datetime.strptime(plain, form)  # noqa: DTZ007 the zone is the mapping's, set by the caller
        except ValueError:
            continue
    return None


def _by_parts(cell: str, match: re.Match[str]) -> datetime:
    year, month, day, packed_month, packed_day, hour, minute, second, fraction, zone = match.groups()
    text_zone = "" if zone is None else "+00:00" if zone.upper() in {"Z", "UTC"} else zone
    try:
        day_text = f"{year}-{int(month or packed_month):02}-{int(day or packed_day):02}"
        time_text = f"{int(hour or 0):02}:{int(minute or 0):02}:{int(second or 0):02}.{(fraction or '0').ljust(6, '0')}"
        return datetime.fromisoformat(f"{day_text}T{time_text}{text_zone}")
    except ValueError:
        raise ValueError(f"{shown(cell)} is no possible time") from None


def boolean_of(cell: str) -> bool:
    """`Yes`, `true`, `1`, `是` and their opposites."""
    word = fold(cell)
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{shown(cell)} is neither yes nor no")


def list_of(cell: str) -> tuple[str, ...]:
    """Items between commas, semicolons, slashes or 、."""
    items = tuple(item.strip() for item in _LIST_SEPARATOR.split(cell) if item.strip())
    if len(items) > LIST_ITEMS_MAX:
        raise ValueError(f"has more than {LIST_ITEMS_MAX} items")
    return items


def converter_of(mapping: Mapping, field: Field, column: Column | None) -> Converter:
    """How a cell of this column becomes the field's value; repeated cells are converted once."""
    words = column.words if column else {}
    otherwise = column.otherwise if column else None
    plain = _plain_converter(mapping, field, column.formats if column else ())
    if not words and otherwise is None:
        return plain if field.type is FieldType.TEXT else _Remembered(plain).__getitem__

    def by_word(cell: str) -> Value:
        target = words.get(fold(cell), otherwise)
        return plain(cell if target is None else target)

    return _Remembered(by_word).__getitem__


def _plain_converter(  # noqa: PLR0911 one answer for each type
    mapping: Mapping, field: Field, formats: tuple[str, ...]
) -> Converter:
    match field.type:
        case FieldType.DECIMAL:
            return lambda cell: decimal_of(cell, decimal_comma=mapping.decimal_comma)
        case FieldType.INTEGER:
            return lambda cell: integer_of(cell, field.bounds)
        case FieldType.DATETIME:
            zone = ZoneInfo(mapping.zone)
            return lambda cell: datetime_of(cell, formats, zone)
        case FieldType.BOOLEAN:
            return boolean_of
        case FieldType.LIST:
            return list_of
        case FieldType.CHOICE:
            return _choice_converter({fold(choice): choice for choice in field.choices})
        case FieldType.TEXT | FieldType.PERSON:
            return _text_converter(field.chars_max)


def _choice_converter(choices: ReadMapping[str, str]) -> Converter:
    def choose(cell: str) -> Value:
        try:
            return choices[fold(cell)]
        except KeyError:
            raise ValueError(f"{shown(cell)} is a word the mapping does not know") from None

    return choose


def _text_converter(chars_max: int) -> Converter:
    def bounded(cell: str) -> Value:
        if len(cell) > chars_max:
            raise ValueError(f"is longer than {chars_max} characters")
        return cell

    return bounded


class _Remembered(dict[str, Value]):
    """Values by cell, converted when first asked for."""

    def __init__(self, convert: Converter) -> None:
        super().__init__()
        self._convert = convert

    def __missing__(self, cell: str) -> Value:
        if len(self) >= REMEMBERED_MAX:
            self.clear()
        value = self[cell] = self._convert(cell)
        return value
