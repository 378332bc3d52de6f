"""docs/fault-matrix.md, written from the statements that the test holds (`make fault-matrix`)."""

from collections.abc import Iterable

from tests.support.faultmatrix.cells import Cell
from tests.support.faultmatrix.edges import ROOT, edges
from tests.support.faultmatrix.steady import BY_FAULT, BY_KIND, FAULT_NAMES, SLACK_S, Callers, Circuit, steady

DOCUMENT = ROOT / "docs" / "fault-matrix.md"

CELLS = [Cell(edge, fault, steady(edge.kind, fault)) for edge in edges() for fault in FAULT_NAMES]
"""Every edge of the policies files by every fault there is. Nothing stated for one of them is an error."""

SIGNS = {
    Callers.ANSWERS: "answers",
    Callers.LATE: "late",
    Callers.TIMEOUT: "time-out",
    Callers.ERROR: "error",
    Callers.LOST: "error*",
    Callers.AUTH: "refused",
}

HEAD = f"""\
# The fault matrix

Every edge under every fault, each with a steady state that is stated here and held by
`tests/chaos/matrix/test_fault_matrix.py`. Edges are read from the services' `policies.yaml`, faults from the fault proxy
of the tests and from the kinds that an override can inject; a new edge or fault without a statement fails. The test runs
the chassis's own clients with the settings of the real files against real servers. `make fault-matrix` writes this page.

In every cell:

- **Before**, calls are answered.
- **While the fault holds**, no caller waits longer than its deadline and {SLACK_S:g} s, every error names the dependency,
  and callers get what the tables say. Where the circuit opens, the next is refused at once and told when to come again.
- **When it ends**, the circuit closes by its own probes within the edge's recovery time. Nothing is restarted.
- **Nothing is lost or doubled**: what was acknowledged is there, and no call that was made once took effect twice.
"""

EDGES_ARE = """\
Deadline: what a caller of the test gives; an attempt's time where everything is answered. Results: how many the circuit
needs to judge. Recovery: the open time, once more doubled where a first round of probes fails, and the probes. HTTP and
SMTP edges are those of the chassis alone: no service has one yet.
"""


def text() -> str:
    """The whole page."""
    return "\n".join(
        [
            HEAD,
            "## Faults\n",
            *_table(
                ["fault", "callers get", "circuit", "because"],
                ([fault, stated.callers, stated.circuit, stated.why] for fault, stated in BY_FAULT.items()),
            ),
            "\nWhere a transport differs:\n",
            *_table(
                ["kind", "fault", "callers get", "circuit", "because"],
                (
                    [kind, fault, stated.callers, stated.circuit, stated.why]
                    for (kind, fault), stated in BY_KIND.items()
                ),
            ),
            "\n## Edges\n",
            EDGES_ARE,
            *_table(
                ["edge", "kind", "attempt s", "deadline s", "results", "open s", "recovery s"],
                (
                    [
                        edge.name,
                        edge.kind,
                        f"{edge.settings.attempt_timeout_s:g}",
                        f"{edge.deadline_s:g}",
                        str(edge.settings.calls_min),
                        f"{edge.settings.open_s:g}",
                        f"{edge.recovery_s:g}",
                    ]
                    for edge in edges()
                ),
            ),
            "\n## Cells\n",
            f"What callers get while the circuit is closed; in *italics* where it {Circuit.CLOSED}.\n",
            *_table(["edge", *FAULT_NAMES], _cells()),
            "",
        ]
    )


def _cells() -> Iterable[list[str]]:
    for edge in edges():
        stated = [steady(edge.kind, fault) for fault in FAULT_NAMES]
        yield [edge.name, *(_sign(each.callers, each.circuit) for each in stated)]


def _sign(callers: Callers, circuit: Circuit) -> str:
    return f"*{SIGNS[callers]}*" if circuit is Circuit.CLOSED else SIGNS[callers]


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [_row(head), _row(["---"] * len(head)), *map(_row, rows)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    DOCUMENT.write_text(text(), encoding="utf-8")
