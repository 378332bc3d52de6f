"""Log lines: one JSON object each, with the trace, without secrets."""

import json
import logging as standard

import pytest
import structlog

from breakwater.chassis import logging, telemetry

TOKEN = "eyJhbGciOiJFZDI1NTE5In0.eyJzdWIiOiIxMDAxIn0.c2lnbmF0dXJl"


@pytest.fixture
def lines(capsys):
    handlers, level = standard.getLogger().handlers[:], standard.getLogger().level
    logging.configure("files", "info", instance="host-1")
    yield lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    standard.getLogger().handlers[:] = handlers
    standard.getLogger().setLevel(level)
    standard.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_a_line_says_which_service_and_trace_it_belongs_to(lines):
    """Our own and foreign lines alike."""
    with telemetry.remote_context("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"):
        logging.get_logger("services.files").info("export_made", rows=3)
        standard.getLogger("asyncpg").warning("slow %s", "statement")
    own, foreign = lines()
    assert (own["event"], own["rows"], own["logger"]) == ("export_made", 3, "services.files")
    assert (foreign["event"], foreign["level"]) == ("slow statement", "warning")
    for line in (own, foreign):
        assert (line["service"], line["instance"]) == ("files", "host-1")
        assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
        assert line["timestamp"].endswith("Z")


def test_secrets_are_masked(lines):
    """By the name of the key, and tokens wherever they stand, in exceptions too."""
    error = ValueError(f"bad header Bearer {TOKEN}")
    note = f"got {TOKEN}!"
    logging.get_logger("x").error(
        "refused", authorization="Bearer abc", db_password="hunter2", note=note, exc_info=error
    )
    standard.getLogger("foreign").error("token %s", TOKEN)
    own, foreign = lines()
    assert own["authorization"] == own["db_password"] == "[masked]"
    assert own["note"] == "got [masked]!"
    assert "ValueError" in own["exception"]
    for line in (own, foreign):
        assert "eyJ" not in json.dumps(line)


def test_a_line_cannot_be_forged_by_its_content(lines):
    """Newlines and quotes in data stay inside one JSON line; endless data is cut."""
    logging.get_logger("x").info("seen", name='evil"}\n{"event": "forged"}', long="x" * 100_000)
    (line,) = lines()
    assert line["event"] == "seen"
    assert len(line["long"]) < 10_000


def test_lines_below_the_level_are_not_written(lines):
    """Debug is off unless asked for."""
    logging.get_logger("x").debug("detail")
    standard.getLogger("y").debug("detail")
    assert lines() == []
