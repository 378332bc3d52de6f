"""What every command takes: which platform, and how to print."""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from breakwater.cli.errors import CommandError
from breakwater.local.errors import LocalPlatformError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Options:
    """The common options of one call."""

    state: Path
    """The local platform's state directory."""
    gateway: str | None
    """A remote platform's gateway; None for the local one."""
    as_json: bool
    quiet: bool

    def say(self, message: str) -> None:
        """A message for a person, on standard error; nothing with --quiet."""
        if not self.quiet:
            click.echo(message, err=True)

    @property
    def interactive(self) -> bool:
        """Whether a person watches: progress bars only then."""
        return sys.stderr.isatty() and not self.quiet


def common(function: Callable[Concatenate[Options, P], R]) -> Callable[P, R]:
    """Adds the common options to a command and hands them over as its first argument, an `Options`.

    A LocalPlatformError of the command becomes its message and exit code 1.
    """

    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="BREAKWATER_STATE",
        default=".breakwater",
        show_default=True,
        help="State directory of the local platform.",
    )
    @click.option("--gateway", envvar="BREAKWATER_GATEWAY", help="URL of a remote gateway; needs BREAKWATER_TOKEN.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.option("-q", "--quiet", is_flag=True, help="No messages, only data and errors.")
    @functools.wraps(function)
    def with_options(*args: Any, **kwargs: Any) -> R:
        names = ("state", "gateway", "as_json", "quiet")
        state, gateway, as_json, quiet = (kwargs.pop(name) for name in names)
        try:
            return function(Options(state, gateway, as_json, quiet), *args, **kwargs)
        except LocalPlatformError as error:
            raise CommandError(str(error)) from error
        except BrokenPipeError:
            # Whoever read us has seen enough; the interpreter's last flush must not complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None

    return with_options
