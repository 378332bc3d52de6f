"""Bugs known from other libraries and from our own drafts, planted into the policies one at a time.

Each is a context: inside it the policies have the bug. The simulation must find every one of them.
"""

from tests.simulation.bugs import breaker, calls, operation
from tests.simulation.bugs.planting import PLANTED

__all__ = ["PLANTED", "breaker", "calls", "operation"]
