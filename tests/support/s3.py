"""A real process that speaks S3: `moto`'s server, on a free port."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx2

from breakwater.local.ports import HOST, free_port
from tests.support.platform import eventually

_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own on a running server, looked at past the client under test."""

    client: httpx2.Client
    name: str

    @property
    def url(self) -> str:
        return f"s3://{self.name}/kept"

    @property
    def options(self) -> dict[str, str | bool]:
        """What an options file says of it."""
        return {
            "endpoint": str(self.client.base_url),
            "region": "us-east-1",
            "access_key_id": "nobody",
            "secret_access_key": "of this test",
            "allow_http": True,
        }

    def objects(self) -> list[str]:
        """Every object, without the prefix of the URL."""
        return sorted(key.removeprefix("kept/") for key in self._told("list-type=2", "Contents"))

    def unfinished(self) -> list[str]:
        """Uploads that were begun and neither ended nor given up."""
        return self._told("uploads", "Upload")

    def _told(self, query: str, kind: str) -> list[str]:
        answer = self.client.get(f"/{self.name}?{query}").raise_for_status()
        found = ET.fromstring(answer.content).iterfind(f"{_XML}{kind}/{_XML}Key")
        return [each.text or "" for each in found]


@contextmanager
def serving(log: Path) -> Iterator[httpx2.Client]:
    """A server for the time of a block."""
    port = free_port()
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", "from moto.server import main; main()", "-H", HOST, "-p", str(port)],
            stdout=output,
            stderr=output,
        )
    try:
        with httpx2.Client(base_url=f"http://{HOST}:{port}", trust_env=False) as client:

            def answers() -> bool:
                try:
                    return client.get("/moto-api/").is_success
                except httpx2.TransportError:
                    return False

            eventually("an S3 server to answer", answers)
            yield client
    finally:
        server.kill()
        server.wait()


def new_bucket(client: httpx2.Client, name: str) -> Bucket:
    """An empty bucket."""
    client.put(f"/{name}").raise_for_status()
    return Bucket(client, name)
