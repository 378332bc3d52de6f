"""Text as a page can show it: what no font has is named by its number, what would disturb its surroundings is left out."""

import re
import unicodedata

from breakwater.sheets import clean_text
from services.files.documents import fonts

_LINE_ENDS = re.compile("[\u2028\u2029]")
# Embeddings and overrides turn the order of what stands around them (Unicode Technical Report 36, 2.3); marks do not.
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text with nothing lost unseen: U+2A6A5, which no font has, becomes 〔U+2A6A5〕.

    As in spreadsheets control characters vanish and halves of a character become U+FFFD. So do characters that only
    steer others (format characters, variation selectors) where no font knows them.
    """
    text = clean_text(text.replace("\t", " "))
    text = _TURNS.sub("", _LINE_ENDS.sub("\n", text))
    return "\n".join(fonts.missing().sub(_named, line) for line in text.split("\n"))


def _named(found: re.Match[str]) -> str:
    character = found[0]
    match unicodedata.category(character):
        case "Zs":
            return " "
        case "Cf":
            return ""
        case _:
            selector = "VARIATION SELECTOR" in unicodedata.name(character, "")
            return "" if selector else f"〔U+{ord(character):04X}〕"
