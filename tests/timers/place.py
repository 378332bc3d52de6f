"""A leads database on a server of its own, for proofs."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from breakwater.chassis.migrations import migrate
from breakwater.local.databases import MIGRATIONS, ServiceRoles, provision_database, provision_roles, provision_schema
from breakwater.local.postgres import PostgresServer

_NAME = "proof"
_PASSWORD = "proof"


@asynccontextmanager
async def place() -> AsyncIterator[tuple[str, Path, str]]:
    """Its URL, the file with the password of its run-time role, and the URL of the superuser."""
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        directory = Path(folder)
        server = PostgresServer(directory / "server", password_file=directory / "postgres.password")
        server.start()
        try:
            await provision_roles(server.dsn(), [ServiceRoles("leads", _PASSWORD, _PASSWORD)])
            await provision_database(server.dsn(), _NAME)
            await provision_schema(server.dsn(_NAME), _NAME, "leads")
            owner_dsn = server.dsn(_NAME, user="leads_owner", password=_PASSWORD)
            await migrate(owner_dsn, "leads", MIGRATIONS["leads"])
            password_file = directory / "leads.password"
            password_file.write_text(_PASSWORD)
            password_file.chmod(0o600)
            url = f"postgresql://leads@{server.host}:{server.port}/{_NAME}"
            yield url, password_file, server.dsn(_NAME)
        finally:
            server.close()
