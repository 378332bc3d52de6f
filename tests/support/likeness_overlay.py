"""Seeded records of people who come again in ways that no exact key finds, among others who only look like them.

Each record says who it is of: the answer key. The background is what a town's trade register looks like, so that
namesakes, sister companies and neighbouring numbers occur by themselves too.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import combinations, product
from typing import Final

_SURNAMES: Final = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹"
_GIVEN: Final = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建国志远欣怡子涵文博雨桐浩宇梓萱"
_TOWNS: Final = ("宁波", "苏州", "杭州", "无锡", "常州", "温州", "青岛", "佛山", "东莞", "合肥", "上海", "深圳")
_LEADING: Final = "海恒远华博天精新瑞泰盛德嘉鸿宏利兴隆永安康诚信义达通顺捷锐创"
_TRADES: Final = ("机械", "模具", "塑机", "电气", "医药", "软件", "教育", "物流", "化工", "新材料", "自动化", "包装")
_FREE: Final = ("qq.com", "163.com", "gmail.com")
_TRADITIONAL: Final = str.maketrans(
    "华远创达诚义锐张刘陈杨黄赵吴孙马郑罗谢许韩冯邓机电气医药软",
    "華遠創達誠義銳張劉陳楊黃趙吳孫馬鄭羅謝許韓馮鄧機電氣醫藥軟",
)


@dataclass(frozen=True, slots=True)
class Record:
    """What somebody typed; `person` is whom it is of."""

    person: int
    name: str
    company: str
    phone: str
    email: str
    disguise: str = ""
    """How it differs from the first record of the person; "trap" for another person made to look alike."""


def likeness_overlay(seed: int, people: int) -> list[Record]:
    """First records of `people` people, in two of three cases a second one in disguise, and for one in five a trap."""
    rng = random.Random(seed)
    firsts = [_first(rng, index) for index in range(people)]
    records = list(firsts)
    number = people
    for first in firsts:
        if rng.random() < 2 / 3:
            how = rng.choice(list(_DISGUISES))
            records.append(replace(_DISGUISES[how](rng, first), disguise=how))
        if rng.random() < 0.2:
            trap = rng.choice(_TRAPS)(rng, first)
            records.append(replace(trap, person=number, disguise="trap"))
            number += 1
    rng.shuffle(records)
    return records


def _first(rng: random.Random, index: int) -> Record:
    name = rng.choice(_SURNAMES) + "".join(rng.sample(_GIVEN, 2))
    return Record(index, name, _company(rng), _phone(rng), _email(rng, index))


def _company(rng: random.Random) -> str:
    return f"{rng.choice(_TOWNS)}{''.join(rng.sample(_LEADING, 3))}{rng.choice(_TRADES)}有限公司"


def _phone(rng: random.Random) -> str:
    return f"1{rng.choice('3578')}{rng.randrange(10**9):09d}"


def _email(rng: random.Random, index: int) -> str:
    letters = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(7))
    return f"{letters}{index}@{rng.choice(_FREE)}"


def _slip(rng: random.Random, digits: str) -> str:
    """One digit wrong, or two that stand beside each other swapped; the first three stay."""
    at = rng.randrange(3, len(digits) - 1)
    if rng.random() < 0.5 and digits[at] != digits[at + 1]:
        return digits[:at] + digits[at + 1] + digits[at] + digits[at + 2 :]
    return digits[:at] + str((int(digits[at]) + rng.randrange(1, 10)) % 10) + digits[at + 1 :]


def _core(company: str) -> str:
    return company.removesuffix("有限公司")


def _mistyped(rng: random.Random, company: str) -> str:
    core = _core(company)
    at = len(core) - rng.randrange(1, 3)
    return f"{core[:at]}{rng.choice([each for each in '德利鑫龙' if each != core[at]])}{core[at + 1 :]}有限公司"


def _mail_slip(rng: random.Random, address: str) -> str:
    local, _, domain = address.partition("@")
    if rng.random() < 0.5:
        return f"{local}@{domain.replace('.com', '.cm')}"
    at = rng.randrange(0, 5)
    if local[at] == local[at + 1]:
        return f"{local[:at]}{local[at + 1 :]}@{domain}"
    return f"{local[:at]}{local[at + 1]}{local[at]}{local[at + 2 :]}@{domain}"


_DISGUISES: Final[dict[str, Callable[[random.Random, Record], Record]]] = {
    "traditional": lambda _, first: replace(
        first, name=first.name.translate(_TRADITIONAL), company=first.company.translate(_TRADITIONAL), phone="", email=""
    ),
    "region in brackets": lambda _, first: replace(
        first, company=f"{_core(first.company)[2:]}（{first.company[:2]}市）股份有限公司", phone="", email=""
    ),
    "no region": lambda rng, first: replace(
        first, company=_core(first.company)[2:], phone=rng.choice(("", _slip(rng, first.phone))), email=""
    ),
    "phone mistyped": lambda rng, first: replace(first, company="", phone=_slip(rng, first.phone), email=""),
    "mail mistyped": lambda rng, first: replace(first, company="", phone="", email=_mail_slip(rng, first.email)),
    "surname only": lambda rng, first: replace(
        first, name=first.name[0] + rng.choice(("总", "经理")), phone=_slip(rng, first.phone), email=""
    ),
    "company mistyped": lambda rng, first: replace(first, company=_mistyped(rng, first.company), phone="", email=""),
    "company shortened": lambda rng, first: replace(
        first, company=_core(first.company)[:-2] if len(_core(first.company)) > 7 else _core(first.company),
        phone=_slip(rng, first.phone), email=_mail_slip(rng, first.email),
    ),
    "all but the name new": lambda rng, first: replace(first, phone=_phone(rng), email=f"new{first.email}"),
}  # fmt: skip

_TRAPS: Final[tuple[Callable[[random.Random, Record], Record], ...]] = (
    # A namesake elsewhere.
    lambda rng, first: replace(first, company=_company(rng), phone=_phone(rng), email=""),
    # A colleague with the next number.
    lambda rng, first: replace(
        first, name=_another_name(rng, first.name), phone=first.phone[:-1] + str((int(first.phone[-1]) + 1) % 10), email=""
    ),
    # A namesake in a company of that name in another town.
    lambda rng, first: replace(
        first, company=rng.choice([town for town in _TOWNS if town != first.company[:2]]) + first.company[2:],
        phone=_phone(rng), email="",
    ),
    # A relative in the same company.
    lambda rng, first: replace(
        first, name=first.name[0] + _another_name(rng, first.name)[1:], phone=_phone(rng), email=""
    ),
    # Nobody at all but a name.
    lambda _, first: replace(first, company="", phone="", email=""),
)  # fmt: skip


def _another_name(rng: random.Random, name: str) -> str:
    while (other := rng.choice(_SURNAMES) + "".join(rng.sample(_GIVEN, 2))) and (other[1:] == name[1:]):
        pass
    return other


@dataclass(slots=True)
class Quality:
    """What was found, held against the key. A pair is right when both are of one person."""

    records: int = 0
    again: int = 0
    """Records of people who were there before."""
    missed: list[Record] = field(default_factory=list)
    wrong: list[tuple[Record, Record]] = field(default_factory=list)
    wrongly_one: list[tuple[Record, Record]] = field(default_factory=list)
    """Of the wrong ones, those that would have been made one customer without asking."""
    right: int = 0
    one: int = 0
    """Pairs made one without asking, rightly."""

    @property
    def precision(self) -> float:
        return self.right / max(1, self.right + len(self.wrong))

    @property
    def precision_of_one(self) -> float:
        return self.one / max(1, self.one + len(self.wrongly_one))

    @property
    def recall(self) -> float:
        return 1 - len(self.missed) / max(1, self.again)

    def __add__(self, other: "Quality") -> "Quality":
        """Of two overlays together."""
        return Quality(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.5f} ({len(self.wrong)} wrong), without asking {self.precision_of_one:.5f}"
            f" ({self.one} right, {len(self.wrongly_one)} wrong), recall {self.recall:.5f} of {self.again}"
        )


def held_against_the_key(
    records: Sequence[Record], customers: Sequence[str], pairs: Iterable[tuple[str, str, str]]
) -> Quality:
    """`customers` names the customer each record became; `pairs` are (customer, customer, verdict) found alike."""
    members: dict[str, list[Record]] = {}
    for record, customer in zip(records, customers, strict=True):
        members.setdefault(customer, []).append(record)
    quality = Quality(records=len(records))
    linked: set[int] = set()
    for same in members.values():
        for one, other in combinations(same, 2):
            _count(quality, one, other, linked, asked=False)
    for customer, other_customer, verdict in pairs:
        for one, other in product(members[customer], members[other_customer]):
            _count(quality, one, other, linked, asked=verdict != "same")
    of_person: dict[int, list[Record]] = {}
    for record in records:
        of_person.setdefault(record.person, []).append(record)
    for several in of_person.values():
        if len(several) > 1:
            quality.again += len(several) - 1
            quality.missed += [record for record in several if record.disguise and id(record) not in linked]
    return quality


def _count(quality: Quality, one: Record, other: Record, linked: set[int], *, asked: bool) -> None:
    if one.person == other.person:
        quality.right += 1
        quality.one += not asked
        linked |= {id(one), id(other)}
        return
    quality.wrong.append((one, other))
    if not asked:
        quality.wrongly_one.append((one, other))
