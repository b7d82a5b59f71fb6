"""What every route stands on: who calls, may they, and one answer per `Idempotency-Key`."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from time import perf_counter
from typing import Annotated, Any, Protocol, TypeVar

import structlog
from fastapi import Header, Query, Request, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.doors.bodies import FORM_FIELD_BYTES_MAX, FORM_FIELDS_MAX, FORM_FILES_MAX, form_digest
from shared.doors.policy import ROLES, require
from shared.doors.tokens import TokenVerifier
from shared.kernel import (
    CIVIL,
    YEARS,
    Actor,
    Aggregate,
    Answer,
    DomainError,
    FieldError,
    InvalidInput,
    Outcome,
    RegionScope,
)
from shared.platform.telemetry import Metrics

T = TypeVar("T")
_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_ETAG = re.compile(r'"(\d{1,9})"', re.ASCII)
_FORM = "multipart/form-data"
_BEARER = HTTPBearer(
    bearerFormat="JWT", scheme_name="bearer", auto_error=False, description="Access token of the OIDC issuer (RFC 9068)"
)
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
"""Only says in the API document that a token is asked for; `TokenVerifier` looks at it."""

Call = Callable[[], Awaitable[Aggregate | Outcome]]
"""What a command does: load, ask the domain, save; it may run several times."""


class IdempotencyKeyMissing(DomainError):
    """A command came without an `Idempotency-Key`, or with one that is not 1 to 200 printable characters."""

    code = "idempotency-key-missing"
    status = 400
    zh = "请在请求头 Idempotency-Key 中给出 1 至 200 个可见字符"
    en = "Give an Idempotency-Key header of 1 to 200 printable characters"


class PreconditionMalformed(DomainError):
    """`If-Match` is not the version in quotes."""

    code = "if-match-malformed"
    status = 400
    zh = 'If-Match 应为带引号的版本号,例如 "3"'
    en = 'If-Match must be a version in quotes, for example "3"'


class CursorInvalid(DomainError):
    """The cursor is not one this list has given out."""

    code = "cursor-invalid"
    status = 400
    zh = "翻页标记无效,请从第一页重新开始"
    en = "The cursor is invalid: start again from the first page"


class Executes(Protocol):
    """The log's way in, as far as a door needs it."""

    async def execute(
        self,
        *,
        key: str,
        body: str,
        lock: str,
        actor: Actor,
        correlation_id: str,
        call: Callable[[], Awaitable[Aggregate | Outcome]],
        expected_version: int | None = None,
    ) -> Answer:
        """Commits once and answers."""
        ...


