"""People and teams from directory exports: WeCom and DingTalk as their consoles write them, and a file of one's own (4)."""

import io
from collections.abc import Sequence

import openpyxl
import pytest

from breakwater.chassis.errors import InvalidRequestError
from breakwater.chassis.identity import Actor, Role, Scope
from services.leads.organisation.domain import Person
from services.leads.organisation.usecases import list_findings

pytestmark = pytest.mark.capability(4)
ADMIN = Actor("admin", Role.ADMIN, Scope.ALL)

NOTICE = "填写须知：\n1、不能对成员信息类别进行增加、删除或修改；\n2、上下级部门间用‘/’隔开"
WECOM_HEADER = (
    *("姓名", "账号", "别名", "职务", "部门", "性别", "手机", "座机", "邮箱", "地址", "企业邮箱", "视频号"),
    *("激活状态", "禁用状态", "微信插件"),
)


def wecom_row(name: str, account: str, department: str, activated: str = "已激活", enabled: str = "启用") -> list[str]:
    mail = f"{account}@corp.test"
    return [name, account, "", "顾问", department, "女", "138", "", "", "", mail, "", activated, enabled, ""]


def workbook(*rows: Sequence[str]) -> bytes:
    """An XLSX as WeCom writes it: one merged cell of instructions, the header, the members."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([NOTICE])
    sheet.merge_cells(start_row=1, start_column=1, end_row=1, end_column=len(WECOM_HEADER))
    for row in (WECOM_HEADER, *rows):
        sheet.append(list(row))
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


async def people_of(platform) -> dict[str, Person]:
    async with platform.leads.begin_people() as reader:
        directory = await reader.directory()
    return {person.id: person for person in directory.people.values() if "-" not in person.id}


async def teams_of(platform) -> dict[str, list[str]]:
    """By person, the names of their team and those above it."""
    async with platform.leads.begin_people() as reader:
        directory = await reader.directory()
    return {
        person.id: [team.name for team in directory.chain(person.team_id)]
        for person in directory.people.values()
        if "-" not in person.id
    }


async def found(platform, kind: str) -> set[str]:
    findings, _ = await list_findings(platform.leads.begin_people, ADMIN, "", 200)
    return {finding.person_id for finding in findings if finding.kind == kind}


@pytest.mark.capability(119)
async def test_a_wecom_export_makes_people_teams_and_steps(platform) -> None:
    """Instructions above the header, departments with their levels, status words; row numbers are those of the sheet."""
    content = workbook(
        wecom_row("王芳", "wangfang", "恒力/销售部/华东组；恒力/市场部"),
        wecom_row("李娜", "lina", "恒力/销售部", activated="未激活"),
        wecom_row("赵敏", "zhaomin", "恒力/销售部/华东组", enabled="禁用"),
        wecom_row("", "nobody", "恒力"),
    )
    done = await platform.run(content, "wecom", filename="成员.xlsx")
    assert (done.dataset, done.rows, done.created, done.rejected, done.failure) == ("people", 4, 3, 1, "")
    [rejection] = await platform.rejections(done.id)
    assert (rejection.row, rejection.field) == (6, "name")
    people = await people_of(platform)
    assert (people["wangfang"].email, people["wangfang"].active) == ("wangfang@corp.test", True)
    assert not people["lina"].has_account
    assert people["lina"].active
    assert not people["zhaomin"].active
    assert await found(platform, "account_missing") == {"lina"}
    assert await teams_of(platform) == {
        "wangfang": ["华东组", "销售部", "恒力"],
        "lina": ["销售部", "恒力"],
        "zhaomin": ["华东组", "销售部", "恒力"],
    }


@pytest.mark.capability(125)
async def test_rules_that_name_a_team_nobody_is_in_are_found_after_an_import(platform) -> None:
    """The shipped rules name sales, a directory has departments: the finding names rules and team until somebody is there."""

    async def empty() -> list[tuple[str, bool]]:
        findings, _ = await list_findings(platform.leads.begin_people, ADMIN, "", 200)
        return [(each.team_id, "销售一部轮流" in each.detail) for each in findings if each.kind == "rule_team_empty"]

    await platform.run(workbook(wecom_row("王芳", "wangfang", "恒力/销售部")), "wecom", filename="a.xlsx")
    assert await empty() == [("sales", True)]
    await platform.leads.people(Person("1", "甲", weight=0))
    assert await empty() == [("sales", True)]
    await platform.leads.people(Person("1", "甲"))
    assert await empty() == []


async def test_who_is_missing_from_a_full_export_is_found_and_not_deleted(platform) -> None:
    """Also while a later file has failed; somebody who comes back is no finding any more, nor is somebody made by hand."""
    await platform.leads.people(Person("byhand", "手工"))
    both = [wecom_row("王芳", "wangfang", "恒力"), wecom_row("李娜", "lina", "恒力")]
    await platform.run(workbook(*both), "wecom", filename="a.xlsx")
    assert await found(platform, "missing_from_directory") == set()
    await platform.leads.clock.advance(60)
    await platform.run(workbook(both[0]), "wecom", filename="b.xlsx")
    assert await found(platform, "missing_from_directory") == {"lina"}
    assert (await people_of(platform))["lina"].active
    await platform.leads.clock.advance(60)
    await platform.run(workbook(*both), "wecom", filename="c.xlsx")
    assert await found(platform, "missing_from_directory") == set()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "gb18030", "utf-16"])
async def test_a_dingtalk_export_names_heads_of_departments_and_supervisors(platform, encoding: str) -> None:
    """Levels by hyphen, departments and whether somebody heads each by comma; a supervisor may come later in the file."""
    header = "员工UserID,部门,职位,姓名,性别,工号,是否此部门主管(是/否),手机号,邮箱,分机号,办公地点,备注,直属主管\n"
    rows = [
        'u1,销售部-华东组,顾问,王芳,女,1,否,138,fang@corp.test,,,,"陈晨(u3)"\n',
        'u2,"销售部-华东组,销售部",经理,李娜,女,2,"是,否",139,,,,,陈晨\n',
        "u3,销售部,总监,陈晨,男,3,是,137,,,,,\n",
        "u4,销售部,顾问,刘洋,男,4,否,136,,,,,没有此人\n",
    ]
    notice = '"填写须知：\n部门 : 上下级部门间用‘-’隔开，多部门用英文的"",""隔开",,,,,,,,,,,,\n'
    content = (notice + header + "".join(rows)).encode(encoding)
    done = await platform.run(content, "dingtalk", filename="员工.csv")
    assert (done.created, done.rejected, done.failure) == (4, 0, "")
    async with platform.leads.begin_people() as reader:
        directory = await reader.directory()
    supervisors = {person_id: directory.supervisor_of(person_id) for person_id in ("u1", "u2", "u3", "u4")}
    assert supervisors == {"u1": "u3", "u2": "u3", "u3": "", "u4": "u3"}
    heads = {team.name: team.supervisor_id for team in directory.teams.values() if team.id.startswith("dept-")}
    assert heads == {"华东组": "u2", "销售部": "u3"}
    assert await found(platform, "supervisor_unknown") == {"u4"}


async def test_a_later_file_changes_heads_and_a_supervisor_who_comes_is_found_by_name(platform) -> None:
    """Within one file the first head stands, whatever rows say before or after; each change of a person is told once."""
    header = "工号,姓名,部门,部门负责人,主管\n"

    async def run(*rows: str) -> None:
        await platform.leads.clock.advance(60)
        done = await platform.run((header + "".join(rows)).encode(), "people", filename="people.csv")
        assert (done.rejected, done.failure) == (0, "")

    async def head() -> str:
        return await platform.leads.value("SELECT supervisor_id FROM teams WHERE name = '销售部'")

    await run("1,甲,销售部,是,\n", "2,乙,销售部,否,\n")
    assert await head() == "1"
    await run("2,乙,销售部,是,\n", "3,丙,销售部,是,丁\n", "1,甲,销售部,否,\n")
    assert await head() == "2"
    await run("2,乙,销售部,否,\n")
    assert await head() == ""
    assert (await people_of(platform))["3"].supervisor_id == "丁"
    await run("4,丁,销售部,,\n")
    assert (await people_of(platform))["3"].supervisor_id == "4"
    assert await platform.leads.events("3") == [("PersonChanged", 1), ("PersonChanged", 2)]
    assert await platform.leads.events("2") == [("PersonChanged", 1)]


async def test_a_file_without_the_header_is_refused_at_once(platform) -> None:
    """Instructions are skipped, but not a whole file."""
    book = openpyxl.Workbook()
    for number in range(60):
        book.active.append([f"说明{number}"])
    content = io.BytesIO()
    book.save(content)
    for refused in (content.getvalue(), "说明\n".encode() * 60, "说明\n".encode()):
        with pytest.raises(InvalidRequestError, match=r"header|is empty"):
            await platform.start(refused, "wecom", filename="x.xlsx" if refused[:2] == b"PK" else "x.csv")


async def test_a_department_too_deep_and_no_schedule_are_refused_with_their_rows(platform) -> None:
    """The tree of teams is bounded; the others of the file are taken, with their hours."""
    deep = "/".join(f"级{level}" for level in range(30))
    content = f"工号,姓名,部门,值班时间\n1,甲,{deep},\n2,乙,销售部,周一-周五 09:00-18:00\n3,丙,,随时\n".encode()
    done = await platform.run(content, "people", filename="people.csv")
    assert (done.created, done.rejected) == (1, 2)
    rejections = await platform.rejections(done.id)
    assert [(each.row, each.field) for each in rejections] == [(2, "department"), (4, "duty")]
    assert [shift.weekday for shift in (await people_of(platform))["2"].duty] == [1, 2, 3, 4, 5]
