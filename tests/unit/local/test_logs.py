"""The logs of a platform are bounded, and reading them is never a duty."""

import asyncio
import io
import threading

import pytest

from breakwater.local import logs
from breakwater.local.logs import Console, ProcessLog


class Stuck(io.StringIO):
    """A terminal somebody has stopped."""

    def __init__(self):
        super().__init__()
        self.released = threading.Event()

    def write(self, text):
        self.released.wait(10)
        return super().write(text)


def test_a_log_never_grows_past_twice_its_limit(tmp_path, monkeypatch):
    """A full file is put aside once; the older one goes."""
    monkeypatch.setattr(logs, "FILE_SIZE_BYTES_MAX", 1_000)
    log = ProcessLog(tmp_path, "leads")
    for number in range(200):
        log.write(b"line %d " % number + b"x" * 90)
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"leads.log", "leads.log.1"}
    assert max(sizes.values()) <= 1_200
    assert "line 199" in log.tail(1)


def test_a_full_disk_stops_no_process(tmp_path):
    """A line that cannot be written is dropped."""
    log = ProcessLog(tmp_path / "gone", "leads")
    log.write(b"lost")
    assert log.tail(1) == ""


def test_a_stopped_terminal_holds_up_nothing(monkeypatch):
    """Lines past the bound are dropped and counted; the caller never waits."""
    monkeypatch.setattr(logs, "CONSOLE_LINES_MAX", 10)
    terminal = Stuck()
    console = Console(terminal)
    for number in range(50):
        console.line("leads", f"line {number}")
    terminal.released.set()
    console.close()
    assert terminal.getvalue().count("line ") < 20


async def test_what_was_dropped_is_said(monkeypatch, eventually):
    """The first line after a jam tells how many are missing."""
    monkeypatch.setattr(logs, "CONSOLE_LINES_MAX", 2)
    terminal = Stuck()
    console = Console(terminal)
    for number in range(10):
        console.line("leads", f"line {number}")
    terminal.released.set()
    await eventually(console._lines.empty)
    console.line("leads", "again")
    console.close()
    assert "lines not shown)" in terminal.getvalue()


@pytest.mark.parametrize(("quiet", "seen"), [(True, ["broken"]), (False, ["fine", "broken"])])
def test_quiet_shows_errors_only(quiet, seen):
    """--quiet leaves what a person must know."""
    stream = io.StringIO()
    console = Console(stream, quiet=quiet)
    console.line("leads", "fine")
    console.line("leads", "broken", error=True)
    console.close()
    assert [word for word in ("fine", "broken") if word in stream.getvalue()] == seen


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b'{"event": "ready", "level": "info", "pid": 7, "service": "leads", "timestamp": "t"}', "ready pid=7"),
        (b'{"event": "broken", "level": "error", "reason": "\xe7\xa3\x81\xe7\x9b\x98"}', "ERROR broken reason=磁盘"),
        (b'{"half of a line', '{"half of a line'),
        (b"LOG:  plain \xff", "LOG:  plain �"),
    ],
)
def test_structured_lines_are_shown_as_people_read_them(line, shown):
    """Event and fields without braces; what is no such line is shown as it came."""
    assert logs.readable(line) == shown


async def test_routine_of_the_servers_is_kept_off_the_screen(tmp_path):
    """nats-server's and PostgreSQL's everyday lines are in their files; warnings are shown."""
    stream, console_text = asyncio.StreamReader(), io.StringIO()
    stream.feed_data(b"[7] [INF] Server is ready\n[7] [ERR] denied\nLOG:  checkpoint\nFATAL:  no such role\n")
    stream.feed_eof()
    log, console = ProcessLog(tmp_path, "nats"), Console(console_text)
    await logs.follow(stream, "nats", log, console)
    console.close()
    assert [line.split(" | ")[1] for line in console_text.getvalue().splitlines()] == [
        "[7] [ERR] denied",
        "FATAL:  no such role",
    ]
    assert "Server is ready" in log.tail(5)
    log.close()


def test_no_colour_without_a_terminal():
    """A file gets no escape sequences."""
    stream = io.StringIO()
    console = Console(stream)
    console.line("leads", "text", error=True)
    console.close()
    assert stream.getvalue() == "    leads | text\n"
