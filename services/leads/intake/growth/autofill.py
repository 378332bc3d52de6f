"""What fills itself: title and department from an e-mail signature, fields from minutes, a preference from page views (77).

Pure. Nothing is guessed: a line that does not say what it is fills nothing, and a person sees what was found before it is kept.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from services.leads.intake.domain import clean
from services.leads.intake.phones import normalise_phone

LINES_MAX = 200
"""Of a text; what stands below is not read."""
LINE_CHARS_MAX = 500
VALUE_CHARS_MAX = 200
VIEWS_FOR_PREFERENCE = 3
"""So many views of one kind of page say what somebody likes to read."""

_TITLES = (
    "董事长|副董事长|总裁|副总裁|总经理|副总经理|厂长|副厂长|总监|副总监|总工程师|高级工程师|工程师|部长|副部长|主任|副主任|"
    "经理|副经理|主管|专员|顾问|助理|采购员|会计|负责人|"
    "chief [a-z]+ officer|c[etfomi]o|president|vice president|director|manager|engineer|head of [a-z ]+|buyer"
)
_TITLE = re.compile(rf"(?:^|(?<=[\s|/,，·]))([\w]{{0,8}}(?:{_TITLES}))(?=$|[\s|/,，·])", re.IGNORECASE)
_DEPARTMENT = re.compile(
    r"([\u4e00-\u9fff]{2,10}(?:事业部|中心|部|科|处|室))(?=$|[\s|/,，·]|[\u4e00-\u9fff]{0,3}(?:经理|总监|主管|部长|主任|专员|工程师))"
    r"|\b([A-Z][A-Za-z& ]{1,40} (?:Department|Dept\.?|Division))\b|\b(?:Department|Dept\.?) of ([A-Z][A-Za-z& ]{1,40})"
)
_COMPANY = re.compile(r"[\w（）()·&., ]{2,60}(?:有限公司|集团|股份公司|Ltd\.?|Inc\.?|GmbH|LLC)", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+")
_PHONE = re.compile(r"(?<![\w.])(?:\+?\d[\d\s()-]{6,18}\d)(?![\w])")
_WEBSITE = re.compile(r"(?:https?://|www\.)[\w.-]+(?:/\S*)?", re.IGNORECASE)
_LABELS: Mapping[str, str] = {
    "姓名": "name", "客户": "name", "联系人": "name", "name": "name",
    "公司": "company", "单位": "company", "company": "company",
    "职位": "title", "职务": "title", "title": "title",
    "部门": "department", "department": "department",
    "电话": "phone", "手机": "phone", "phone": "phone", "mobile": "phone", "tel": "phone",
    "邮箱": "email", "邮件": "email", "email": "email", "e-mail": "email",
    "需求": "need", "产品": "product", "意向产品": "product", "行业": "industry", "规模": "company_size",
    "采购周期": "purchase_cycle", "交付时间": "purchase_cycle", "预算": "budget", "预算归属": "budget_owner",
}  # fmt: skip
_LABELLED = re.compile(r"\s*(?:[-*•\d.、]+\s*)?([\w -]{1,12}?)\s*[:：]\s*(.+)")


def from_signature(text: str) -> dict[str, str]:
    """Fields that a signature says: title, department, company, phone, email, website, and the name where a line is one."""
    lines = _lines(text)
    found: dict[str, str] = _labelled(lines)
    for line in lines:
        label = _LABELLED.fullmatch(line)
        bare = label[2] if label and label[1].strip().casefold() in _LABELS else line
        if department := _DEPARTMENT.search(bare):
            found.setdefault("department", next(each for each in department.groups() if each).strip())
            bare = bare.replace(department[0], " ", 1)
        if title := _TITLE.search(bare):
            found.setdefault("title", title[1].strip())
        if company := _COMPANY.search(line):
            found.setdefault("company", company[0].strip())
        if email := _EMAIL.search(line):
            found.setdefault("email", email[0].lower())
        if website := _WEBSITE.search(line):
            found.setdefault("website", website[0])
        if "phone" not in found and (phone := _PHONE.search(line)):
            found["phone"] = phone[0].strip()
    if lines and "name" not in found and (name := re.match(r"[\u4e00-\u9fff]{2,4}(?=$|[\s|/,，·])", lines[0])):
        found["name"] = name[0]
    return _kept(found)


def from_minutes(text: str) -> dict[str, str]:
    """Fields of lines such as `预算：50万`; the whole text becomes the field `minutes`, as long as a detail may be."""
    return _kept(_labelled(_lines(text))) | {"minutes": clean(text)[:VALUE_CHARS_MAX]}


def from_page_views(views: Sequence[str]) -> dict[str, str]:
    """From the paths somebody looked at, oldest first: what kind they like, and the walk itself."""
    kinds = Counter(path.strip("/").split("/")[0].casefold() for path in views if path.strip("/"))
    found = {"web_behaviour": " → ".join(views[-10:])[:VALUE_CHARS_MAX]} if views else {}
    if kinds and (most := kinds.most_common(1)[0])[1] >= VIEWS_FOR_PREFERENCE:
        found["content_preference"] = most[0]
    return found


def _lines(text: str) -> list[str]:
    lines = (clean(line[:LINE_CHARS_MAX]) for line in text.splitlines()[:LINES_MAX])
    return [line for line in lines if line]


def _labelled(lines: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        if (label := _LABELLED.fullmatch(line)) and (name := _LABELS.get(label[1].strip().casefold())):
            found.setdefault(name, label[2].strip())
    return found


def _kept(found: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value[:VALUE_CHARS_MAX] for name, value in found.items() if value}
    if "phone" in kept:
        try:
            kept["phone"] = normalise_phone(kept["phone"])
        except ValueError:
            del kept["phone"]
    return kept
