"""Phone numbers in one form (53)."""

import pytest

from services.leads.intake.phones import normalise_phone

pytestmark = pytest.mark.capability(53)


@pytest.mark.parametrize(
    "written",
    [
        "13812345678",
        "138 1234 5678",
        "138-1234-5678",
        "+86 138 1234 5678",
        "0086-13812345678",
        "08613812345678",
        "8613812345678",
    ],
)
def test_a_chinese_mobile_number_has_one_form(written: str) -> None:
    """However a mobile number is written, it is the same customer's."""
    assert normalise_phone(written) == "+8613812345678"


@pytest.mark.parametrize(
    ("written", "region", "form"),
    [
        ("010-62345678", "CN", "+861062345678"),
        ("021 6234 5678转8", "CN", "+862162345678;ext=8"),
        ("021 6234 5678 分机 12", "CN", "+862162345678;ext=12"),
        ("400-810-8888", "CN", "+864008108888"),
        ("660-485-0224", "US", "+16604850224"),
        ("+1 650 253 0000", "CN", "+16502530000"),
        ("001 650 253 0000", "CN", "+16502530000"),
    ],
)
def test_landlines_and_foreign_numbers_are_understood(written: str, region: str, form: str) -> None:
    """Area codes, extensions and country codes are part of the number."""
    assert normalise_phone(written, region) == form


def test_a_number_nobody_understands_keeps_its_digits() -> None:
    """An internal number is not lost: it is compared by its digits."""
    assert normalise_phone("66-0485") == "660485"


@pytest.mark.parametrize("written", ["abc", "12", "1380000000a", "138123456781381234567813", "٠١٢٣٤٥٦٧"])
def test_other_text_is_refused(written: str) -> None:
    """What is no number is told to the one who typed it."""
    with pytest.raises(ValueError, match="is not a phone number"):
        normalise_phone(written)


def test_a_blank_stays_blank() -> None:
    """No number is no error."""
    assert normalise_phone("") == ""
