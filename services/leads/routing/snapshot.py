"""What routing stands on, as of one version: the organisation, the rules, the first-touch limits. Pure."""

from dataclasses import dataclass
from datetime import datetime

from services.leads.organisation.domain import Directory
from services.leads.routing.deciding import decide
from services.leads.routing.domain import NO_DEALS, Deals, Decision, Facts, Ground, Ledger
from services.leads.routing.rules import RuleSet
from services.leads.sla.domain import FirstTouch


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Kept in memory; each transaction asks whether `version` is still the newest."""

    version: int
    directory: Directory
    rules: RuleSet
    first_touch: FirstTouch
    deals: Deals = NO_DEALS
    ground: Ground | None = None
    """Directory and deals as they are kept for replays."""

    def decide(
        self, facts: Facts, ledger: Ledger, now: datetime, *, customer_owner_id: str | None, again: bool = False
    ) -> Decision:
        """Who gets a lead, by all of this."""
        return decide(
            self.rules,
            facts,
            self.directory,
            ledger,
            now,
            customer_owner_id=customer_owner_id,
            deals=self.deals,
            again=again,
        )
