"""The public holidays from their file, and until when they are known."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path

import yaml

from services.leads.sla.calendar import Holidays
from services.leads.sla.policies.domain import days_of


def load_holidays(path: Path) -> Holidays:
    """The overlay file: `known_until`, and lists `holidays` and `workdays` of days or ranges. Raises ValueError."""
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - makes texts only
    if not isinstance(document, Mapping) or set(document) != {"known_until", "holidays", "workdays"}:
        raise ValueError(f"{path.name} must have exactly known_until, holidays and workdays")
    holidays, workdays = (
        frozenset(day for entry in document[name] for day in days_of(str(entry))) for name in ("holidays", "workdays")
    )
    return Holidays(holidays, workdays, known_until=date.fromisoformat(document["known_until"]))
