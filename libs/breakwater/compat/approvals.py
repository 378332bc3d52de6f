"""What security approved of being accepted from now on: `deploy/approvals.yaml`, each with who and why.

```yaml
approvals:
  - {service: files, credential: in x-jwt, approved_by: security, reason: the callers move to x-jwt}
```

`credential` is the name of a single edit of the auth vectors. What must be rejected cannot be approved.
"""

from pathlib import Path

import yaml

_KEYS = {"service", "credential", "approved_by", "reason"}


def of(root: Path, service: str) -> frozenset[str]:
    """The credentials approved for a service. Raises `ValueError` when the file is not understood."""
    file = root / "deploy" / "approvals.yaml"
    if not file.is_file():
        return frozenset()
    try:
        entries = yaml.safe_load(file.read_text())["approvals"]
    except (KeyError, TypeError, yaml.YAMLError) as error:
        raise ValueError("deploy/approvals.yaml is not understood") from error
    for entry in entries:
        if set(entry) != _KEYS or not all(isinstance(each, str) and each for each in entry.values()):
            raise ValueError(f"deploy/approvals.yaml: each entry says {', '.join(sorted(_KEYS))}")
    return frozenset(entry["credential"] for entry in entries if entry["service"] == service)
