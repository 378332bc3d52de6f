"""A real Prometheus and a real Alertmanager beside a platform, with what is deployed: only addresses and paces are other ones."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2

from breakwater.local.ports import free_port
from tests.support.platform import ROOT, Platform, eventually

QUICKER = 5
"""Every window and wait of the rules is so many times shorter: a test must not take the minutes that people have."""
LONGEST_S = 120
"""And none is longer: what was burnt in a day is forgotten after two minutes, so that an end can be seen."""
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def quickened(text: str) -> str:
    """A configuration or a rule file with every duration shortened, those that are compared with as well."""

    def shorter(found: "re.Match[str]") -> str:
        milliseconds = min(int(found[2]) * _SECONDS[found[3]] * 1_000 // QUICKER, LONGEST_S * 1_000)
        return f"{found[1]}{milliseconds}ms"

    text = re.sub(r"(_age_seconds\) > )(\d+)", lambda found: f"{found[1]}{int(found[2]) // QUICKER}", text)
    return re.sub(r"(\[|(?:for|interval|timeout|wait): )(\d+)([smhd])\b", shorter, text)


@dataclass
class Pager:
    """Where pages go that pass by the incident engine: remembers them."""

    url: str = ""
    pages: list[tuple[str, str, str]] = field(default_factory=list)
    """Path, alert and status."""

    @contextmanager
    def running(self) -> Iterator["Pager"]:
        pages = self.pages

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["content-length"])))
                pages.extend((self.path, each["labels"]["alertname"], each["status"]) for each in told["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


@dataclass
class Watchers:
    """Both of them, running."""

    prometheus: httpx2.Client
    pager: Pager
    place: Path

    def query(self, expr: str) -> list[dict[str, Any]]:
        """What Prometheus answers now. Raises `AssertionError` with its words when it cannot evaluate it."""
        reply = self.prometheus.get("/api/v1/query", params={"query": expr}).json()
        assert reply["status"] == "success", (expr, reply)
        return reply["data"]["result"]

    def firing(self, name: str) -> list[dict[str, str]]:
        """The labels of each firing alert of a name."""
        return [each["metric"] for each in self.query(f'ALERTS{{alertname="{name}",alertstate="firing"}}')]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        groups = self.prometheus.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    @contextmanager
    def scraping(self, service: str, target: str) -> Iterator[None]:
        """One more process of a service is scraped for the time of a block."""
        file = self.place / "prometheus/targets/more.yaml"
        file.write_text(json.dumps([{"labels": {"service": service}, "targets": [target]}]))
        try:
            eventually(f"{target} to be scraped", lambda: self.query(f'up{{instance="{target}"}} == 1'))
            yield
        finally:
            file.unlink()


@contextmanager
def watching(platform: Platform, place: Path) -> Iterator[Watchers]:
    """Both beside the platform for the time of a block."""
    ports: set[int] = set()
    prometheus, alertmanager = (_port(ports) for _ in range(2))
    with ExitStack() as stack:
        pager = stack.enter_context(Pager().running())
        _configure(platform, place, pager, alertmanager)
        logs = stack.enter_context((place / "watchers.log").open("wb"))
        stack.enter_context(
            _running(
                "prometheus-alertmanager",
                f"--config.file={place}/alertmanager/alertmanager.yaml",
                f"--storage.path={place}/alertmanager/data",
                f"--web.listen-address=127.0.0.1:{alertmanager}",
                "--cluster.listen-address=",
                output=logs,
            )
        )
        stack.enter_context(
            _running(
                "prometheus",
                f"--config.file={place}/prometheus/prometheus.yaml",
                f"--storage.tsdb.path={place}/prometheus/data",
                f"--web.listen-address=127.0.0.1:{prometheus}",
                # What fires before Alertmanager was found is said again after this; a minute by itself.
                "--rules.alert.resend-delay=5s",
                output=logs,
            )
        )
        client = stack.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{prometheus}", timeout=10))
        watchers = Watchers(client, pager, place)
        eventually("Prometheus to be ready", lambda: client.get("/-/ready").is_success)
        eventually(
            "Prometheus to scrape every process", lambda: len(watchers.query("up == 1")) == len(_targets(platform))
        )
        yield watchers


def _configure(platform: Platform, place: Path, pager: Pager, alertmanager: int) -> None:
    for name in ("prometheus", "alertmanager"):
        shutil.copytree(ROOT / "deploy" / name, place / name)
    for path in (place / "prometheus/prometheus.yaml", *(place / "prometheus/rules").glob("*.yaml")):
        path.write_text(quickened(path.read_text()))
    for folder, found in (
        ("targets", _targets(platform)),
        ("alertmanagers", [{"targets": [f"127.0.0.1:{alertmanager}"]}]),
    ):
        (place / "prometheus" / folder).mkdir()
        (place / "prometheus" / folder / "local.yaml").write_text(json.dumps(found))
    file = place / "alertmanager/alertmanager.yaml"
    text = quickened(file.read_text()).replace("http://ops:8090", platform.ready["ops"])
    file.write_text(text.replace("http://pager:8080", pager.url))
    token = file.with_name("ops.token")
    token.touch(0o600)
    token.write_text(platform.token("service", sub="alertmanager"))


def _targets(platform: Platform) -> list[dict[str, Any]]:
    services = platform.ready["services"]
    return [
        {"labels": {"service": name}, "targets": [f"127.0.0.1:{each['metrics']}"]} for name, each in services.items()
    ]


def _port(taken: set[int]) -> int:
    port = free_port(taken)
    taken.add(port)
    return port


@contextmanager
def _running(*command: str, output: Any) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)
