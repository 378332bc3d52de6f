"""One pipeline for our own and foreign log lines: JSON on standard error, with the trace's id, without secrets."""

import logging
import re
import sys
from typing import Any

import orjson
import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, Processor, WrappedLogger

from breakwater.chassis import telemetry

_SECRET_KEY = re.compile(r"authorization|cookie|password|secret|token|private", re.IGNORECASE)
# A JWT, also inside a longer text such as an exception's.
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)?")
_MASK = "[masked]"
VALUE_LENGTH_MAX = 8_000
"""Characters of one text in a line; the rest is cut off and said so."""


def configure(service: str, level: str = "info", *, instance: str | None = None) -> None:
    """Sends every log line of this process, standard library's too, through the pipeline."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Origin(service, instance),
        structlog.processors.format_exc_info,
        _without_secrets,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _Stderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_json),
            ],
        )
    )
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)


def get_logger(name: str) -> BoundLogger:
    """A logger: `log.info("lead_assigned", lead_id=...)`, event names in snake case, data as keywords."""
    logger: BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class _Stderr(logging.Handler):
    """Writes to what standard error is at that moment: tests and supervisors put another one in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - logging must not fail what it logs; handleError reports it
            self.handleError(record)


class _Origin:
    """Says which process and which trace a line belongs to."""

    def __init__(self, service: str, instance: str | None) -> None:
        self._fixed = {"service": service} | ({"instance": instance} if instance else {})

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event.update(self._fixed)
        trace_id = telemetry.trace_id()
        if trace_id:
            event["trace_id"] = trace_id
        return event


def _without_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if _SECRET_KEY.search(key):
            event[key] = _MASK
        elif isinstance(value, str):
            event[key] = _clean(value)
    return event


def _clean(text: str) -> str:
    if len(text) > VALUE_LENGTH_MAX:
        text = text[:VALUE_LENGTH_MAX] + "... [cut]"
    return _JWT.sub(_MASK, text) if "eyJ" in text else text


def _json(event: EventDict, **_: Any) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
