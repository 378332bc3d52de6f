"""What routing stands on, as of one version: the organisation, the rules, the first-touch limits. Pure."""

from dataclasses import dataclass

from services.leads.organisation.domain import Directory
from services.leads.routing.domain import RuleSet
from services.leads.sla.domain import FirstTouch


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Kept in memory; each transaction asks whether `version` is still the newest."""

    version: int
    directory: Directory
    rules: RuleSet
    first_touch: FirstTouch
