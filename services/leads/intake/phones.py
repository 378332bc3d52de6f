"""Phone numbers in one form: E.164 where a number can be understood, its bare digits where it cannot.

Pure. `phonenumbers` costs about 60 us a number, so the forms that make up nearly all of our numbers are told first.
"""

import re

import phonenumbers

DIGITS_MIN, DIGITS_MAX = 5, 20

_SEPARATORS = re.compile(r"[\s\-./()]+")
_EXTENSION = re.compile(r"(?:转|分机|ext\.?|x|#)\s*(\d{1,6})$", re.IGNORECASE)
_COUNTRY_CODE_FORMS = re.compile(r"^(?:\+86|0086|086|86)(?=1[3-9]\d{9}$)")
_CHINESE_MOBILE = re.compile(r"1[3-9]\d{9}")
_NORTH_AMERICAN = re.compile(r"[2-9]\d{2}[2-9]\d{6}")


def normalise_phone(text: str, region: str = "CN") -> str:
    """The number `text` (already free of full-width forms) as "+8613812345678", "+861012345678;ext=8", or digits.

    A number without country code is from `region` (ISO 3166). Blank stays blank. Raises ValueError for other text.
    """
    if not text:
        return ""
    extension = ""
    if found := _EXTENSION.search(text):
        extension = f";ext={found.group(1)}"
        text = text[: found.start()]
    digits = _SEPARATORS.sub("", text)
    mobile = _COUNTRY_CODE_FORMS.sub("", digits)
    if _CHINESE_MOBILE.fullmatch(mobile) and (region == "CN" or mobile != digits):
        return f"+86{mobile}{extension}"
    if region == "US" and _NORTH_AMERICAN.fullmatch(digits):
        return f"+1{digits}{extension}"
    return _understood(digits, region) + extension


def _understood(digits: str, region: str) -> str:
    if digits.startswith("086"):
        digits = f"+{digits[1:]}"
    elif digits.startswith("00"):
        digits = f"+{digits[2:]}"
    bare = digits.removeprefix("+")
    if not (bare.isascii() and bare.isdigit() and DIGITS_MIN <= len(bare) <= DIGITS_MAX):
        raise ValueError("is not a phone number")
    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return bare
    if not phonenumbers.is_valid_number(number):
        return bare
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
