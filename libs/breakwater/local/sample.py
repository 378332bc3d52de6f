"""Generated sample data: people, leads, opportunities, calls and invoices with Chinese names, the same for the same seed.

All names, companies, numbers and addresses are made up; e-mail domains are those of RFC 2606, which nobody owns.
"""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TypeVar

LEADS = 2_000
DAYS_BACK = 180

SURNAMES = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕"
GIVEN = "伟芳娜秀英敏静丽强磊军洋勇艳杰娟涛明超秀兰霞平刚桂英华建国志强晓东海燕雪梅子轩梓涵浩然欣怡宇航思远"
CITIES = (
    ("上海", "310100", "华东"),
    ("杭州", "330100", "华东"),
    ("宁波", "330200", "华东"),
    ("苏州", "320500", "华东"),
    ("南京", "320100", "华东"),
    ("深圳", "440300", "华南"),
    ("广州", "440100", "华南"),
    ("佛山", "440600", "华南"),
    ("北京", "110100", "华北"),
    ("天津", "120100", "华北"),
    ("武汉", "420100", "华中"),
    ("长沙", "430100", "华中"),
    ("成都", "510100", "西南"),
    ("重庆", "500100", "西南"),
    ("西安", "610100", "西北"),
    ("沈阳", "210100", "东北"),
)
BRANDS = "海天 精工 华瑞 鼎盛 恒通 远航 中科 博达 万象 金石 新源 智联 东方 天元 瑞丰 同济 卓越 宏图 启明 腾跃".split()  # noqa: SIM905 - a list of words
INDUSTRIES = {
    "制造业": ("机械", "精密", "模具", "电子"),
    "软件": ("科技", "信息", "软件"),
    "医药": ("生物", "医药", "医疗"),
    "零售": ("商贸", "百货", "超市"),
    "物流": ("物流", "供应链"),
    "教育": ("教育", "培训"),
    "能源": ("能源", "电力"),
}
SOURCES = ("展会", "官网", "转介绍", "抖音", "百度推广", "电话销售", "公众号", "合作伙伴")
STAGES = ("新线索", "已联系", "已联系", "已确认", "已转化", "已转化", "已流失", "已关闭")
URGENCIES = ("低", "普通", "普通", "高", "紧急")
NEEDS = ("产线升级", "客户管理", "数据分析", "售后服务", "仓储管理", "成本核算", "")
CALL_SUBJECTS = ("首次沟通", "方案介绍", "报价跟进", "合同细节", "售后回访")
OPPORTUNITY_STAGES = ("需求确认", "方案报价", "商务谈判", "赢单", "输单")
INVOICE_STATES = ("已付款", "已付款", "已付款", "已开票", "逾期")
PEOPLE_PER_REGION = 2

ZONE = "Asia/Shanghai"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SampleFile:
    """A CSV file and the mapping (YAML, docs/mappings.md) it is imported by."""

    name: str
    mapping: str
    content: str


@dataclass(frozen=True, slots=True)
class _Lead:
    number: int
    name: str
    company: str
    converted: bool
    owner: str
    created: datetime


def generate(seed: int, today: date, leads: int = LEADS) -> list[SampleFile]:
    """The files in the order they are to be imported. Times lie in the `DAYS_BACK` days before `today`."""
    return _Generator(random.Random(seed), today).files(leads)  # noqa: S311 - sample data, not secrets


