"""What was approved of in a candidate, by name: `deploy/approvals.yaml`, each with who and why.

```yaml
approvals:
  - {service: files, credential: in x-jwt, approved_by: security, reason: the callers move to x-jwt}
  - {service: health, apart: breakwater.leads.v1.InvoiceRecorded, approved_by: health, reason: amounts have a table}
```

`credential` is the name of a single edit of the auth vectors, accepted from now on. What must be rejected cannot be approved.
`apart` is a type of event whose values may from now on lie in several rows; that they are kept at all is held as before.
"""

from pathlib import Path
from typing import Literal

import yaml

Kind = Literal["credential", "apart"]
_KEYS = {"service", "approved_by", "reason"}
_KINDS = ("credential", "apart")


def of(root: Path, service: str, kind: Kind) -> frozenset[str]:
    """The credentials, or the types of events, approved for a service. Raises `ValueError` when the file is not understood."""
    file = root / "deploy" / "approvals.yaml"
    if not file.is_file():
        return frozenset()
    try:
        entries = yaml.safe_load(file.read_text())["approvals"]
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError("deploy/approvals.yaml is not understood") from error
    for entry in entries:
        if set(entry) not in [_KEYS | {each} for each in _KINDS] or not all(_is_text(each) for each in entry.values()):
            raise ValueError(
                f"deploy/approvals.yaml: each entry says {', '.join(sorted(_KEYS))}, and {' or '.join(_KINDS)}"
            )
    return frozenset(entry[kind] for entry in entries if entry["service"] == service and kind in entry)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
