"""The root command: finds commands by the names of their modules and imports the one that is called."""

import importlib
from pathlib import Path

import click

from breakwater.cli import commands


class LazyGroup(click.Group):
    """A group whose commands are modules, so that `breakwater token` does not pay for `breakwater gate`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, sorted."""
        del ctx
        return sorted(_modules())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command; None for a name there is no module for."""
        del ctx
        module = _modules().get(cmd_name)
        if module is None:
            return None
        found: click.Command = importlib.import_module(f"{commands.__name__}.{module}").command
        return found


def _modules() -> dict[str, str]:
    """Command names and their modules."""
    stems = (path.stem for path in Path(commands.__path__[0]).glob("[a-z]*.py"))
    return {stem.rstrip("_").replace("_", "-"): stem for stem in stems}


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="breakwater")
def main() -> None:
    """Breakwater: a customer-relationship backbone that keeps working when its dependencies do not.

    Data goes to standard output, messages to standard error.
    Exit codes: 0 done, 1 failed, 2 wrong usage, 4 not allowed.
    """
