"""structlog as JSON lines, for our own code and for every library that logs through the standard library."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog
from opentelemetry import trace

_NOISY = dict.fromkeys(("aiokafka", "pymongo", "httpcore2", "httpx2"), logging.WARNING)


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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
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
