"""Every edge under every fault keeps its stated steady state (docs/fault-matrix.md)."""

import asyncio
import itertools

import asyncpg
import pytest

from breakwater.local.nats import NatsServer
from breakwater.local.postgres import PostgresServer
from tests.support.faultmatrix import world
from tests.support.faultmatrix.cells import Cell, Observed, run
from tests.support.faultmatrix.document import CELLS, DOCUMENT, text

CELLS_AT_A_TIME = 24
"""Each waits for most of its time; more of them would make the machine slow, and the edges with it."""

Seen = dict[str, tuple[Observed, list[str]]]


@pytest.fixture(scope="module")
async def dsn(postgres_server: PostgresServer) -> str:
    """A database of the matrix's own, with a table for what took effect."""
    admin = await asyncpg.connect(postgres_server.dsn())
    await admin.execute("CREATE ROLE matrix LOGIN PASSWORD 'matrix'")
    await admin.execute("CREATE DATABASE matrix OWNER matrix")
    await admin.close()
    dsn = postgres_server.dsn("matrix", user="matrix", password="matrix")
    owner = await asyncpg.connect(dsn)
    await owner.execute("CREATE TABLE effects (id text, padding text)")
    await owner.close()
    return dsn


@pytest.fixture(scope="module")
async def seen(
    dsn: str, nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Seen:
    """What was seen in each cell that is asked for."""
    names = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec")
    }
    # Those that wait longest go first, so that the others wait beside them.
    wanted = sorted((cell for cell in CELLS if cell.name in names), key=lambda cell: -cell.edge.deadline_s)
    free = asyncio.Semaphore(CELLS_AT_A_TIME)
    numbers = itertools.count(1)
    with pytest.MonkeyPatch.context() as environment:
        # The only way obstore is told that a store without TLS is meant.
        environment.setenv("AWS_ALLOW_HTTP", "true")
        async with world.running(tmp_path_factory.mktemp("matrix"), dsn, nats_server) as made:

            async def one(cell: Cell) -> tuple[str, tuple[Observed, list[str]]]:
                async with free:
                    return cell.name, await run(made, cell, lambda: next(numbers))

            return dict(await asyncio.gather(*map(one, wanted)))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [cell.name for cell in CELLS])
def test_an_edge_keeps_its_steady_state_under_a_fault(name: str, seen: Seen) -> None:
    """What callers get, by when, what the circuit does, recovery by itself, nothing lost, nothing twice: as stated."""
    observed, problems = seen[name]
    assert problems == [], f"{problems} {observed}"


def test_the_document_is_the_matrix() -> None:
    """docs/fault-matrix.md says what is tested here, cell by cell; `make fault-matrix` writes it."""
    assert DOCUMENT.read_text(encoding="utf-8") == text()
