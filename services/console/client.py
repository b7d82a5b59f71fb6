"""Asks the services over HTTP: where they are, with which token, and a problem as a sentence."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from deploy.local import running

_SECONDS = 30.0


class Unreachable(Exception):
    """A service cannot be asked, or refuses; the sentence says why in Chinese and English."""


@dataclass(frozen=True, slots=True)
class Who:
    """In which role to ask the development issuer for a token; unused when `LIANDONG_TOKEN` is set."""

    role: str = "auditor"
    regions: str = "*"


class Services:
    """The doors of one installation: `LIANDONG_<SERVICE>_URL` where it is set, else the local stack of the home."""

    def __init__(self, home: Path, who: Who) -> None:
        self._home, self._who = home, who
        self._stack = running.find(home)

    def names(self) -> list[str]:
        """The services that can be asked, as packages are called."""
        local = {name.rpartition("-")[0].replace("-", "_") for name in self._stack.services} if self._stack else set()
        prefix, suffix = "LIANDONG_", "_URL"
        named = {key[len(prefix) : -len(suffix)].lower() for key in os.environ if key.startswith(prefix)
                 and key.endswith(suffix)}  # fmt: skip
        return sorted(local | named)

    def url(self, service: str) -> str:
        """Where a service is; raises Unreachable when nobody knows."""
        if given := os.environ.get(f"LIANDONG_{service.upper()}_URL"):
            return given.rstrip("/")
        slot = f"{service.replace('_', '-')}-0"
        if self._stack is not None and slot in self._stack.children:
            return self._stack.url(slot)
        variable = f"LIANDONG_{service.upper()}_URL"
        raise Unreachable(
            f"{service} 没有在运行:请先 `./liandong dev up`,或设置 {variable}。 / "
            f"{service} does not run: `./liandong dev up` starts it, or set {variable}."
        )

    async def get(
        self, service: str, path: str, query: Mapping[str, str | int | None] | None = None, *, seconds: float = _SECONDS
    ) -> Any:
        """What a door answers to a read; raises Unreachable with the service's own sentences when it refuses."""
        asked = {key: str(value) for key, value in (query or {}).items() if value is not None}
        return await self._ask(service, "GET", path, seconds=seconds, params=asked)

    async def post(self, service: str, path: str, body: dict[str, Any], *, seconds: float = 120.0) -> Any:
        """What a door answers to a command under a key of its own; raises Unreachable when it refuses."""
        key = str(uuid.uuid4())
        return await self._ask(service, "POST", path, seconds=seconds, key=key, json=body)

    async def _ask(
        self, service: str, method: str, path: str, *, seconds: float, key: str | None = None, **how: Any
    ) -> Any:
        url = self.url(service)
        try:
            headers = {"Authorization": f"Bearer {await self._token()}"} | ({"Idempotency-Key": key} if key else {})
            async with httpx2.AsyncClient(timeout=seconds) as http:
                answer = await http.request(method, f"{url}{path}", headers=headers, **how)
        except httpx2.HTTPError as error:
            raise Unreachable(
                f"{service}({url})没有应答:{type(error).__name__}。 / {service} ({url}) did not answer: "
                f"{type(error).__name__}."
            ) from error
        if not answer.is_success:
            raise Unreachable(_sentence(answer))
        return answer.json()

    async def pages(self, service: str, path: str, *, limit: int, **query: str | None) -> list[Any]:
        """The first `limit` items of a list, over as many pages as that takes."""
        items: list[Any] = []
        cursor: str | None = None
        while len(items) < limit:
            page = await self.get(service, path, {**query, "limit": min(limit - len(items), 100), "cursor": cursor})
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        return items[:limit]

    async def _token(self) -> str:
        if given := os.environ.get("LIANDONG_TOKEN"):
            return given
        if self._stack is None or "issuer" not in self._stack.children:
            raise Unreachable(
                "没有令牌:请设置 LIANDONG_TOKEN,或先 `./liandong dev up`。 / "
                "There is no token: set LIANDONG_TOKEN, or `./liandong dev up` first."
            )
        sub = f"liandong-{self._who.role}"
        return await running.token(self._stack, roles=self._who.role, regions=self._who.regions, sub=sub)


def _sentence(answer: httpx2.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    told = " / ".join(str(body[key]) for key in ("detail_zh", "detail_en") if body.get(key))
    return f"{answer.status_code} {body.get('code', '')} {told}".strip()
