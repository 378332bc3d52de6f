"""Names in the form they are compared in: companies by region and core, people by their name alone (53).

Pure. `simplified.txt` makes traditional characters simplified, `regions.txt` knows provinces and cities.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from services.leads.intake.domain import clean

REMEMBERED_MAX: Final = 10_000
"""Names whose form is kept: an import tells the same companies again and again."""
CORE_CHARS_MIN: Final = 2
"""Of what stands after a region; less is a name of its own."""

_BRACKETED = re.compile(r"[(（\[【]\s*([^()（）\[\]【】]{1,20})\s*[)）\]】]")
_PUNCTUATION = re.compile(r"[\s·•・.。,，、()（）\[\]【】\-_'\"“”&]+")
_LEGAL_FORM = re.compile(
    r"(股份有限公司|有限责任公司|责任有限公司|股份公司|有限公司|集团公司|总公司|(?<!分)公司|集团|有限合伙|"
    r"(?:\b(?:co|ltd|limited|inc|incorporated|corp|corporation|llc|gmbh|company)\b))$"
)
_WITHIN_CHINESE = re.compile(r"(?<=[一-龥]) (?=[一-龥])")
"""A space that says nothing: 有限 公司 is a legal form too."""
_TITLE = re.compile(
    r"(?:先生|女士|小姐|老师|总经理|副总|经理|总监|主任|主管|部长|厂长|工程师|总工|博士|律师|(?<=^.)(?:总|工))$"
)
_LATIN = re.compile(r"[a-z][a-z .'-]*")


@dataclass(frozen=True, slots=True)
class CompanyName:
    """A company's name taken apart; both empty when it is unknown."""

    region: str
    """The city, or the province where only that is told; empty when the name has none."""
    core: str
    """Without region, legal form, spaces and punctuation."""

    @property
    def key(self) -> str:
        """Equal for all ways of writing one company's whole name."""
        return self.region + self.core


@dataclass(frozen=True, slots=True)
class PersonName:
    """A person's name; `full` is false for 王总, which says no more than the surname."""

    key: str
    """Without title, spaces and punctuation; the words of a Latin name in the order of the alphabet."""
    full: bool

    @property
    def initial(self) -> str:
        """The surname of a Chinese name; the first letter of the first word, in the order of the alphabet, of others."""
        return self.key[:1]


def _data(name: str) -> list[str]:
    lines = Path(__file__).with_name(name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _provinces() -> dict[str, str]:
    provinces: dict[str, str] = {}
    for line in _data("regions.txt"):
        province, _, cities = line.partition(":")
        provinces |= dict.fromkeys((province, *cities.split()), province)
    return provinces


_SIMPLIFIED: Final = {ord(pair[0]): pair[1] for line in _data("simplified.txt") for pair in line.split()}
PROVINCE_OF: Final[Mapping[str, str]] = _provinces()
"""Of a city; a province is its own."""
_PLACE = re.compile(rf"({'|'.join(sorted(PROVINCE_OF, key=len, reverse=True))})(?:特别行政区|自治区|省|市)?")


def simplified(text: str) -> str:
    """Lower case, with traditional characters simplified."""
    return text.casefold() if text.isascii() else text.translate(_SIMPLIFIED).casefold()


@lru_cache(maxsize=REMEMBERED_MAX)
def company_name(company: str) -> CompanyName:
    """The parts of a company's name as somebody wrote it."""
    key = simplified(clean(company))
    region = ""
    for found in _BRACKETED.finditer(key):
        if place := _PLACE.fullmatch(found[1]):
            region = place[1]
            key = key[: found.start()] + " " + key[found.end() :]
            break
    key = " ".join(re.sub(r"[()（）\[\]【】]", " ", key).split()).rstrip(". ")
    key = _WITHIN_CHINESE.sub("", key)
    while True:
        shorter = _LEGAL_FORM.sub("", key).rstrip(" .,，")
        if shorter == key or not shorter:
            break
        key = shorter
    core = _PUNCTUATION.sub("", key)
    while place := _PLACE.match(core):
        rest = core[place.end() :]
        # 江苏苏州 is 苏州; but 合肥安顺 is no place, it is somebody's 安顺 in 合肥.
        nested = not region or PROVINCE_OF[place[1]] == region or PROVINCE_OF[region] == place[1]
        if len(rest) < CORE_CHARS_MIN or not nested:
            break
        region = place[1] if not region or PROVINCE_OF[place[1]] == region else region
        core = rest
    return CompanyName(region, core)


def company_key(company: str) -> str:
    """Equal for the variants of one company's name: legal form, spaces, width, 省 and 市, place before or in brackets."""
    return company_name(company).key if company else ""


@lru_cache(maxsize=REMEMBERED_MAX)
def person_name(name: str) -> PersonName:
    """A person's name as it is compared."""
    text = simplified(clean(name))
    if _LATIN.fullmatch(text):
        words = sorted(_PUNCTUATION.sub(" ", text).split())
        return PersonName("".join(words), full=len(words) > 1)
    key = _PUNCTUATION.sub("", text)
    bare = _TITLE.sub("", key)
    if bare != key and bare:
        return PersonName(bare, full=len(bare) > 1)
    return PersonName(key, full=len(key) > 1)
