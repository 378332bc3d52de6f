"""Which datasets there are, and the columns of each with the title people read above them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from breakwater.chassis.errors import FieldError, InvalidRequestError

FIELDS_MAX = 100
"""Columns one request may name."""


class ColumnType(StrEnum):
    """How a column's cells are to be read; ids, phones and codes are text."""

    TEXT = "text"
    INTEGER = "integer"
    DECIMAL = "decimal"
    DATETIME = "datetime"


@dataclass(frozen=True, slots=True)
class Column:
    """`base` columns are those a degraded export keeps (37)."""

    name: str
    title: str
    type: ColumnType = ColumnType.TEXT
    base: bool = False


_T = ColumnType

DATASETS: Mapping[str, tuple[Column, ...]] = {
    "leads": (
        Column("id", "线索编号", base=True),
        Column("name", "姓名", base=True),
        Column("company", "公司", base=True),
        Column("phone", "手机", base=True),
        Column("email", "邮箱", base=True),
        Column("website", "网站"),
        Column("region", "地区"),
        Column("city_code", "城市代码"),
        Column("industry", "行业"),
        Column("source", "来源", base=True),
        Column("budget", "预算（元）", _T.DECIMAL),
        Column("urgency", "紧急程度"),
        Column("need", "需求"),
        Column("stage", "阶段", base=True),
        Column("source_status", "原系统状态"),
        Column("priority", "优先级"),
        Column("owner_id", "负责人工号"),
        Column("owner_name", "负责人", base=True),
        Column("created_at", "创建时间", _T.DATETIME, base=True),
        Column("assigned_at", "分配时间", _T.DATETIME),
        Column("claim_by", "认领期限", _T.DATETIME),
        Column("claimed_at", "认领时间", _T.DATETIME),
        Column("customer_id", "客户编号"),
        Column("external_id", "外部编号"),
    ),
    "customers": (
        Column("id", "客户编号", base=True),
        Column("name", "姓名", base=True),
        Column("company", "公司", base=True),
        Column("phone", "手机", base=True),
        Column("email", "邮箱", base=True),
        Column("owner_id", "负责人工号"),
        Column("owner_name", "负责人", base=True),
        Column("leads", "线索数", _T.INTEGER),
        Column("open_leads", "在途线索数", _T.INTEGER),
        Column("created_at", "创建时间", _T.DATETIME, base=True),
    ),
    "assignments": (
        Column("id", "分配编号", base=True),
        Column("lead_id", "线索编号", base=True),
        Column("lead_name", "姓名", base=True),
        Column("company", "公司", base=True),
        Column("owner_id", "负责人工号"),
        Column("owner_name", "负责人", base=True),
        Column("rule_id", "规则"),
        Column("rule_version", "规则版本", _T.INTEGER),
        Column("priority", "优先级"),
        Column("reason", "分配理由", base=True),
        Column("claim_by", "认领期限", _T.DATETIME),
        Column("decided_at", "分配时间", _T.DATETIME, base=True),
    ),
    # Boards (6, 101): the last seven days of everybody the caller may see, and one person's day.
    "lead-timeliness": (
        Column("group", "范围", base=True),
        Column("team", "小组", base=True),
        Column("name", "姓名", base=True),
        Column("leads", "线索数", _T.INTEGER, base=True),
        Column("responded", "已响应", _T.INTEGER, base=True),
        Column("business_mean_min", "平均首响（工作分钟）", _T.DECIMAL, base=True),
        Column("business_p50_min", "首响中位数（工作分钟）", _T.DECIMAL),
        Column("business_p90_min", "首响 P90（工作分钟）", _T.DECIMAL, base=True),
        Column("wall_mean_min", "平均首响（自然分钟）", _T.DECIMAL, base=True),
        Column("wall_p50_min", "首响中位数（自然分钟）", _T.DECIMAL),
        Column("wall_p90_min", "首响 P90（自然分钟）", _T.DECIMAL),
        Column("late", "超时", _T.INTEGER, base=True),
        Column("on_time_percent", "按时率（%）", _T.DECIMAL, base=True),
        Column("on_time_points", "按时绩效得分", _T.DECIMAL),
        Column("assigned_percent", "15 分钟内分配（%）", _T.DECIMAL, base=True),
        Column("contacted_percent", "48 小时内接触（%）", _T.DECIMAL, base=True),
        Column("from", "起"),
        Column("to", "止"),
    ),
    "personal-board": (
        Column("due_at", "到期", _T.DATETIME, base=True),
        Column("overdue", "逾期", base=True),
        Column("action", "下一步动作", base=True),
        Column("name", "姓名", base=True),
        Column("company", "公司", base=True),
        Column("industry", "行业", base=True),
        Column("amount", "金额", base=True),
        Column("stage", "阶段", base=True),
        Column("lead_id", "线索编号"),
        Column("owner_name", "负责人"),
    ),
}
BOARDS = frozenset({"lead-timeliness", "personal-board"})
"""Datasets that are figures of leads, not their rows."""


def columns_of(dataset: str, fields: Sequence[str], *, base_fields_only: bool) -> tuple[Column, ...]:
    """The asked columns in the asked order, or the dataset's own; raises InvalidRequestError naming every wrong one.

    With `base_fields_only`, those of them that are base columns, and all base columns if none is.
    """
    columns = DATASETS.get(dataset)
    if columns is None:
        raise _invalid([FieldError("dataset", f"is none of {', '.join(DATASETS)}")])
    if fields:
        columns = _chosen(dataset, fields, {column.name: column for column in columns})
    if not base_fields_only:
        return columns
    return tuple(column for column in columns if column.base) or columns_of(dataset, (), base_fields_only=True)


def _chosen(dataset: str, fields: Sequence[str], known: Mapping[str, Column]) -> tuple[Column, ...]:
    if len(fields) > FIELDS_MAX:
        raise _invalid([FieldError("fields", f"has more than {FIELDS_MAX} names")])
    errors = [
        FieldError(f"fields.{place}", f"{name[:60]!r} is no column of {dataset}; there are {', '.join(known)}")
        for place, name in enumerate(fields)
        if name not in known
    ]
    if len(set(fields)) < len(fields):
        errors.append(FieldError("fields", "names a column twice"))
    if errors:
        raise _invalid(errors)
    return tuple(known[name] for name in fields)


def _invalid(errors: Sequence[FieldError]) -> InvalidRequestError:
    return InvalidRequestError("The dataset or its columns cannot be given.", errors=errors)
