"""Pact's own verifier: `python -m breakwater.compat.consumers.verifier PROVIDER URL PACT RESULT` writes what failed as JSON.

A process of its own, because the native part writes every comparison to standard output.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

# It counts its users at a server of its makers unless it is told not to, before it is loaded.
os.environ["PACT_DO_NOT_TRACK"] = "true"

from pact import Verifier
from pact.error import PactError


def failures(
    provider: str, url: str, pact: Path, *, only: str = "", headers: Mapping[str, str] | None = None
) -> list[str]:
    """The interactions that a running provider does not keep to, one text each.

    `only` is a pattern of descriptions; `headers` are Pact's override of what the consumer sent, which the gate never uses.
    Raises `RuntimeError` when Pact itself fails.
    """
    verifier = Verifier(provider, host=str(urlsplit(url).hostname)).add_transport(url=url).add_source(pact)
    verifier.set_coloured_output(enabled=False)
    if only:
        verifier.filter(only)
    for name, value in (headers or {}).items():
        verifier.add_custom_header(name, value)
    return run(verifier)


def run(verifier: Verifier) -> list[str]:
    """Verifies; what failed. Raises `RuntimeError` where it failed and names nothing."""
    try:
        verifier.verify()
    except (PactError, RuntimeError) as error:
        found = [
            f"{each['interaction'].rpartition(' - ')[2]}: {_reasons(each['mismatch'])}"
            for each in verifier.results.get("errors", [])
        ]
        if not found:
            raise RuntimeError(f"Pact failed and named nothing: {error}") from error
        return found
    return []


def _reasons(mismatch: Mapping[str, object]) -> str:
    """Of one interaction: Pact's own sentences."""
    several = mismatch.get("mismatches")
    told = (
        [str(each.get("mismatch", each)) for each in several]
        if isinstance(several, list)
        else [mismatch.get("message")]
    )
    return "; ".join(map(str, told))[:300]


def main() -> None:
    """The program."""
    provider, url, pact, result = sys.argv[1:]
    Path(result).write_text(json.dumps(failures(provider, url, Path(pact))), encoding="utf-8")


if __name__ == "__main__":
    main()
