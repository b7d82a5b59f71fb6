"""Turns a service's parts into a running application: its log, its doors, its health."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from aiokafka.errors import KafkaError
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import generate_latest
from pymongo.errors import PyMongoError

from shared.doors import attachments, openapi, problems
from shared.doors.bodies import FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX, FORM_FILES_MAX
from shared.doors.doors import Doors
from shared.doors.gate import Gate
from shared.doors.operations import operations
from shared.doors.tokens import TokenVerifier
from shared.log.consumer import Reactions
from shared.log.due import DueTable
from shared.log.indexes import Index
from shared.log.runtime import Log
from shared.platform.logging import POLLED, configure_logging
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings
from shared.platform.telemetry import Metrics, configure_tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is built from."""

    settings: ServiceSettings
    database: Any
    log: Log
    doors: Doors


@dataclass(frozen=True, slots=True)
class Service:
    """What a service brings: routes, what it reacts to, what fires in time, and its collections and indexes.

    `larger_bodies` gives paths that take files a limit of their own, in bytes; 6 MiB is what every form may have.
    """

    routers: Sequence[APIRouter]
    reactions: Reactions = field(default_factory=dict)
    due: DueTable = field(default_factory=dict)
    collections: Sequence[str] = ()
    indexes: Sequence[Index] = ()
    larger_bodies: Mapping[str, int] = field(
        default_factory=lambda: {"/attachments": attachments.BYTES_MAX + 1024 * 1024}
    )


def serve(settings: ServiceSettings, *, title: str, build: Callable[[Parts], Service]) -> FastAPI:
    """The application of one service: starts its log, opens its doors, and on the way out closes them first."""
    configure_logging(service=settings.name, slot=settings.slot, level=settings.log_level)
    tracing = configure_tracing(service=settings.name, slot=settings.slot, endpoint=settings.otlp_endpoint)
    database = connect(settings)
    log = Log(database, settings)
    doors = Doors(
        verifier=TokenVerifier(
            issuer=settings.issuer, audience=settings.audience, algorithm=settings.token_algorithm
        ),
        commands=log.commands,
        now=log.now,
        hmac_key=settings.hmac_key.get_secret_value(),
        cursor_key=settings.cursor_key.get_secret_value(),
        metrics=Metrics(),
    )  # fmt: skip
    service = build(Parts(settings, database, log, doors))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await log.start(
            reactions=service.reactions,
            due=service.due,
            extra_indexes=service.indexes,
            collections=service.collections,
        )
        try:
            yield
        finally:
            await log.stop()
            database.client.close()

    app = application(
        doors, title=title, routers=[*service.routers, _health(log, doors), operations(log, doors)],
        larger_bodies=service.larger_bodies, lifespan=lifespan, tracing=tracing,
    )  # fmt: skip

    @app.exception_handler(PyMongoError)
    async def store_away(request: Request, _error: PyMongoError) -> JSONResponse:
        return problems.problem(request, problems.Unavailable())

    @app.exception_handler(KafkaError)
    async def broker_away(request: Request, _error: KafkaError) -> JSONResponse:
        """Only what asks the broker itself (the lag of the figures) cannot be answered; commands go on."""
        return problems.problem(request, problems.Unavailable())

    return app


def application(
    doors: Doors,
    *,
    title: str,
    routers: Sequence[APIRouter],
    larger_bodies: Mapping[str, int] = MappingProxyType({}),
    lifespan: Any = None,
    tracing: Any = None,
) -> FastAPI:
    """The HTTP side alone: gate, problems, routes, API document and its page. Building it needs nothing that runs."""
    app = FastAPI(
        title=title,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        form_limits={
            "max_files": FORM_FILES_MAX, "max_fields": FORM_FIELDS_MAX, "max_part_size": FORM_FIELD_BYTES_MAX,
        },
        # Inner spans triple the volume; validation logs would hold what people typed.
        telemetry={
            "tracing": tracing is not None, "tracer_provider": tracing, "metrics": False, "logs": False,
            "operation_spans": False, "exclude": lambda scope: scope["path"] in POLLED,
        },
    )  # fmt: skip
    app.add_middleware(Gate, verifier=doors.verifier, larger=larger_bodies)
    problems.install(app)
    openapi.install(app)
    for router in routers:
        app.include_router(router)
    return app


def _health(log: Log, doors: Doors) -> APIRouter:
    router = APIRouter()
    metrics = doors.metrics

    @router.get("/health/live", tags=["health"])
    async def live() -> JSONResponse:
        complaints = log.complaints()
        return JSONResponse({"complaints": complaints}, 503 if complaints else 200)

    @router.get("/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        complaints = log.complaints()
        if not log.sequencer.log_id:
            complaints.append("the log is not open yet")
        body = {"complaints": complaints, "clock_offset_us": log.clock.offset_us}
        return JSONResponse(body, 503 if complaints else 200)

    @router.get("/metrics", tags=["health"])
    async def measured() -> Response:
        figures = await log.figures()
        metrics.facts.labels("written").set(figures["facts"])
        metrics.facts.labels("published").set(figures["published"])
        metrics.dead_letters.labels("waiting").set(figures["dead_letters"])
        for topic, behind in figures["lag"].items():
            metrics.lag.labels(topic).set(behind)
        return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4")

    return router
