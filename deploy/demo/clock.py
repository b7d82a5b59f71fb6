"""The programme's year on the development clock: every service moves to the same day, and only forward."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx2
from pymongo.errors import PyMongoError

from deploy.local.mongod import CLOCK_DATABASE
from deploy.local.stack import Stack
from shared.kernel import CIVIL

MOVED_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.05
_OFFICE_OPENS = time(9)


class ClockStands(Exception):
    """A service did not follow the clock in time."""


class YearClock:
    """Moves the stack's development clock and waits until every running service follows."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        begun = stack.clock_at or datetime.now(UTC)
        self.offset_us = (begun - datetime.now(UTC)) // timedelta(microseconds=1)
        self._client: Any = stack.as_user("clock")

    def close(self) -> None:
        """Lets the connection to the store go."""
        self._client.close()

    def now(self) -> datetime:
        """The programme's current instant."""
        return datetime.now(UTC) + timedelta(microseconds=self.offset_us)

    async def move_to(self, day: date, *, services: Sequence[str] = ()) -> None:
        """Makes it nine in the morning of a day (Asia/Shanghai), unless it is later already."""
        offset = (nine(day) - datetime.now(UTC)) // timedelta(microseconds=1)
        if offset > self.offset_us:
            await self._write(offset)
            self.offset_us = offset
        await asyncio.gather(*(self._followed(service) for service in services))

    async def _write(self, offset: int) -> None:
        document = self._client[CLOCK_DATABASE].clock
        deadline = asyncio.get_running_loop().time() + MOVED_SECONDS_MAX
        while True:
            try:
                await document.update_one({"_id": "clock"}, {"$max": {"offset_us": offset}}, upsert=True)
                return
            except PyMongoError:  # the store is away for a moment; setting the same offset again is harmless
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(_POLL_SECONDS)

    async def _followed(self, service: str) -> None:
        deadline = asyncio.get_running_loop().time() + MOVED_SECONDS_MAX
        async with httpx2.AsyncClient(timeout=10) as http:
            while asyncio.get_running_loop().time() < deadline:
                try:
                    told = (await http.get(f"{self.stack.url(service)}/health/ready")).json()
                    if told.get("clock_offset_us", self.offset_us - 1) >= self.offset_us:
                        return
                except (httpx2.TransportError, ValueError):
                    pass  # it is being restarted
                await asyncio.sleep(_POLL_SECONDS)
        raise ClockStands(f"{service} did not follow the development clock within {MOVED_SECONDS_MAX:.0f} s")


def nine(day: date) -> datetime:
    """The instant at which offices open on a day."""
    return datetime.combine(day, _OFFICE_OPENS, CIVIL)
