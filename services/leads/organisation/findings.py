"""What keeps people from getting leads, and what is wrong in the organisation, as a list to work off (119). Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from services.leads.organisation.domain import DUTY_DESK, Directory, Person

RULES_NAMED_MAX = 3
"""Of those that give leads to one team."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something to put right; about a person, or about a team."""

    kind: str
    person_id: str
    team_id: str
    detail: str
    keeps_from_leads: bool = False


@dataclass(frozen=True, slots=True)
class Missing:
    """Somebody of a directory who was not in its latest full export."""

    person_id: str
    directory: str


@dataclass(frozen=True, slots=True)
class Routed:
    """A rule in force that gives leads to a team."""

    rule: str
    """Its title."""
    team_id: str


def find(directory: Directory, missing: Iterable[Missing] = (), routed: Iterable[Routed] = ()) -> list[Finding]:
    """Everything there is to put right, by kind; nothing of people who left but what they are still named for."""
    found: list[Finding] = []
    for person in directory.people.values():
        if person.active:
            found.extend(_steps(person, directory))
            found.extend(_above(person, directory))
    for team in directory.teams.values():
        supervisor = directory.people.get(team.supervisor_id)
        if team.supervisor_id and (supervisor is None or not supervisor.may_own):
            detail = f"团队{team.name}的主管（{team.supervisor_id}）已离职、无权限或不存在，超时线索由上级团队主管承接"
            found.append(Finding("team_supervisor_gone", "", team.id, detail))
    for team_id, rules in _empty(directory, routed).items():
        named = directory.teams.get(team_id)
        detail = (
            f"分配规则「{'」「'.join(rules)}」指向的团队{named.name if named else team_id}没有参与轮转的在职人员，"
            "线索只能由后面的规则或值班席承接：请把人员放入该团队，或让规则指向有人的团队"
        )
        found.append(Finding("rule_team_empty", "", team_id, detail))
    for each in missing:
        person = directory.people[each.person_id]
        if person.active:
            detail = f"{person.name}不在最近一次完整导出（{each.directory}）中，请确认是否离职"
            found.append(Finding("missing_from_directory", person.id, person.team_id, detail))
    return sorted(found)


def _empty(directory: Directory, routed: Iterable[Routed]) -> dict[str, list[str]]:
    """The teams that rules name and nobody takes leads in, with the first of those rules."""
    found: dict[str, list[str]] = {}
    for each in routed:
        members = directory.members.get(each.team_id, ())
        if not any(person.weight and person.may_own for person in members):
            rules = found.setdefault(each.team_id, [])
            if len(rules) < RULES_NAMED_MAX:
                rules.append(each.rule)
    return found


def _steps(person: Person, directory: Directory) -> Iterator[Finding]:
    """Every step that is missing, not only the first: each is somebody else's to take."""
    if not person.has_account:
        detail = f"{person.name}的账号未激活或已禁用（第一步：账号）"
        yield Finding("account_missing", person.id, person.team_id, detail, keeps_from_leads=True)
    if not person.may_follow_up:
        detail = f"{person.name}没有跟进权限（第二步：权限）"
        yield Finding("permission_missing", person.id, person.team_id, detail, keeps_from_leads=True)
    if directory.channels_required and directory.channels_required.isdisjoint(person.bound):
        required = "、".join(sorted(directory.channels_required))
        detail = f"{person.name}未绑定通知渠道（第三步：绑定），需要其一：{required}"
        yield Finding("channel_unbound", person.id, person.team_id, detail, keeps_from_leads=True)


def _above(person: Person, directory: Directory) -> Iterator[Finding]:
    if person.supervisor_id:
        supervisor = directory.people.get(person.supervisor_id)
        if supervisor is None:
            detail = f"{person.name}的主管“{person.supervisor_id}”不在组织中，或有多人同名"
            yield Finding("supervisor_unknown", person.id, person.team_id, detail)
        elif not supervisor.may_own:
            detail = f"{person.name}的主管{supervisor.name}已离职或无权限"
            yield Finding("supervisor_gone", person.id, person.team_id, detail)
    heads = {team.supervisor_id for team in directory.chain(person.team_id)}
    if person.id not in heads | {DUTY_DESK} and not directory.supervisor_of(person.id):
        detail = f"{person.name}没有主管：超时和沉默的线索无人可升级"
        yield Finding("supervisor_missing", person.id, person.team_id, detail)
