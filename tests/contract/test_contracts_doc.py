"""docs/contracts.md names commands that exist, with options they take."""

import re
import shlex
from pathlib import Path

import click
import pytest

from breakwater.cli.main import main

ROOT = Path(__file__).parents[2]
LINES = sorted(
    {
        line.partition("#")[0].strip("` ")
        for line in re.findall(r"breakwater [a-z][^`\n]*", (ROOT / "docs/contracts.md").read_text())
    }
)


def test_there_are_commands_to_check():
    """The page shows each step by a command."""
    assert len(LINES) >= 6


@pytest.mark.parametrize("line", LINES)
def test_a_command_of_the_page_is_understood(line):
    """Its name and its options parse; nothing is run."""
    _, name, *arguments = shlex.split(line)
    command = main.get_command(click.Context(main), name)
    assert command is not None, name
    command.make_context(name, arguments)
