"""Replays one schedule by its seed, event by event: `python -m tests.simulation SEED`."""

import argparse
import sys

from tests.simulation.schedule import Schedule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    schedule = Schedule(arguments.seed, trace=print).run()
    print(schedule.violation or f"no rule was broken in {schedule.events} events")
    sys.exit(schedule.violation is not None)


if __name__ == "__main__":
    main()
