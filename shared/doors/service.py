"""Turns a service's parts into a running application: its log, its doors, its health."""

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import FrameType, MappingProxyType
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from prometheus_client import generate_latest
from pymongo.errors import PyMongoError

from shared.doors import openapi, problems
from shared.doors.attachments import BYTES_MAX, Attachments
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

_FIRST_SWEEP_SECONDS = 3_600.0
_SWEEP_SECONDS = 86_400.0
_UNUSED_FOR = timedelta(days=30)
"""How long an upload may wait for the command that refers to it."""

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is built from. `stopping` is set the moment the process is told to stop: endless answers end."""

    settings: ServiceSettings
    database: Any
    log: Log
    doors: Doors
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Service:
    """What a service brings: routes, what it reacts to, what fires in time, and its collections and indexes.

    `attachments`, when the service keeps any, are swept daily.
    `larger_bodies` gives paths that take files a limit of their own, in bytes; 6 MiB is what every form may have.
    """

    routers: Sequence[APIRouter]
    reactions: Reactions = field(default_factory=dict)
    due: DueTable = field(default_factory=dict)
    collections: Sequence[str] = ()
    indexes: Sequence[Index] = ()
    attachments: Attachments | None = None
    larger_bodies: Mapping[str, int] = field(default_factory=lambda: {"/attachments": BYTES_MAX + 1024 * 1024})


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
    parts = Parts(settings, database, log, doors)
    service = build(parts)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await log.start(
            reactions=service.reactions,
            due=service.due,
            extra_indexes=service.indexes,
            collections=service.collections,
        )
        sweeping = asyncio.create_task(_sweep(service.attachments, log.now)) if service.attachments else None
        try:
            with _told(parts.stopping):
                yield
        finally:
            if sweeping is not None:
                sweeping.cancel()
            await log.stop()
            database.client.close()

    app = application(
        doors, title=title, routers=[*service.routers, _health(log, doors), operations(log, doors)],
        larger_bodies=service.larger_bodies, lifespan=lifespan, tracing=tracing,
    )  # fmt: skip

    app.state.graceful_seconds = settings.graceful_seconds

    @app.exception_handler(PyMongoError)
    async def store_away(request: Request, _error: PyMongoError) -> JSONResponse:
        return problems.problem(request, problems.Unavailable())

    @app.exception_handler(KafkaError)
    async def broker_away(request: Request, _error: KafkaError) -> JSONResponse:
        """Only what asks the broker itself (the lag of the figures) cannot be answered; commands go on."""
        return problems.problem(request, problems.Unavailable())

    return app


@contextmanager
def _told(stopping: asyncio.Event) -> Iterator[None]:
    """Sets the event with the signal itself: the server ends the lifespan only when every answer is out, and an open
    stream's never is. What handled the signal before still does.
    """
    loop = asyncio.get_running_loop()
    before: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def told(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(stopping.set)
        before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            handler = signal.getsignal(number)
            if callable(handler):
                before[number] = handler
                signal.signal(number, told)
    try:
        yield
    finally:
        for told_of, handler in before.items():
            signal.signal(told_of, handler)


async def _sweep(kept: Attachments, now: Callable[[], datetime]) -> None:
    """Deletes daily what was uploaded and never referred to (rule 8); an hour after the start the first time."""
    pause = _FIRST_SWEEP_SECONDS
    while True:
        await asyncio.sleep(pause)
        pause = _SWEEP_SECONDS
        try:
            deleted = await kept.sweep(now() - _UNUSED_FOR)
            logger.info("attachments.swept", deleted=deleted)
        except PyMongoError as error:
            logger.warning("attachments.sweep_failed", error=type(error).__name__)


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
