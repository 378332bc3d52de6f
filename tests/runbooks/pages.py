"""A runbook as on-call reads it: the commands of docs/runbooks/<alert>.md, by the part of the page they stand in."""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/runbooks"
_BLOCK = re.compile(r"^ *```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
_PART = re.compile(r"^## (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Runbook:
    """The commands of a page. What it does not tell to do is empty."""

    name: str
    rehearse: str
    press: str
    over: str

    @classmethod
    def read(cls, name: str) -> "Runbook":
        """Every fenced block of the three parts."""
        parts = _PART.split((FOLDER / f"{name}.md").read_text())
        blocks = {title: "\n".join(_BLOCK.findall(text)) for title, text in zip(parts[1::2], parts[2::2], strict=True)}
        return cls(name, *(blocks.get(title, "") for title in ("Rehearse", "Press", "Over when")))

    @property
    def exports(self) -> str:
        """The lines that say what the alert names."""
        return "\n".join(line for line in self.rehearse.splitlines() if line.startswith("export "))

    @property
    def fault(self) -> str:
        """The commands that break something: the same fault of two pages is made once."""
        return "\n".join(line for line in self.rehearse.splitlines() if not line.startswith("export "))

    @property
    def labels(self) -> dict[str, str]:
        """What the alert must be about, as far as the page says: `export CALLER=gateway` is the label `caller`."""
        return {name.lower(): value for name, value in re.findall(r"\b([A-Z]+)=(\S+)", self.exports)}
