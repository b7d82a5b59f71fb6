"""Recorded and civil time of a service: the machine's, outside production moved by a document (rule 6)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import PyMongoError

from shared.kernel import microseconds

SKEW_SECONDS_MAX = 2.0
_POLL_SECONDS = 0.1
_SKEW_EVERY = 50
CLOCK_DATABASE = "liandong_clock"


class ServiceClock:
    """`now()` is what facts are recorded at. Production ignores the development clock."""

    def __init__(self, database: Any, *, production: bool) -> None:
        self._admin = database.client.admin
        self._document = database.client[CLOCK_DATABASE].clock
        self._production = production
        self.offset_us = 0
        self._told = False
        self.skew_seconds = 0.0

    def now(self) -> datetime:
        """The current instant, aware, with the development offset."""
        return datetime.now(UTC) + timedelta(microseconds=self.offset_us)

    def now_us(self) -> int:
        """The current instant in microseconds since 1970."""
        return microseconds(self.now())

    def skewed(self) -> bool:
        """Whether this machine is more than two seconds away from mongod's clock."""
        return abs(self.skew_seconds) > SKEW_SECONDS_MAX

    async def run(self) -> None:
        """Follows the development clock and measures the distance to mongod's clock until cancelled."""
        turn = 0
        while True:
            try:
                if not self._production:
                    await self.refresh()
                if turn % _SKEW_EVERY == 0:
                    await self.measure_skew()
            except PyMongoError:
                pass  # the store is away: the last offset holds, and every command will say that it is away
            turn += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def refresh(self) -> None:
        """Reads the development clock once; production refuses it.

        What a process reads first is where its log stands, which may be another year than the machine's; from then on
        the clock never runs backwards.
        """
        if self._production:
            return
        document = await self._document.find_one({"_id": "clock"})
        if document is not None:
            told = int(document["offset_us"])
            self.offset_us = max(self.offset_us, told) if self._told else told
        self._told = True

    async def measure_skew(self) -> None:
        """Asks mongod for its time and keeps how far this machine is ahead of it, in seconds."""
        before = datetime.now(UTC)
        there = (await self._admin.command("hello"))["localTime"].replace(tzinfo=UTC)
        middle = before + (datetime.now(UTC) - before) / 2
        self.skew_seconds = (middle - there).total_seconds()
