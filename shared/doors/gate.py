"""The outermost layer of a service's HTTP: correlation, safe headers, bodies checked before anybody reads them.

FastAPI's own `max_body_size` answers in plain text, even over a problem that was already on its way, so the limits are
counted here; its `form_limits` and its telemetry are used as they come.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import parse_qsl

import structlog
from opentelemetry import context, trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.doors import problems
from shared.doors.bodies import (
    FORM_BYTES_MAX,
    JSON_BYTES_MAX,
    BodyTooLarge,
    BodyTooSlow,
    MediaTypeUnsupported,
    check_json,
    check_text,
)
from shared.doors.tokens import TokenVerifier
from shared.kernel import DomainError

BODY_SECONDS_MAX = 60
_DISCARD_BYTES_MAX = 64 * 1024 * 1024
_DISCARD_SECONDS_MAX = 10
_CORRELATION = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)
_LENGTH = re.compile(r"\d{1,18}", re.ASCII)
_QUERY_FIELDS_MAX = 100
_SAFE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

log = structlog.get_logger()


class Gate:
    """ASGI middleware. `larger` gives paths a body limit of their own, in bytes; files come only with a valid token."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        verifier: TokenVerifier,
        larger: Mapping[str, int],
        body_seconds: float = BODY_SECONDS_MAX,
    ) -> None:
        self.app, self.verifier, self.larger, self.body_seconds = app, verifier, larger, body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets one request in, or answers it here with a problem."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-correlation-id", "")
        correlation_id = given if _CORRELATION.fullmatch(given) else str(uuid.uuid4())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id)
        token = context.attach(_continued(headers))
        incoming = _Incoming(receive)
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                out["X-Correlation-Id"] = correlation_id
                for name, value in _SAFE.items():
                    out.setdefault(name, value)
            await send(message)

        try:
            checked = await self._checked(scope, headers, incoming)
            await self.app(scope, checked, answer)
        except DomainError as refusal:
            await incoming.discard(headers)
            await problems.problem(Request(scope), refusal)(scope, receive, answer)
        except Exception as error:
            log.error("request.broken", path=scope["path"], exc_info=error)
            if started:
                raise  # the answer is broken off, so that nobody takes half of it for all
            await problems.problem(Request(scope), problems.Broken())(scope, receive, answer)
        finally:
            context.detach(token)

    async def _checked(self, scope: Scope, headers: Headers, receive: _Incoming) -> Receive:
        check_text("path", scope["path"])
        query = scope["query_string"].decode("latin-1")
        for name, value in parse_qsl(query, keep_blank_values=True, max_num_fields=None)[:_QUERY_FIELDS_MAX]:
            check_text(name, value)
        length = headers.get("content-length")
        if length == "0" or (length is None and "transfer-encoding" not in headers):
            return receive
        if scope["method"] in {"GET", "HEAD", "OPTIONS"}:
            return receive  # no route reads it
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise MediaTypeUnsupported
        if media_type == "application/json":
            limit = JSON_BYTES_MAX
        elif media_type == "multipart/form-data":
            limit = self.larger.get(scope["path"], FORM_BYTES_MAX)
        else:
            raise MediaTypeUnsupported
        if length is not None and (not _LENGTH.fullmatch(length) or int(length) > limit):
            raise BodyTooLarge(limit=limit)
        receive.bound(limit=limit, seconds=self.body_seconds)
        if media_type == "multipart/form-data":
            await self.verifier.actor(headers.get("authorization"))  # nobody unknown fills our disk
            return receive.form
        body = await receive.all()
        if body:
            check_json(body)
        return _replay(body, receive)


class _Incoming:
    """A request's body as it arrives: ends with a refusal when it grows past its limit or takes too long."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.limit: int | None = None
        self.seconds, self.deadline = 0.0, 0.0
        self.size, self.complete = 0, False

    def bound(self, *, limit: int, seconds: float) -> None:
        """From now on at most so many bytes, within so many seconds."""
        self.limit, self.seconds = limit, seconds
        self.deadline = asyncio.get_running_loop().time() + seconds

    async def __call__(self) -> Message:
        """The next message."""
        if self.complete or self.limit is None:
            return await self.receive()
        try:
            async with asyncio.timeout_at(self.deadline):
                message = await self.receive()
        except TimeoutError:
            self.complete = True
            raise BodyTooSlow(seconds=self.seconds) from None
        self._count(message)
        if self.size > self.limit:
            raise BodyTooLarge(limit=self.limit)
        return message

    async def form(self) -> Message:
        """The next message, for FastAPI's form parser, which lets only HTTPException through."""
        try:
            return await self()
        except DomainError as refusal:
            raise HTTPException(refusal.status) from refusal

    async def all(self) -> bytes:
        """The whole body."""
        pieces: list[bytes] = []
        while not self.complete:
            message = await self()
            pieces.append(message.get("body", b""))
        return b"".join(pieces)

    async def discard(self, headers: Headers) -> None:
        """Reads on for a while, so that a client in the middle of sending gets our answer, not a broken pipe."""
        if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
            return
        if headers.get("expect", "").lower() == "100-continue":
            return  # it asked first, and has sent nothing
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS_MAX):
                while not self.complete and self.size <= _DISCARD_BYTES_MAX:
                    self._count(await self.receive())

    def _count(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        self.complete = message["type"] != "http.request" or not message.get("more_body", False)


def _continued(headers: Headers) -> context.Context:
    """The trace the request came with (W3C traceparent), so that its facts carry it even when nothing is exported.

    When spans are recorded, FastAPI has opened one below it already.
    """
    if trace.get_current_span().get_span_context().is_valid:
        return context.get_current()
    return TraceContextTextMapPropagator().extract({"traceparent": headers.get("traceparent", "")})


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