class _Generator:
    def __init__(self, chance: random.Random, today: date) -> None:
        self._chance = chance
        self._today = today
        self._people: list[dict[str, str]] = []

    def files(self, count: int) -> list[SampleFile]:
        people = self._make_people()
        rows, leads = self._make_leads(count)
        return [
            people,
            SampleFile("sample-leads.csv", _LEADS_MAPPING, _csv(rows)),
            self._make_opportunities(leads),
            self._make_calls(leads),
            self._make_invoices(leads),
        ]

    def _make_people(self) -> SampleFile:
        regions = sorted({region for _, _, region in CITIES})
        for number in range(len(regions) * PEOPLE_PER_REGION):
            region = regions[number % len(regions)]
            cities = [code for _, code, own in CITIES if own == region]
            self._people.append(
                {
                    "工号": f"S{number + 1:03}",
                    "姓名": self._name(),
                    "邮箱": f"s{number + 1:03}@sales.example.com",
                    "团队": "sales",
                    "地区": region,
                    "城市代码": ";".join(cities),
                    "轮转权重": str(self._chance.choice((1, 1, 2, 3))),
                }
            )
        return SampleFile("sample-people.csv", _PEOPLE_MAPPING, _csv(self._people))

    def _make_leads(self, count: int) -> tuple[list[dict[str, str]], list[_Lead]]:
        rows: list[dict[str, str]] = []
        leads: list[_Lead] = []
        for number in range(1, count + 1):
            city, code, region = self._pick(CITIES)
            industry = self._pick(tuple(INDUSTRIES))
            company = f"{city}{self._pick(BRANDS)}{self._pick(INDUSTRIES[industry])}有限公司"
            stage = self._pick(STAGES)
            # What is still open is for the rules to hand out.
            owner = self._pick(self._people)["工号"] if stage in {"已转化", "已流失", "已关闭"} else ""
            lead = _Lead(number, self._name(), company, stage == "已转化", owner, self._moment())
            leads.append(lead)
            rows.append(
                {
                    "编号": str(number),
                    "姓名": lead.name,
                    "公司": company,
                    "手机": f"1{self._pick(('38', '39', '50', '86', '59'))}{self._chance.randrange(10**8):08}",
                    "邮箱": f"contact{number}@c{self._chance.randrange(900):03}.example.com",
                    "地区": region,
                    "城市代码": code,
                    "行业": industry,
                    "来源": self._pick(SOURCES),
                    "预算": f"{self._chance.randrange(2, 200) * 5_000}.00",
                    "紧急程度": self._pick(URGENCIES),
                    "需求": self._pick(NEEDS),
                    "状态": stage,
                    "负责人": owner,
                    "创建时间": _text(lead.created),
                }
            )
        return rows, leads

    def _make_opportunities(self, leads: Sequence[_Lead]) -> SampleFile:
        rows = [
            {
                "线索编号": str(lead.number),
                "商机名称": f"{lead.company}项目",
                "商机阶段": self._pick(OPPORTUNITY_STAGES),
                "金额": f"{self._chance.randrange(4, 300) * 5_000}.00",
                "赢率": str(self._chance.randrange(10, 100, 10)),
                "负责人": lead.owner,
                "创建时间": _text(self._after(lead.created)),
            }
            for lead in leads
            if lead.converted
        ]
        return SampleFile("sample-opportunities.csv", _OPPORTUNITIES_MAPPING, _csv(rows))

    def _make_calls(self, leads: Sequence[_Lead]) -> SampleFile:
        rows = [
            {
                "线索编号": str(lead.number),
                "序号": str(call),
                "主题": self._pick(CALL_SUBJECTS),
                "时间": _text(self._after(lead.created)),
                "时长（秒）": str(self._chance.randrange(20, 1_800)),
            }
            for lead in leads
            for call in range(self._chance.choice((0, 0, 1, 2, 4) if lead.converted else (0, 0, 0, 1)))
        ]
        return SampleFile("sample-calls.csv", _CALLS_MAPPING, _csv(rows))

    def _make_invoices(self, leads: Sequence[_Lead]) -> SampleFile:
        rows = [
            {
                "线索编号": str(lead.number),
                "发票号": f"FP{lead.number:05}{invoice}",
                "状态": self._pick(INVOICE_STATES),
                "金额": f"{self._chance.randrange(2, 100) * 5_000}.{self._chance.randrange(100):02}",
                "开票时间": _text(self._after(lead.created)),
            }
            for lead in leads
            if lead.converted
            for invoice in range(self._chance.choice((0, 1, 1, 2)))
        ]
        return SampleFile("sample-invoices.csv", _INVOICES_MAPPING, _csv(rows))

    def _name(self) -> str:
        return self._pick(SURNAMES) + "".join(self._chance.choices(GIVEN, k=self._chance.choice((1, 2, 2))))

    def _moment(self) -> datetime:
        day = self._today - timedelta(days=self._chance.randrange(1, DAYS_BACK))
        return datetime.combine(day, time(self._chance.randrange(8, 19), self._chance.randrange(60)))

    def _after(self, moment: datetime) -> datetime:
        end = datetime.combine(self._today, time())
        return moment + (end - moment) * self._chance.random()

    def _pick(self, choices: Sequence[T]) -> T:
        return self._chance.choice(choices)


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _csv(rows: Sequence[Mapping[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


_PEOPLE_MAPPING = """
title: 示例人员
dataset: people
columns: {工号: id, 姓名: name, 邮箱: email, 团队: team, 地区: regions, 城市代码: city_codes, 轮转权重: weight}
"""

_LEADS_MAPPING = f"""
title: 示例线索
dataset: leads
zone: {ZONE}
external_id: "sample:lead:{{编号}}"
columns:
  姓名: name
  公司: company
  手机: phone
  邮箱: email
  地区: region
  城市代码: city_code
  行业: industry
  来源: source
  预算: budget
  紧急程度: {{field: urgency, words: {{低: low, 普通: normal, 高: high, 紧急: urgent}}}}
  需求: need
  状态:
    - field: stage
      words: {{新线索: new, 已联系: contacted, 已确认: qualified, 已转化: converted, 已流失: lost, 已关闭: closed}}
    - field: source_status
  负责人: owner
  创建时间: {{field: created_at, formats: ["%Y-%m-%d %H:%M:%S"]}}
"""

_OPPORTUNITIES_MAPPING = f"""
title: 示例商机
dataset: opportunities
zone: {ZONE}
external_id: "sample:opportunity:{{线索编号}}"
refs: ["sample:lead:{{线索编号}}"]
columns:
  商机名称: name
  商机阶段: stage
  金额: amount
  赢率: probability
  负责人: owner
  创建时间: {{field: occurred_at, formats: ["%Y-%m-%d %H:%M:%S"]}}
"""

_CALLS_MAPPING = f"""
title: 示例通话
dataset: activities
zone: {ZONE}
external_id: "sample:call:{{线索编号}}-{{序号}}"
refs: ["sample:lead:{{线索编号}}"]
columns:
  主题: subject
  时间: {{field: occurred_at, formats: ["%Y-%m-%d %H:%M:%S"]}}
  时长（秒）: duration_s
values: {{kind: call}}
"""

_INVOICES_MAPPING = f"""
title: 示例发票
dataset: invoices
zone: {ZONE}
external_id: "sample:invoice:{{发票号}}"
refs: ["sample:lead:{{线索编号}}"]
columns:
  发票号: number
  状态: status
  金额: amount
  开票时间: {{field: occurred_at, formats: ["%Y-%m-%d %H:%M:%S"]}}
"""
