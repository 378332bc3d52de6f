"""`breakwater completion`: completion for a shell."""

import click
from click.shell_completion import get_completion_class

from breakwater.cli.errors import CommandError


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a completion script: source <(breakwater completion bash)."""
    completion = get_completion_class(shell)
    if completion is None:
        raise CommandError(f"There is no completion for {shell}.")
    root = ctx.find_root()
    click.echo(completion(root.command, {}, "breakwater", "_BREAKWATER_COMPLETE").source())
