"""What the command line does while a platform is away, restarts, or says no."""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from breakwater.cli import client
from breakwater.cli.client import Api, UnreachableError
from breakwater.cli.errors import NotAllowedError, RequestRefusedError
from breakwater.cli.options import Options
from breakwater.local.ports import free_port
from breakwater.local.state import State


class Gateway(ThreadingHTTPServer):
    """Answers with a list of prepared replies and keeps what it was asked."""

    def __init__(self, port, *replies):
        self.replies = list(replies)
        self.requests = []
        super().__init__(("127.0.0.1", port), Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    """One prepared reply after the other; the last one for ever."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.requests.append((self.command, self.path, dict(self.headers), body))
        status, document = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the names http.server calls

    def log_message(self, *_):
        """Says nothing."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Tests do not wait."""
    monkeypatch.setattr(client, "BACK_OFF_MIN_S", 0.01)
    monkeypatch.setattr(client, "BACK_OFF_MAX_S", 0.02)
    monkeypatch.setenv("BREAKWATER_TOKEN", "token")


@pytest.fixture
def gateways():
    """`gateways(port, *replies)` starts one; all end with the test."""
    running = []

    def start(port, *replies):
        running.append(Gateway(port, *replies))
        return running[-1]

    yield start
    for gateway in running:
        gateway.close()


def options(tmp_path, port=None):
    gateway = f"http://127.0.0.1:{port}" if port else None
    return Options(state=tmp_path, gateway=gateway, as_json=False, quiet=True)


def test_a_request_is_repeated_under_the_same_key_until_somebody_answers(tmp_path, gateways):
    """Connections refused, then 503, then the answer: one key throughout, the file from its beginning each time."""
    port = free_port()
    timer = threading.Timer(
        0.1, lambda: gateways(port, (503, {"code": "unavailable", "retry_after_s": 0.01}), (202, {"id": "7"}))
    )
    timer.start()
    with Api(options(tmp_path, port)) as api:
        answer = api.request(
            "POST",
            "/v1/imports",
            patience_s=20,
            headers={"Idempotency-Key": "k1"},
            data={"mapping": "zoho"},
            files={"file": ("leads.csv", io.BytesIO(b"a,b\n1,2\n"), "text/csv")},
        )
    timer.join()
    assert answer == {"id": "7"}


def test_every_attempt_carries_the_whole_file_and_the_same_key(tmp_path, gateways):
    """What is sent again is what was sent first."""
    gateway = gateways(
        free_port(), (503, {"retry_after_s": 0.01}), (409, {"code": "idempotency_key_in_flight"}), (202, {})
    )
    with Api(options(tmp_path, gateway.server_port)) as api:
        files = {"file": ("leads.csv", io.BytesIO(b"row-of-the-file"), "text/csv")}
        api.request("POST", "/v1/imports", patience_s=20, headers={"Idempotency-Key": "k1"}, files=files)
    assert len(gateway.requests) == 3
    assert {request[2]["Idempotency-Key"] for request in gateway.requests} == {"k1"}
    assert all(b"row-of-the-file" in request[3] for request in gateway.requests)


def test_patience_ends(tmp_path):
    """A platform that stays away is reported after the time given, not later."""
    with Api(options(tmp_path, free_port())) as api, pytest.raises(UnreachableError, match="does not answer"):
        api.get("/v1/leads", patience_s=0.05)


def test_a_refusal_is_not_repeated(tmp_path, gateways):
    """422 stays 422 however long one asks."""
    gateway = gateways(free_port(), (422, {"detail": "no", "code": "invalid_request"}))
    with Api(options(tmp_path, gateway.server_port)) as api, pytest.raises(RequestRefusedError, match="no"):
        api.get("/v1/leads", patience_s=20)
    assert len(gateway.requests) == 1


def test_a_restarted_platform_is_found_on_its_new_port(tmp_path, gateways):
    """The address is looked up for each attempt, for a second start may have other ports."""
    first, second = free_port(), gateways(free_port(), (200, {"ok": True}))
    platform_file = State.at(tmp_path).platform_file
    platform_file.write_text(json.dumps({"gateway": f"http://127.0.0.1:{first}"}))
    moved = {"gateway": f"http://127.0.0.1:{second.server_port}"}
    timer = threading.Timer(0.1, lambda: platform_file.write_text(json.dumps(moved)))
    timer.start()
    with Api(options(tmp_path)) as api:
        assert api.get("/v1/leads", patience_s=20) == {"ok": True}
    timer.join()


def test_a_platform_that_was_never_started_is_not_waited_for(tmp_path):
    """Patience is for restarts: where there is nothing, the message comes at once."""
    with Api(options(tmp_path)) as api, pytest.raises(UnreachableError, match="breakwater up"):
        api.get("/v1/leads", patience_s=3_600)


def test_the_ops_process_of_a_remote_platform_is_asked_for(tmp_path, gateways, monkeypatch):
    """The gateway's redirect of /ops tells where it is."""
    monkeypatch.delenv("BREAKWATER_OPS_URL", raising=False)
    ops = gateways(free_port(), (200, {"edges": []}))

    class Redirecting(Handler):
        def answer(self):
            self.send_response(307)
            self.send_header("location", f"http://127.0.0.1:{ops.server_port}/ops")
            self.end_headers()

        do_GET = answer  # noqa: N815 - the name http.server calls

    gateway = gateways(free_port(), (500, {}))
    gateway.RequestHandlerClass = Redirecting
    with Api(options(tmp_path, gateway.server_port)) as api:
        assert api.get("/v1/dependencies", ops=True) == {"edges": []}


def test_a_remote_platform_needs_a_token(tmp_path, monkeypatch):
    """The local key signs for the local platform only."""
    monkeypatch.delenv("BREAKWATER_TOKEN")
    with Api(options(tmp_path, free_port())) as api, pytest.raises(NotAllowedError, match="BREAKWATER_TOKEN"):
        api.get("/v1/leads")
