"""A seeded, dirty file of leads with a known answer: what nobody's clean sample data can prove (data/README.md).

Phones in every form people write, companies with and without their legal form, full width, upper case, amounts in 万,
impossible dates, missing values, and the same people again in disguise. Everything fits into GBK.
"""

import csv
import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

HEADERS = ("姓名", "公司", "手机", "邮箱", "来源", "预算", "创建时间", "状态")
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗"
_GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华建国志远欣怡子涵"
_TOWNS = ("宁波", "苏州", "杭州", "无锡", "常州", "温州", "青岛", "佛山", "东莞", "合肥")
_TRADES = ("海天机械", "精工模具", "恒力塑机", "远东电气", "华康医药", "新锐软件", "博雅教育", "天成物流")
_SOURCES = ("展会扫码", "百度爱采购", "官网", "老客户介绍")
_STATES = ("新线索", "跟进中", "已确认", "战败")
_AMOUNTS: tuple[tuple[str, str], ...] = (
    ("", ""),
    ("5万", "50000"),
    ("￥1,234,567.80", "1234567.80"),
    ("６２００００", "620000"),
    ("$1,117.10K", "1117100"),
    ("0.3亿元", "30000000"),
)
_TIMES = ("2021-04-15 08:30:00", "2021/4/5", "2021年4月5日", "15 Apr, 2021 00:03:00", "20210405")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


@dataclass(frozen=True, slots=True)
class Answer:
    """What must become of one row: `refused` is the field named by its rejection, None for a row that is taken."""

    row: int
    person: int
    refused: str | None = None
    budget: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Overlay:
    """The file and its key."""

    text: str
    answers: tuple[Answer, ...]

    @property
    def taken(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.refused is None]

    @property
    def refused(self) -> dict[int, str]:
        return {answer.row: answer.refused for answer in self.answers if answer.refused is not None}


@dataclass(frozen=True, slots=True)
class _Person:
    name: str
    company: str
    phone: str
    email: str


def dirty_overlay(seed: int, rows: int = 600) -> Overlay:
    """`rows` rows from a seed: about half are people seen before, one in six is unusable."""
    rng = random.Random(seed)
    people: list[_Person] = []
    lines: list[tuple[str, ...]] = []
    answers: list[Answer] = []
    for row in range(2, rows + 2):
        if not people or rng.random() < 0.5:
            people.append(_new_person(rng, len(people)))
            index, cells = len(people) - 1, _plain(rng, people[-1])
            seen_before = False
        else:
            index = rng.randrange(len(people))
            cells = _disguised(rng, people[index])
            seen_before = True
        amount, budget = rng.choice(_AMOUNTS)
        cells |= {
            "来源": rng.choice(_SOURCES),
            "预算": amount,
            "创建时间": rng.choice(_TIMES),
            "状态": rng.choice(_STATES),
        }
        refused = None
        if rng.random() < 1 / 6:
            refused = rng.choice(list(_FAULTS))
            _FAULTS[refused](cells)
            if not seen_before:
                # Nobody has met them then.
                people.pop()
                index = -1
        line = tuple(cells[header] for header in HEADERS)
        lines.append((*line, "多余的一格") if refused == "" else line)
        answers.append(Answer(row, index, refused, Decimal(budget) if budget else None))
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([HEADERS, *lines])
    return Overlay(text.getvalue(), tuple(answers))


def _new_person(rng: random.Random, index: int) -> _Person:
    # Numbered, so that two people never share a key by accident: the answer stays known.
    name = rng.choice(_SURNAMES) + "".join(rng.sample(_GIVEN, 2))
    company = f"{rng.choice(_TOWNS)}{rng.choice(_TRADES)}{_chinese(index)}有限公司"
    return _Person(
        name, company, f"1{rng.choice('3578')}{rng.randrange(10)}{index:08d}", f"p{index}@example{index % 7}.cn"
    )


def _chinese(number: int) -> str:
    return "".join("零一二三四五六七八九"[int(digit)] for digit in str(number))


def _plain(rng: random.Random, person: _Person) -> dict[str, str]:
    return {"姓名": person.name, "公司": person.company, "手机": _phone(rng, person.phone), "邮箱": person.email}


def _disguised(rng: random.Random, person: _Person) -> dict[str, str]:
    """The same person as somebody else typed them: by phone, by mail, or by name and company alone."""
    cells = {"姓名": person.name, "公司": _company(rng, person.company), "手机": "", "邮箱": ""}
    known_by = rng.choice(("phone", "email", "name"))
    if known_by == "phone":
        cells |= {"姓名": person.name[0] + "总", "公司": "", "手机": _phone(rng, person.phone)}
    elif known_by == "email":
        cells |= {"公司": rng.choice(("", cells["公司"])), "邮箱": _email(rng, person.email)}
    return cells


def _phone(rng: random.Random, number: str) -> str:
    written = rng.choice(
        (
            number,
            f"{number[:3]}-{number[3:7]}-{number[7:]}",
            f"{number[:3]} {number[3:7]} {number[7:]}",
            f"+86 {number}",
            f"0086-{number}",
            f"086{number}",
            f"86{number}",
            f"(+86){number}",
        )
    )
    return written.translate(_WIDE) if rng.random() < 0.2 else written


def _email(rng: random.Random, address: str) -> str:
    return rng.choice((address.upper(), f" {address} ", address.translate(_WIDE), address.capitalize()))


def _company(rng: random.Random, company: str) -> str:
    core = company.removesuffix("有限公司")
    return rng.choice((core, f"{core}股份有限公司", f"　{company}　", f"{core[:2]} {core[2:]}有限公司"))


_FAULTS: dict[str, Callable[[dict[str, str]], None]] = {
    "name": lambda cells: cells.update({"姓名": "　 "}),
    "source": lambda cells: cells.update({"来源": "无"}),
    "budget": lambda cells: cells.update({"预算": "面议"}),
    "created_at": lambda cells: cells.update({"创建时间": "2021-02-30"}),
    "stage": lambda cells: cells.update({"状态": "待定"}),
    "email": lambda cells: cells.update({"邮箱": "wang(at)example.cn"}),
    "phone": lambda cells: cells.update({"手机": "下班后打"}),
    "": lambda _cells: None,
}
"""What makes a row unusable, by the field its rejection names; "" is a row with a cell too many."""
