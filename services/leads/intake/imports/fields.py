"""What a file can fill: the fields of each dataset, with the Chinese title people know them by. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from services.leads.intake.domain import LENGTHS_MAX, Stage
from services.leads.organisation.domain import RANK_MAX

TEXT_CHARS_MAX = 200
"""Of a text field that names no limit of its own."""


class Dataset(StrEnum):
    """What the rows of a file are; the names of `Import.dataset`."""

    LEADS = "leads"
    PEOPLE = "people"
    CONTACTS = "contacts"
    OPPORTUNITIES = "opportunities"
    ACTIVITIES = "activities"
    INVOICES = "invoices"


class FieldType(StrEnum):
    """How a cell is read; docs/mappings.md says what each accepts."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATETIME = "datetime"
    BOOLEAN = "boolean"
    CHOICE = "choice"
    LIST = "list"
    PERSON = "person"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a dataset."""

    title: str
    type: FieldType = FieldType.TEXT
    mandatory: bool = False
    chars_max: int = TEXT_CHARS_MAX
    choices: tuple[str, ...] = ()
    bounds: tuple[int, int] = (0, 10**9)
    """Smallest and largest whole number."""


_T = FieldType
_STAGES = tuple(stage.value for stage in Stage)


def _lead_text(name: str, title: str, *, mandatory: bool = False) -> Field:
    return Field(title, mandatory=mandatory, chars_max=LENGTHS_MAX[name])


_LEADS = {
    "name": _lead_text("name", "姓名", mandatory=True),
    "company": _lead_text("company", "公司"),
    "phone": _lead_text("phone", "手机"),
    "email": _lead_text("email", "邮箱"),
    "website": _lead_text("website", "网站"),
    "city_code": _lead_text("city_code", "城市代码"),
    "region": _lead_text("region", "地区"),
    "industry": _lead_text("industry", "行业"),
    "source": _lead_text("source", "来源", mandatory=True),
    "budget": Field("预算", _T.DECIMAL),
    "urgency": _lead_text("urgency", "紧急程度"),
    "need": _lead_text("need", "需求"),
    "stage": Field("阶段", _T.CHOICE, choices=_STAGES),
    "converted": Field("已转化", _T.BOOLEAN),
    "source_status": _lead_text("source_status", "原系统状态"),
    "owner": Field("负责人", _T.PERSON),
    "created_at": Field("创建时间", _T.DATETIME),
    "anonymous_id": _lead_text("anonymous_id", "匿名标识"),
    "product": Field("产品"),
    "company_size": Field("企业规模"),
    "purchase_cycle": Field("采购周期"),
    "title": Field("职位"),
    "department": Field("部门"),
    "budget_owner": Field("预算归属"),
    "content_preference": Field("内容偏好"),
    "utm_source": Field("广告来源"),
    "utm_medium": Field("广告媒介"),
    "utm_campaign": Field("广告活动"),
    "utm_term": Field("广告关键词"),
    "utm_content": Field("广告内容"),
}

DETAILS = ("product", "company_size", "purchase_cycle", "title", "department", "budget_owner", "content_preference")
"""Fields of leads that are kept as details (54, 75)."""

_PEOPLE = {
    "id": Field("工号", mandatory=True, chars_max=64),
    "name": Field("姓名", mandatory=True, chars_max=120),
    "email": Field("邮箱", chars_max=254),
    "team": Field("团队", chars_max=64),
    "supervisor": Field("主管", _T.PERSON),
    "regions": Field("地区", _T.LIST),
    "city_codes": Field("城市代码", _T.LIST),
    "skills": Field("技能", _T.LIST),
    "department": Field("部门", chars_max=1_000),
    "heads": Field("部门负责人", _T.LIST),
    "rank": Field("职级", _T.INTEGER, bounds=(0, RANK_MAX)),
    "active": Field("在职", _T.BOOLEAN),
    "has_account": Field("账号已激活", _T.BOOLEAN),
    "may_follow_up": Field("可跟进", _T.BOOLEAN),
    "on_duty": Field("在岗", _T.BOOLEAN),
    "weight": Field("轮转权重", _T.INTEGER, bounds=(0, 1_000)),
    "open_leads_max": Field("在手线索上限", _T.INTEGER),
    "leads_per_day_max": Field("每日线索上限", _T.INTEGER),
    "leads_per_week_max": Field("每周线索上限", _T.INTEGER),
    "duty": Field("值班时间", chars_max=500),
    "works_holidays": Field("节假日值班", _T.BOOLEAN),
}

_CONTACTS = {
    "name": Field("姓名", mandatory=True),
    "company": Field("公司"),
    "phone": Field("手机", chars_max=40),
    "email": Field("邮箱", chars_max=254),
}

_OPPORTUNITIES = {
    "name": Field("商机名称"),
    "stage": Field("商机阶段", mandatory=True, chars_max=60),
    "amount": Field("金额", _T.DECIMAL),
    "expected_revenue": Field("预期收入", _T.DECIMAL),
    "probability": Field("赢率", _T.INTEGER, bounds=(0, 100)),
    "kind": Field("类型", chars_max=60),
    "owner": Field("负责人", _T.PERSON),
    "occurred_at": Field("创建时间", _T.DATETIME, mandatory=True),
    "closing_at": Field("预计成交时间", _T.DATETIME),
}

_ACTIVITIES = {
    "kind": Field("方式", mandatory=True, chars_max=60),
    "subject": Field("主题", chars_max=500),
    "direction": Field("方向", chars_max=60),
    "purpose": Field("目的", chars_max=60),
    "occurred_at": Field("时间", _T.DATETIME, mandatory=True),
    "duration_s": Field("时长（秒）", _T.INTEGER),
    "owner": Field("负责人", _T.PERSON),
}

_INVOICES = {
    "number": Field("发票号", chars_max=60),
    "subject": Field("主题", chars_max=500),
    "status": Field("状态", mandatory=True, chars_max=60),
    "amount": Field("金额", _T.DECIMAL),
    "occurred_at": Field("开票时间", _T.DATETIME, mandatory=True),
    "owner": Field("负责人", _T.PERSON),
}

FIELDS: Mapping[Dataset, Mapping[str, Field]] = {
    Dataset.LEADS: _LEADS,
    Dataset.PEOPLE: _PEOPLE,
    Dataset.CONTACTS: _CONTACTS,
    Dataset.OPPORTUNITIES: _OPPORTUNITIES,
    Dataset.ACTIVITIES: _ACTIVITIES,
    Dataset.INVOICES: _INVOICES,
}

REFERRING = frozenset({Dataset.CONTACTS, Dataset.OPPORTUNITIES, Dataset.ACTIVITIES, Dataset.INVOICES})
"""Datasets whose rows name a customer by the ids of another system (`refs` in a mapping)."""
