"""How the demo speaks to the services: one HTTP client for all roles, which repeats under the same key until answered.

Every command has a key that follows from the seed, so that asking again is harmless; the client counts each accepted
answer once, and these counts are what the running system's figures are held against.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2

IN_FLIGHT_MAX = 24
ANSWER_SECONDS_MAX = 180.0
_RENEW_SECONDS = 480.0  # a development token lives for 600
_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0
_AWAY = frozenset({502, 503, 504})
_UNAUTHENTICATED = 401


class Refused(Exception):
    """A service said no where the demo expected yes (or the other way round)."""

    def __init__(self, what: str, answer: httpx2.Response) -> None:
        self.answer = answer
        with suppress(ValueError):
            body = answer.json()
            faults = "; ".join(f"{e['field']}: {e['en']}" for e in body.get("errors", [])[:3])
            detail = f"{body.get('code')}: {body.get('detail_en')} {faults}".strip()
            super().__init__(f"{what} answered {answer.status_code} {detail}")
            return
        super().__init__(f"{what} answered {answer.status_code} {answer.text[:200]}")


class NoAnswer(Exception):
    """A service did not answer within the time the demo gives it."""


@dataclass(frozen=True, slots=True)
class Who:
    """A person at work: an opaque subject, the roles, the regions ("34 32" or "*") and the organisation's code."""

    subject: str
    roles: str
    regions: str
    org: str = ""


@dataclass(slots=True)
class Ledger:
    """What one service has accepted: keys, the facts its answers named, and both by route."""

    keys: set[str] = field(default_factory=set)
    facts: set[str] = field(default_factory=set)
    facts_by_route: Counter[str] = field(default_factory=Counter)
    commands_by_route: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def accept(self, key: str, route: str, facts: list[str]) -> None:
        """Counts an answer once per key."""
        if key not in self.keys:
            self.keys.add(key)
            self.commands_by_route[route] += 1
            self.facts_by_route[route] += len(facts)
            self.facts |= set(facts)


class Client:
    """Speaks as whoever is named; `services` maps a service to its address."""

    def __init__(self, *, issuer: str, services: Mapping[str, str], prefix: str) -> None:
        self.issuer, self.services, self.prefix = issuer, dict(services), prefix
        self.ledgers = {name: Ledger() for name in services}
        self.retries = 0
        self._slots = asyncio.Semaphore(IN_FLIGHT_MAX)
        self._tokens: dict[Who, tuple[str, float]] = {}
        limits = httpx2.Limits(max_connections=IN_FLIGHT_MAX * 2, max_keepalive_connections=IN_FLIGHT_MAX)
        self._http = httpx2.AsyncClient(timeout=60, limits=limits)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._http.aclose()

    async def command(
        self,
        who: Who,
        service: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str,
        file: tuple[str, bytes, str] | None = None,
        counted: bool = True,
    ) -> dict[str, Any]:
        """Sends a command until it is answered, and counts it; raises Refused.

        `key` names the act within the demo; `file` is (name, bytes, media type) of an upload.
        """
        answer = await self.attempt(who, service, path, body, key=key, file=file)
        if not answer.is_success:
            raise Refused(f"POST {service}{path}", answer)
        told: dict[str, Any] = answer.json()
        if counted:
            self.ledgers[service].accept(f"{path} {key}", _route(path), list(told.get("facts", ())))
        return told

    async def refusal(
        self, who: Who, service: str, path: str, body: Mapping[str, Any] | None = None, *, key: str, code: str,
        file: tuple[str, bytes, str] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Sends a command that must be refused with this code, and returns the problem."""
        answer = await self.attempt(who, service, path, body, key=key, file=file)
        problem: dict[str, Any] = answer.json()
        if answer.is_success or (code and problem.get("code") != code):
            raise Refused(f"POST {service}{path} (to be refused with {code})", answer)
        self.ledgers[service].refused += 1
        return problem

    async def attempt(
        self, who: Who, service: str, path: str, body: Mapping[str, Any] | None = None, *, key: str,
        file: tuple[str, bytes, str] | None = None,
    ) -> httpx2.Response:  # fmt: skip
        """One command, repeated under the same key while the service is away; whatever it answers then."""
        sent: dict[str, Any] = {"files": {"file": file}} if file else {"json": dict(body or {})}
        headers = {"Idempotency-Key": f"{self.prefix}-{key}"}
        return await self._until_answered("POST", who, service, path, headers=headers, **sent)

    async def read(self, who: Who, service: str, path: str, **query: str | int) -> Any:
        """A read as JSON; raises Refused."""
        answer = await self.raw(who, service, path, **query)
        return answer.json()

    async def raw(self, who: Who, service: str, path: str, **query: str | int) -> httpx2.Response:
        """A read as it comes (a workbook, an attachment); raises Refused."""
        answer = await self._until_answered("GET", who, service, path, params=query)
        if not answer.is_success:
            raise Refused(f"GET {service}{path}", answer)
        return answer

    async def pages(self, who: Who, service: str, path: str, **query: str | int) -> list[dict[str, Any]]:
        """Every item of a list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = await self.read(who, service, path, limit=200, **query, **more)
            items += page["items"]
            cursor = page["next"]
        return items

    async def _until_answered(
        self, method: str, who: Who, service: str, path: str, *, headers: Mapping[str, str] | None = None, **sent: Any
    ) -> httpx2.Response:
        deadline = time.monotonic() + ANSWER_SECONDS_MAX
        pause, last = _PAUSE_SECONDS, ""
        while time.monotonic() < deadline:
            try:
                async with self._slots:
                    given = {**(headers or {}), "Authorization": f"Bearer {await self._token(who)}"}
                    answer = await self._http.request(method, self.services[service] + path, headers=given, **sent)
                if answer.status_code == _UNAUTHENTICATED:
                    self._tokens.pop(who, None)
                elif answer.status_code not in _AWAY:
                    return answer
                last = f"{answer.status_code} {answer.text[:200]}"
            except httpx2.TransportError as error:
                last = type(error).__name__
            self.retries += 1
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        raise NoAnswer(f"{method} {service}{path}: no answer within {ANSWER_SECONDS_MAX:.0f} s, last {last}")

    async def _token(self, who: Who) -> str:
        token, since = self._tokens.get(who, ("", 0.0))
        if not token or time.monotonic() - since > _RENEW_SECONDS:
            form = {"sub": who.subject, "roles": who.roles, "regions": who.regions, "org": who.org}
            answer = (await self._http.post(f"{self.issuer}/token", data=form)).raise_for_status()
            token = str(answer.json()["access_token"])
            self._tokens[who] = (token, time.monotonic())
        return token


def _route(path: str) -> str:
    """A path without its ids: `/pilots/PL-1/submit` → `/pilots/submit`, `/pilots/PL-1/imports/IM-1/apply` → …/apply."""
    parts = path.strip("/").split("/")
    last = len(parts) - 1
    return "/" + "/".join(part for i, part in enumerate(parts) if i % 2 == 0 or (i == last and i > 1))
