"""What waits in each process: outbox, streams, timers, dead letters, and how old each figure is. Pure."""

from dataclasses import dataclass, field

from services.gateway.ops.edges.domain import Report


@dataclass(frozen=True, slots=True)
class Waiting:
    """One figure of one instance, found `age_s` ago. `figure` and `of` are those of `Backlog`."""

    process: str
    instance: str
    figure: str
    of: str
    value: float
    age_s: float


@dataclass(slots=True)
class BacklogBook:
    """The newest word of every instance. Times are seconds of a monotonic clock, passed in."""

    forget_after_s: float = 3_600.0
    silent_s: float = 5.0
    """A process heard anew takes the place of an instance that was silent for so long."""
    instances_max: int = 2_000
    _heard: dict[str, tuple[Report, float]] = field(default_factory=dict)

    def take(self, report: Report, now_s: float) -> None:
        """Replaces what is known of the report's instance, and of a silent one that it takes the place of."""
        before = self._heard.get(report.instance)
        if before is None:
            self._forget(report.process, now_s)
            if len(self._heard) >= self.instances_max:
                return
        elif report.as_of < before[0].as_of:
            return
        self._heard[report.instance] = (report, now_s)

    def all(self, now_s: float) -> tuple[Waiting, ...]:
        """Every figure, by process and figure."""
        found = (
            Waiting(report.process, instance, each.figure, each.of, each.value, each.age_s + now_s - at_s)
            for instance, (report, at_s) in self._heard.items()
            for each in report.backlogs
        )
        return tuple(sorted(found, key=lambda each: (each.process, each.figure, each.of, each.instance)))

    def _forget(self, process: str, now_s: float) -> None:
        for instance, (report, at_s) in list(self._heard.items()):
            silent_s = now_s - at_s
            if silent_s > self.forget_after_s or (report.process == process and silent_s > self.silent_s):
                del self._heard[instance]
