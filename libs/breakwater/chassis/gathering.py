"""How long to wait so that a crowd shares what has its price for each turn: a transaction, a sync of a disk."""

from typing import Final

EACH_S: Final = 0.0015
TIMES_MAX: Final = 4


def pause_s(crowd: int, least_s: float) -> float:
    """The pause after a turn that had `crowd` items: `least_s`, and up to four times as long the more came together.

    Under a light load nobody waits for company; under a heavy one the fixed price of a turn is what keeps it heavy.
    """
    return min(max(least_s, crowd * EACH_S), TIMES_MAX * least_s)