class _Measure:
    """Counts a command by outcome (accepted, refused, unavailable, failed) and times the answered ones in seconds."""

    def __init__(self, metrics: Metrics, action: str) -> None:
        self.metrics, self.action, self.since = metrics, action, perf_counter()

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self.metrics.command_seconds.labels(self.action).observe(perf_counter() - self.since)
        self.count(error)

    def count(self, error: BaseException | None) -> None:
        if error is None:
            outcome = "accepted"
        elif isinstance(error, DomainError):
            outcome = "refused" if error.status < 500 else "unavailable"
        else:
            outcome = "failed"
        self.metrics.commands.labels(self.action, outcome).inc()


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """An authenticated, permitted command: `execute` commits it once."""

    actor: Actor
    at: datetime
    key: str
    body: str
    _commands: Executes
    _correlation_id: str
    _expected: int | None
    _measure: _Measure

    async def execute(self, *, lock: str, call: Call) -> Answer:
        """Runs the handler's call under the lock of its aggregate and answers; equal requests get the same answer."""
        return await self.measured(self._execute(self.key, lock, call, self._expected))

    async def execute_in_chunks(self, *, lock: str, chunks: Sequence[Call], last: Call) -> Answer:
        """Commits each chunk under `<key>#<n>`, the last under the key itself (rule 8); a retry goes on where it broke.

        Only the first commit is held against `If-Match`, for each one moves the version.
        """
        return await self.measured(self._execute_in_chunks(lock, chunks, last))

    async def measured(self, work: Awaitable[T]) -> T:
        """Counts and times the work as this command's; for what is stored without the log, too (an attachment)."""
        with self._measure:
            return await work

    async def _execute_in_chunks(self, lock: str, chunks: Sequence[Call], last: Call) -> Answer:
        expected = self._expected
        for number, call in enumerate(chunks):
            await self._execute(f"{self.key}#{number}", lock, call, expected)
            expected = None
        return await self._execute(self.key, lock, last, expected)

    async def _execute(self, key: str, lock: str, call: Call, expected: int | None) -> Answer:
        return await self._commands.execute(
            key=key, body=self.body, lock=lock, actor=self.actor, correlation_id=self._correlation_id, call=call,
            expected_version=expected,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Clocks:
    """The two clocks of a read (rule 10 of the domain): effective up to an instant, known up to a place in this log."""

    effective: datetime | None
    known: int | None


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """An authenticated, permitted read, with the page asked for."""

    actor: Actor
    at: datetime
    after: str | None
    limit: int

    @property
    def scope(self) -> RegionScope:
        """What the caller may see."""
        return self.actor.scope


class Doors:
    """Made once per application; its dependencies authenticate, authorise and carry the protocol's headers."""

    def __init__(
        self,
        *,
        verifier: TokenVerifier,
        commands: Executes,
        now: Callable[[], datetime],
        hmac_key: str,
        cursor_key: str,
        metrics: Metrics | None = None,
    ) -> None:
        self.verifier, self.commands, self.now = verifier, commands, now
        self.metrics = metrics or Metrics()
        self._hmac_key, self._cursor_key = hmac_key.encode(), cursor_key.encode()

    def command(self, action: str) -> Callable[..., Awaitable[CommandRequest]]:
        """A dependency for a route that changes something."""
        assert action in ROLES, f"{action} is not in the policy table"

        async def dependency(
            request: Request,
            _bearer: Bearer,
            idempotency_key: Annotated[
                str,
                Header(
                    alias="Idempotency-Key",
                    description="1 to 200 printable characters; the same key gives the same answer",
                ),
            ] = "",
            if_match: Annotated[
                str | None, Header(alias="If-Match", description='The version this command rests on, as `"3"`')
            ] = None,
        ) -> CommandRequest:
            measure = _Measure(self.metrics, action)
            try:
                return await self._commanded(request, action, idempotency_key, _expected_version(if_match), measure)
            except Exception as error:
                measure.count(error)
                raise

        return dependency

    def reader(self, action: str) -> Callable[..., Awaitable[ReadRequest]]:
        """A dependency for a route that only reads."""
        assert action in ROLES, f"{action} is not in the policy table"

        async def dependency(
            request: Request,
            _bearer: Bearer,
            limit: int = Query(50, ge=1, le=200, description="How many, at most"),
            cursor: str | None = Query(None, max_length=1000, description="`next` of the page before"),
        ) -> ReadRequest:
            actor = await self._enter(request, action)
            return ReadRequest(actor, self.now(), self._opened(request, cursor), limit)

        return dependency

    def clocks(self) -> Callable[..., Awaitable[Clocks]]:
        """A dependency for a route that can be asked on two clocks."""

        async def dependency(
            effective: str | None = Query(
                None, max_length=40, description="ISO instant, or a date: the end of that day"
            ),
            known: int | None = Query(None, ge=0, description="place in this service's log"),
        ) -> Clocks:
            return Clocks(_effective(effective), known)

        return dependency

    def accepted(self, answer: Answer, *, status: int = 200) -> JSONResponse:
        """A command's answer: id, version, the ids of the facts written, and the version as ETag.

        What has no version yet (a preview, which is rows and no aggregate) has no ETag either.
        """
        body = {"id": answer.id, "version": answer.version, "facts": list(answer.facts), "details": answer.details}
        return JSONResponse(body, status, headers={"ETag": f'"{answer.version}"'} if answer.version else None)

    def page(self, request: Request, items: list[dict[str, Any]], after: str | None) -> JSONResponse:
        """One page of a list; `next` continues it and is null at the end."""
        return JSONResponse({"items": items, "next": self._sealed(request, after) if after else None})

    async def _commanded(
        self, request: Request, action: str, key: str, expected: int | None, measure: _Measure
    ) -> CommandRequest:
        actor = await self._enter(request, action)
        if not _KEY.fullmatch(key):
            raise IdempotencyKeyMissing
        route = f"{request.method} {request.url.path}"
        named = self._digest("\n".join((self.verifier.issuer, actor.id, route, key)).encode())
        correlation_id = str(structlog.contextvars.get_contextvars().get("correlation_id") or uuid.uuid4())
        return CommandRequest(
            actor, self.now(), named, await self._body(request), self.commands, correlation_id, expected, measure
        )

    async def _body(self, request: Request) -> str:
        """HMAC of the body; of a form, its fields and the content of its files, whatever boundary and file names."""
        digest = hmac.new(self._hmac_key, digestmod=hashlib.sha256)
        if request.headers.get("content-type", "").lower().startswith(_FORM):
            form = await request.form(
                max_files=FORM_FILES_MAX, max_fields=FORM_FIELDS_MAX, max_part_size=FORM_FIELD_BYTES_MAX
            )
            await form_digest(form, digest)
        else:
            digest.update(await request.body())
        return digest.hexdigest()

    async def _enter(self, request: Request, action: str) -> Actor:
        structlog.contextvars.bind_contextvars(action=action)
        actor = await self.verifier.actor(request.headers.get("authorization"))
        require(actor, action)
        return actor

    def _digest(self, data: bytes) -> str:
        return hmac.new(self._hmac_key, data, hashlib.sha256).hexdigest()

    def _sealed(self, request: Request, after: str) -> str:
        text = json.dumps([after, self._signature(request, after)])
        return base64.urlsafe_b64encode(text.encode()).decode()

    def _opened(self, request: Request, cursor: str | None) -> str | None:
        if cursor is None:
            return None
        try:
            after, signature = json.loads(base64.urlsafe_b64decode(cursor))
            if hmac.compare_digest(self._signature(request, after), signature):
                return str(after)
        except (ValueError, TypeError):
            pass
        raise CursorInvalid

    def _signature(self, request: Request, after: str) -> str:
        filters = sorted((k, v) for k, v in request.query_params.items() if k not in ("cursor", "limit"))
        bound = json.dumps([request.url.path, filters, after]).encode()
        return hmac.new(self._cursor_key, bound, hashlib.sha256).hexdigest()


def _effective(given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        if len(given) == len("2026-01-01"):
            # A civil day ends at 24:00 in Asia/Shanghai (rule 23); what is effective at that instant is the next day's,
            # so the last microsecond before it is meant.
            at = datetime.combine(date.fromisoformat(given), time.max, CIVIL)
        else:
            at = datetime.fromisoformat(given.replace(" ", "+"))
        if at.tzinfo is None or at.year not in YEARS:
            raise ValueError
    except ValueError as error:
        zh = "应为带时区的时刻或日期,例如 2026-01-01T00:00:00+08:00 或 2026-01-01"
        en = "Give an instant with its offset or a civil date, as 2026-01-01T00:00:00+08:00 or 2026-01-01"
        raise InvalidInput(errors=[FieldError("effective", "instant", zh, en)]) from error
    return at


def _expected_version(given: str | None) -> int | None:
    if given in (None, "*"):
        return None
    match = _ETAG.fullmatch(str(given))
    if match is None:
        raise PreconditionMalformed
    return int(match[1])
