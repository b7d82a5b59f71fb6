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
from datetime import date, datetime, time, timedelta
from typing import Any, Protocol

import structlog
from fastapi import Query, Request
from fastapi.responses import JSONResponse

from shared.doors.policy import ROLES, require
from shared.doors.tokens import TokenVerifier
from shared.kernel import (
    CIVIL,
    Actor,
    Aggregate,
    Answer,
    DomainError,
    FieldError,
    InvalidInput,
    Outcome,
    RegionScope,
)

_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_ETAG = re.compile(r'"(\d{1,9})"', re.ASCII)
_CORRELATION = re.compile(r"[0-9A-Za-z-]{8,64}", re.ASCII)

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


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """An authenticated, permitted command: `execute` commits it once."""

    actor: Actor
    at: datetime
    _commands: Executes
    _key: str
    _body: str
    _correlation_id: str
    _expected: int | None

    async def execute(self, *, lock: str, call: Callable[[], Awaitable[Aggregate | Outcome]]) -> Answer:
        """Runs the handler's call under the lock of its aggregate and answers; equal requests get the same answer."""
        return await self._commands.execute(
            key=self._key, body=self._body, lock=lock, actor=self.actor, correlation_id=self._correlation_id,
            call=call, expected_version=self._expected,
        )  # fmt: skip

    async def execute_in_chunks(self, *, lock: str, chunks: Sequence[Call], last: Call) -> Answer:
        """Commits each chunk under `<key>#<n>`, the last under the key itself (rule 8); a retry goes on where it broke.

        Only the first chunk is held against `If-Match`, for the ones before move the version.
        """
        for number, call in enumerate(chunks):
            await self._commands.execute(
                key=f"{self._key}#{number}", body=self._body, lock=lock, actor=self.actor,
                correlation_id=self._correlation_id, call=call,
                expected_version=self._expected if number == 0 else None,
            )  # fmt: skip
        return await self._commands.execute(
            key=self._key, body=self._body, lock=lock, actor=self.actor, correlation_id=self._correlation_id, call=last
        )


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
    ) -> None:
        self.verifier, self.commands, self.now = verifier, commands, now
        self._hmac_key, self._cursor_key = hmac_key.encode(), cursor_key.encode()

    def command(self, action: str) -> Callable[[Request], Awaitable[CommandRequest]]:
        """A dependency for a route that changes something."""
        assert action in ROLES, f"{action} is not in the policy table"

        async def dependency(request: Request) -> CommandRequest:
            actor = await self._enter(request, action)
            key = request.headers.get("idempotency-key", "")
            if not _KEY.fullmatch(key):
                raise IdempotencyKeyMissing
            route = f"{request.method} {request.url.path}"
            named = self._digest("\n".join((self.verifier.issuer, actor.id, route, key)).encode())
            return CommandRequest(
                actor, self.now(), self.commands, named, self._digest(await request.body()),
                str(structlog.contextvars.get_contextvars()["correlation_id"]), _expected_version(request),
            )  # fmt: skip

        return dependency

    def reader(self, action: str) -> Callable[..., Awaitable[ReadRequest]]:
        """A dependency for a route that only reads."""
        assert action in ROLES, f"{action} is not in the policy table"

        async def dependency(
            request: Request,
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
        """A command's answer: id, version, the ids of the facts written, and the version as ETag."""
        body = {"id": answer.id, "version": answer.version, "facts": list(answer.facts), "details": answer.details}
        return JSONResponse(body, status, headers={"ETag": f'"{answer.version}"'})

    def page(self, request: Request, items: list[dict[str, Any]], after: str | None) -> JSONResponse:
        """One page of a list; `next` continues it and is null at the end."""
        return JSONResponse({"items": items, "next": self._sealed(request, after) if after else None})

    async def _enter(self, request: Request, action: str) -> Actor:
        given = request.headers.get("x-correlation-id", "")
        correlation_id = given if _CORRELATION.fullmatch(given) else str(uuid.uuid4())
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(correlation_id=correlation_id, action=action)
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
            # A civil day ends at 24:00 in Asia/Shanghai (rule 23); what is effective at that instant is the next day's.
            day = datetime.combine(date.fromisoformat(given), time(), CIVIL)
            return day + timedelta(days=1) - timedelta(microseconds=1)
        at = datetime.fromisoformat(given.replace(" ", "+"))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidInput(
            errors=[
                FieldError(
                    "effective",
                    "instant",
                    "应为带时区的时刻或日期,例如 2026-01-01T00:00:00+08:00 或 2026-01-01",
                    "Give an instant with its offset or a civil date, as 2026-01-01T00:00:00+08:00 or 2026-01-01",
                )
            ]
        )
    return at


def _expected_version(request: Request) -> int | None:
    given = request.headers.get("if-match")
    if given in (None, "*"):
        return None
    match = _ETAG.fullmatch(str(given))
    if match is None:
        raise PreconditionMalformed
    return int(match[1])
