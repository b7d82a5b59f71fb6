"""structlog as JSON lines, for our own code and for every library that logs through the standard library."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace

POLLED = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Asked every few seconds by machines: neither logged nor traced."""

_NOISY = dict.fromkeys(("aiokafka", "pymongo", "httpcore2", "httpx2"), logging.WARNING)

_REPETITIVE = "aiokafka"
_TEXTS_MAX = 500


class Collapsed(logging.Filter):
    """At most one line per text in `seconds`: a library says the same hundreds of times while a broker is away.

    The next line with that text tells in `repeated` how many were left out since the one before it.
    """

    def __init__(self, name: str, seconds: float = 5.0) -> None:
        super().__init__(name)
        self.seconds = seconds
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written."""
        if not super().filter(record):
            return True  # another library's
        text = (record.name, record.getMessage())
        since, left_out = self._said.get(text, (float("-inf"), 0))
        if record.created - since < self.seconds:
            self._said[text] = (since, left_out + 1)
            return False
        if left_out:
            record.repeated = left_out
        if len(self._said) >= _TEXTS_MAX:
            self._said = {key: told for key, told in self._said.items() if record.created - told[0] < self.seconds}
        self._said[text] = (record.created, 0)
        return True


def _unpolled(record: logging.LogRecord) -> bool:
    """Whether uvicorn's access line is about more than a poll; its arguments are (client, method, path, ...)."""
    return not (isinstance(record.args, tuple) and str(record.args[2]).partition("?")[0] in POLLED)


def configure_logging(*, service: str, slot: str, level: str) -> None:
    """Sends every log line of the process to standard output as one JSON object with service, slot and correlation id.

    Fields, not sentences: the event is a dotted name (`pilot.submitted`). Personal data has no place in a log.
    """
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        _trace_ids,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _service(service, slot),
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    handler.addFilter(Collapsed(_REPETITIVE))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").addFilter(_unpolled)
    for name, least in _NOISY.items():
        logging.getLogger(name).setLevel(least)


def _service(service: str, slot: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        event["service"], event["slot"] = service, slot
        return event

    return add


def _trace_ids(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format(context.trace_id, "032x")
        event["span_id"] = format(context.span_id, "016x")
    return event
