"""The authenticated person or machine a service acts for. Pure; its wire form is `breakwater.identity.v1.Actor`."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do (architecture.md, Rules)."""

    SERVICE = "service"
    SALES = "sales"
    MANAGER = "manager"
    ONCALL = "oncall"
    SRE = "sre"
    ADMIN = "admin"


class Scope(StrEnum):
    """Whose records a caller may see."""

    OWN = "own"
    TEAM = "team"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Actor:
    """`sub` is a person's id in leads.organisation, or a machine's name."""

    sub: str
    role: Role
    scope: Scope
