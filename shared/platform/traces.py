"""The thread through a request, its facts and what they cause: W3C `traceparent`, with or without a tracer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


def current_traceparent() -> str | None:
    """The `traceparent` of the span in progress, or None when nothing is traced."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def continued(traceparent: str | None, name: str) -> Iterator[str | None]:
    """A span below the trace a fact came with; gives the `traceparent` that what it causes carries on."""
    if traceparent is None:
        yield current_traceparent()
        return
    parent = TraceContextTextMapPropagator().extract({"traceparent": traceparent})
    with trace.get_tracer("liandong").start_as_current_span(name, context=parent):
        yield current_traceparent() or traceparent
