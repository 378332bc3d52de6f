"""The harmless question to the live finance system: a number that is reserved and never valid.

As `contracts/external/finance` has it, which `tests/contract/test_provider_questions.py` holds it to.
"""

from breakwater.chassis.provider_probes import Question

DEPENDENCY = "finance"
RESERVED = "BREAKWATER-PROBE"


def question(key: str) -> Question:
    """`key` is the bearer token of the finance system."""
    answer = {"number": (RESERVED,), "valid": (False,)}
    return Question("GET", f"/v1/contracts/{RESERVED}", answer, headers={"authorization": f"Bearer {key}"})
