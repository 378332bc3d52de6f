"""How much speaks for two records being one customer: points, each with its reason, and what they add up to.

Pure. The points were set on the seeded likeness overlay of the tests; `docs/adr/0030` tells why they are not learnt.
"""

from dataclasses import dataclass
from enum import StrEnum

from services.leads.intake.companies import PROVINCE_OF, CompanyName, PersonName, company_name, person_name

_FREE_MAIL = frozenset(
    (
        "qq.com",
        "163.com",
        "126.com",
        "139.com",
        "sina.com",
        "sina.cn",
        "gmail.com",
        "outlook.com",
        "hotmail.com",
        "foxmail.com",
    )
)
_NUMERALS = frozenset("0123456789零〇一二三四五六七八九十百千甲乙丙丁")
_LOCAL_CHARS_MIN = 4
"""Of the part before the @; shorter ones differ by one letter too easily."""
_CORE_CHARS_MIN = 4
"""Of a company's core that may hold a mistake."""


class Verdict(StrEnum):
    """What a score means."""

    SAME = "same"
    SUSPECTED = "suspected"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From so many points on two records are one customer, or are shown to a person."""

    same: int = 85
    suspected: int = 55

    def verdict(self, score: int) -> Verdict:
        if score >= self.same:
            return Verdict.SAME
        return Verdict.SUSPECTED if score >= self.suspected else Verdict.DIFFERENT


@dataclass(frozen=True, slots=True)
class Likeness:
    """A customer as it is compared."""

    name: PersonName
    company: CompanyName
    phone: str
    email: str

    @classmethod
    def of(cls, name: str, company: str, phone: str, email: str) -> "Likeness":
        """Of normalised fields (`intake.domain`)."""
        return cls(person_name(name), company_name(company) if company else CompanyName("", ""), phone, email)

    @property
    def text(self) -> str:
        """What trigrams are made of: surname and company's core, so that colleagues are not all alike."""
        return self.name.initial + self.company.core if self.company.core else ""


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that speaks for (points above 0) or against it."""

    field: str
    points: int
    text: str
    """For people, in Chinese."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that speaks for and against two records being one customer."""

    score: int
    reasons: tuple[Reason, ...]


def judge(one: Likeness, other: Likeness) -> Judgement:
    """Compares two records; the order of the two makes no difference."""
    found = [
        reason
        for reason in (
            _names(one.name, other.name),
            _companies(one.company, other.company),
            _phones(one.phone, other.phone),
            _emails(one.email, other.email),
        )
        if reason is not None
    ]
    return Judgement(sum(reason.points for reason in found), tuple(found))


def _names(one: PersonName, other: PersonName) -> Reason:
    if one.full and one == other:
        return Reason("name", 35, "姓名相同")
    if one.initial == other.initial and not (one.full and other.full):
        return Reason("name", 5, "姓氏相同，一方只写了称呼")
    return Reason("name", -60, "姓名不同")


def _companies(one: CompanyName, other: CompanyName) -> Reason | None:
    if not one.core or not other.core:
        return None
    if one.core == other.core:
        return _places(one.region, other.region)
    if not one.region or not other.region or one.region == other.region:
        shorter, longer = sorted((one.core, other.core), key=len)
        mistakable = len(shorter) >= _CORE_CHARS_MIN and not set(_left_over(shorter, longer)) & _NUMERALS
        if mistakable and _one_slip(shorter, longer):
            return Reason("company", 20, "公司名差一个字")
        if mistakable and longer.startswith(shorter):
            return Reason("company", 20, "公司名一方为简称")
    return Reason("company", -40, "公司不同")


def _places(one: str, other: str) -> Reason:
    """Of two companies of one name."""
    if one == other:
        return Reason("company", 45, "公司相同")
    if not one or not other:
        return Reason("company", 30, "公司名相同，一方未写地区")
    if PROVINCE_OF[one] == other or one == PROVINCE_OF[other]:
        return Reason("company", 35, "公司名相同，地区一省一市")
    return Reason("company", -20, "公司名相同，地区不同")


def _phones(one: str, other: str) -> Reason | None:
    if not one or not other:
        return None
    if one == other:
        return Reason("phone", 60, "电话相同")
    if _one_slip(one, other):
        return Reason("phone", 30, "电话差一位")
    return Reason("phone", -15, "电话不同")


def _emails(one: str, other: str) -> Reason | None:
    if not one or not other:
        return None
    if one == other:
        return Reason("email", 60, "邮箱相同")
    (local, _, domain), (other_local, _, other_domain) = one.partition("@"), other.partition("@")
    if local == other_local and len(local) >= _LOCAL_CHARS_MIN and _one_slip(domain, other_domain):
        return Reason("email", 30, "邮箱域名差一个字符")
    if domain == other_domain:
        # wang1 and wang2 are two people, wangfang and wangfnag one.
        numbered = set(_left_over(local, other_local)) & _NUMERALS
        if min(len(local), len(other_local)) >= _LOCAL_CHARS_MIN and not numbered and _one_slip(local, other_local):
            return Reason("email", 30, "邮箱差一个字符")
        if domain not in _FREE_MAIL:
            return Reason("email", 5, "同一企业邮箱域名")
    return Reason("email", -10, "邮箱不同")


def _one_slip(one: str, other: str) -> bool:
    """Whether one slip of a hand makes one text the other: a character wrong, missing, too many, or two swapped."""
    if one == other or abs(len(one) - len(other)) > 1:
        return False
    left = _common(one, other)
    right = _common(one[left:][::-1], other[left:][::-1])
    rest, other_rest = one[left : len(one) - right], other[left : len(other) - right]
    if max(len(rest), len(other_rest)) == 1:
        return True
    return len(rest) == 2 and rest == other_rest[::-1]  # noqa: PLR2004 - two that are swapped


def _left_over(one: str, other: str) -> str:
    """What stands between the common beginning and the common end, of both."""
    left = _common(one, other)
    right = _common(one[left:][::-1], other[left:][::-1])
    return one[left : len(one) - right] + other[left : len(other) - right]


def _common(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
