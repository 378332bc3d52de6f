"""`breakwater dlq`: dead letters, the events a consumer gave up. Reads NATS itself, so it works without the services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from breakwater.cli.errors import CommandError
from breakwater.cli.options import Options, common
from breakwater.cli.output import print_json, print_table
from breakwater.local import control
from breakwater.local.state import State

if TYPE_CHECKING:
    from breakwater.chassis.bus import Bus
    from breakwater.chassis.deadletters import DeadLetter

LIMIT = 100
REPLAYED_MAX = 10_000


@click.group
def command() -> None:
    """Show dead letters and send them again."""


@command.command("list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=LIMIT, show_default=True)
@common
def list_(options: Options, limit: int) -> None:
    """Show the oldest dead letters."""
    letters = asyncio.run(_read(options, limit))
    if options.as_json:
        print_json([_as_document(letter) for letter in letters])
    elif letters:
        rows = [
            (letter.seq, letter.service, letter.type, letter.subject_id, letter.deliveries, letter.reason)
            for letter in letters
        ]
        print_table(("SEQ", "GIVEN UP BY", "EVENT", "ABOUT", "TRIES", "REASON"), rows)
    else:
        options.say("No dead letters.")


@command.command("replay")
@click.argument("seqs", type=click.IntRange(1), nargs=-1, metavar="[SEQ]...")
@click.option("--all", "everything", is_flag=True, help="Every dead letter there is now.")
@common
def replay(options: Options, seqs: tuple[int, ...], everything: bool) -> None:  # noqa: FBT001 - click passes flags so
    """Publish dead letters again; who handled the event already ignores it."""
    if bool(seqs) == everything:
        raise click.UsageError("Name dead letters by their SEQ, or say --all.")
    replayed = asyncio.run(_replay(options, seqs))
    if options.as_json:
        print_json([_as_document(letter) for letter in replayed])
    else:
        click.echo(f"{len(replayed)} replayed")


async def _read(options: Options, limit: int) -> "list[DeadLetter]":
    from breakwater.chassis import deadletters  # noqa: PLC0415

    async with _bus(options) as bus:
        return await deadletters.read(bus, limit)


async def _replay(options: Options, seqs: tuple[int, ...]) -> "list[DeadLetter]":
    from breakwater.chassis import deadletters  # noqa: PLC0415
    from breakwater.chassis.errors import NotFoundError  # noqa: PLC0415

    async with _bus(options) as bus:
        # All of them named first: one that dies again meanwhile is not sent for ever.
        chosen = seqs or [letter.seq for letter in await deadletters.read(bus, REPLAYED_MAX)]
        try:
            return [await deadletters.replay(bus, seq) for seq in chosen]
        except NotFoundError as error:
            raise CommandError(error.detail) from error


@asynccontextmanager
async def _bus(options: Options) -> "AsyncIterator[Bus]":
    from breakwater.chassis import logging  # noqa: PLC0415
    from breakwater.chassis.bus import Bus  # noqa: PLC0415
    from breakwater.chassis.errors import UnavailableError  # noqa: PLC0415
    from breakwater.local.secret_files import secret_text  # noqa: PLC0415

    if options.gateway is not None:
        raise CommandError("Dead letters are read from NATS itself, which --gateway does not name: use --state.")
    # What the bus logs is for services; a person gets the error.
    logging.configure("cli", "error")
    state = State.at(options.state)
    nats = control.ask(state.control_socket, "status")["nats"]
    password = secret_text(state.secrets / f"nats-{nats['user']}.password")
    bus = await Bus.connect(nats["url"], service=nats["user"], user=nats["user"], password=password)
    try:
        yield bus
    except UnavailableError as error:
        raise CommandError(f"{error.detail} Start it by `breakwater service start nats`.") from error
    finally:
        await bus.close()


def _as_document(letter: "DeadLetter") -> dict[str, object]:
    document: dict[str, object] = {name: getattr(letter, name) for name in letter.__slots__}
    return document | {"failed_at": letter.failed_at.isoformat()}
