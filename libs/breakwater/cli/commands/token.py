"""`breakwater token`: a caller's JWT of the local platform."""

import click

from breakwater.cli.durations import Duration
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json
from breakwater.cli.tokens import sign_caller_token
from breakwater.local.state import State

# What chassis.identity.Role knows; a test holds them together.
ROLES = ("service", "sales", "manager", "oncall", "sre", "admin")
SCOPES = ("own", "team", "all")
SCOPE_OF_ROLE = {"sales": "own", "manager": "team"}
TTL_S_MAX = 7 * 86_400


@click.command
@click.option("--role", type=click.Choice(ROLES), required=True)
@click.option("--sub", required=True, help="Who: a person's id, or a machine's name.")
@click.option(
    "--scope", type=click.Choice(SCOPES), help="Whose records; by default own for sales, team for manager, else all."
)
@click.option("--ttl", type=Duration(), default="1h", show_default=True, help="How long it is valid: 90s, 15m, 1h, 7d.")
@common
def command(options: Options, role: str, sub: str, scope: str | None, ttl: int) -> None:
    """Print a caller's token for the local platform."""
    if ttl > TTL_S_MAX:
        raise click.BadParameter("at most 7d", param_hint="--ttl")
    scope = scope or SCOPE_OF_ROLE.get(role, "all")
    token = sign_caller_token(State.at(options.state), sub=sub, role=role, scope=scope, ttl_s=ttl)
    if options.as_json:
        print_json({"token": token, "role": role, "sub": sub, "scope": scope, "ttl_s": ttl})
    else:
        click.echo(token)
