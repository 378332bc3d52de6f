"""A peer with business rules of its own: Tryton, on the same PostgreSQL, two workers, `make bench-platform TRYTON=1`.

It runs from an environment of its own (`locks/tryton.txt`), for nothing else here needs it. A create is one JSON-RPC
`sale.opportunity.create` with party, company and employee: a record with its number and its owner, as a lead is.
"""

import asyncio
import base64
import json
import os
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from breakwater.local.databases import provision_database
from breakwater.local.ports import free_port
from breakwater.local.postgres import PostgresServer

DATABASE = "tryton"
WORKERS, THREADS = 2, 8
START_S_MAX, PREPARE_S_MAX = 60, 300
# Run by Tryton's own console; it prints what a create needs.
DATA = """
import json
Currency, Party = pool.get('currency.currency'), pool.get('party.party')
Company, Employee, User = pool.get('company.company'), pool.get('company.employee'), pool.get('res.user')
currency, = Currency.create([{'name': 'Renminbi', 'code': 'CNY', 'symbol': '¥'}])
us, rep, customer = Party.create([{'name': '公司'}, {'name': '销售'}, {'name': '客户'}])
company, = Company.create([{'party': us.id, 'currency': currency.id}])
employee, = Employee.create([{'party': rep.id, 'company': company.id}])
admin, = User.search([('login', '=', 'admin')])
User.write([admin], {'companies': [('add', [company.id])], 'company': company.id})
transaction.commit()
print(json.dumps({'company': company.id, 'employee': employee.id, 'party': customer.id, 'currency': currency.id}))
"""


@dataclass(frozen=True)
class Tryton:
    """A running Tryton."""

    port: int
    authorization: str
    defaults: dict[str, int]

    def creates(self) -> Callable[[int], bytes]:
        """The bytes of the n-th create."""

        def make(number: int) -> bytes:
            record = {**self.defaults, "description": f"客户{number}", "reference": str(number)}
            context = {"company": self.defaults["company"], "employee": self.defaults["employee"]}
            call = {"id": number, "method": "model.sale.opportunity.create", "params": [[record], context]}
            body = json.dumps(call).encode()
            head = (
                f"POST /{DATABASE}/rpc/ HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {self.authorization}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            )
            return head.encode() + body

        return make

    def opportunities(self) -> int:
        """How many there are: that creates were really done."""
        count: int = _call(self.port, "model.sale.opportunity.search_count", [[], {}], self.authorization)
        return count


@contextmanager
def running(binaries: Path, root: Path, server: PostgresServer) -> Iterator[Tryton]:
    """Tryton's programs of `binaries` on a database of `server`'s; its password is made for this run."""
    asyncio.run(provision_database(server.dsn(), DATABASE))
    root.mkdir()
    configuration, password_file = root / "trytond.conf", root / "admin.password"
    password = secrets.token_urlsafe(24)
    password_file.write_text(password)
    configuration.write_text(f"[database]\nuri = {server.dsn(DATABASE).rsplit('/', 1)[0]}\n")
    configuration.chmod(0o600)
    environment = os.environ | {
        "TRYTOND_CONFIG": str(configuration),
        "TRYTOND_DATABASE_NAMES": DATABASE,
        "TRYTONPASSFILE": str(password_file),
    }
    base = ["-c", str(configuration), "-d", DATABASE]
    _program(binaries / "trytond-admin", [*base, "--all", "--email", "admin@example.com"], environment)
    _program(binaries / "trytond-admin", [*base, "-u", "sale_opportunity", "--activate-dependencies"], environment)
    data = root / "data.py"
    data.write_text(DATA)
    defaults = json.loads(
        _program(binaries / "trytond-console", [*base, "-f", str(data)], environment).splitlines()[-1]
    )
    port = free_port()
    command = [str(binaries / "gunicorn"), "--workers", str(WORKERS), "--threads", str(THREADS)]
    command += ["--bind", f"127.0.0.1:{port}", "--keep-alive", "60", "--log-level", "error", "trytond.application:app"]
    process = subprocess.Popen(command, env=environment)
    try:
        authorization = _login(port, password)
        yield Tryton(port, authorization, defaults)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _program(program: Path, arguments: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [str(program), *arguments], env=environment, capture_output=True, text=True, timeout=PREPARE_S_MAX, check=False
    )
    # Its console ends with 0 whatever the script came to.
    if done.returncode != 0 or "Traceback" in done.stderr:
        raise SystemExit(f"{program.name} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def _login(port: int, password: str) -> str:
    end = time.monotonic() + START_S_MAX
    while True:
        try:
            user_id, session, *_ = _call(port, "common.db.login", ["admin", {"password": password}], None)
        except httpx2.TransportError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return "Session " + base64.b64encode(f"admin:{user_id}:{session}".encode()).decode()


def _call(port: int, method: str, params: list[Any], authorization: str | None) -> Any:
    headers = {"authorization": authorization} if authorization else {}
    call = {"id": 0, "method": method, "params": params}
    answer = httpx2.post(f"http://127.0.0.1:{port}/{DATABASE}/rpc/", json=call, headers=headers, timeout=60)
    document = answer.raise_for_status().json()
    if isinstance(document, dict):
        if "error" in document:
            raise SystemExit(f"Tryton refuses {method}: {document['error']}")
        return document["result"]
    return document
