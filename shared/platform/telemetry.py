"""OpenTelemetry traces and the metrics a service shows at /metrics."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.pymongo import PymongoInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


def configure_tracing(*, service: str, slot: str, endpoint: str) -> TracerProvider | None:
    """Exports spans of HTTP, MongoDB and facts to an OTLP collector; without an endpoint nothing is recorded."""
    if not endpoint:
        return None
    provider = TracerProvider(resource=Resource.create({"service.name": service, "service.instance.id": slot}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    PymongoInstrumentor().instrument()
    return provider


class Metrics:
    """The figures of one service process; names follow Prometheus conventions, labels stay few."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.commands = Counter(
            "liandong_commands", "Commands by outcome", ["action", "outcome"], registry=self.registry
        )
        self.command_seconds = Histogram(
            "liandong_command_seconds", "Time from request to committed answer", ["action"], registry=self.registry
        )
        self.facts = Gauge("liandong_facts", "Facts in this service's log by stage", ["stage"], registry=self.registry)
        self.lag = Gauge("liandong_lag_records", "Records not yet applied", ["topic"], registry=self.registry)
        self.dead_letters = Gauge("liandong_dead_letters", "Dead letters by state", ["state"], registry=self.registry)
