"""The development clock of a running stack: shown, moved forward for every process alike, never back."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx2

from deploy.local import mongod
from deploy.local.running import Running
from shared.codes.working_days import end_of_working_days
from shared.kernel import CIVIL

MOVED_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.1
_STEP = re.compile(r"\+(\d{1,5})([dhms])", re.ASCII)
_UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class ClockRefused(Exception):
    """The clock cannot go there; the sentence says why."""


def target(now: datetime, *, step: str | None, working_days: int | None, to: str | None) -> datetime:
    """Where the clock is to go from `now`: one step (`+5d`, `+3h`), the end of the n-th working day after, or a day.

    A civil date is its first instant in Asia/Shanghai; an ISO instant with an offset is taken as it is. Raises
    ClockRefused for anything else, and for a target that lies before `now`.
    """
    if sum(choice is not None for choice in (step, working_days, to)) != 1:
        raise ClockRefused(
            "请只给出一种:+5d、--working-days 5 或 --to 2025-10-11。 / Give one of +5d, --working-days, --to."
        )
    if step is not None:
        match = _STEP.fullmatch(step)
        if match is None:
            raise ClockRefused(f"“{step}” 应形如 +5d、+3h、+10m。 / {step!r} must look like +5d, +3h or +10m.")
        return now + timedelta(**{_UNITS[match[2]]: int(match[1])})
    if working_days is not None:
        return end_of_working_days(now.astimezone(CIVIL).date(), working_days)
    assert to is not None
    try:
        there = datetime.combine(date.fromisoformat(to), datetime.min.time(), CIVIL) if len(to) == 10 else None
        there = there or datetime.fromisoformat(to)
    except ValueError as error:
        raise ClockRefused(f"“{to}” 不是日期或 ISO 时间。 / {to!r} is no date and no ISO instant.") from error
    if there.tzinfo is None:
        raise ClockRefused(f"“{to}” 缺少时区,例如 {to}+08:00。 / {to!r} lacks its offset, for example {to}+08:00.")
    if there < now:
        raise ClockRefused(
            f"时钟只能向前:现在是 {shown(now)}。 / The clock only moves forward: it is {shown(now)} now."
        )
    return there


def shown(instant: datetime) -> str:
    """An instant as people here read it: Asia/Shanghai, to the second."""
    return instant.astimezone(CIVIL).isoformat(sep=" ", timespec="seconds")


class DevClock:
    """The shared clock document of one stack, through the user that may write nothing else."""

    def __init__(self, running: Running) -> None:
        self._running = running
        ports = [running.ports[f"mongod-{i}"] for i in range(running.mongods)]
        password = (running.home / "secrets" / "clock").read_text()
        self._client: Any = mongod.client(ports, user="clock", password=password)
        self._document = self._client[mongod.CLOCK_DATABASE].clock

    def close(self) -> None:
        """Lets the connection go."""
        self._client.close()

    async def offset_us(self) -> int:
        """How far the development clock is ahead of the machine's, in microseconds."""
        document = await self._document.find_one({"_id": "clock"})
        return int(document["offset_us"]) if document else 0

    async def now(self) -> datetime:
        """The development clock's current instant."""
        return datetime.now(UTC) + timedelta(microseconds=await self.offset_us())

    async def move(self, there: datetime) -> int:
        """Moves the clock, waits until every running service process reports it, and returns the offset in µs.

        Raises ClockRefused when it would run backwards, also when another process has moved it meanwhile, or when a
        process does not follow in time.
        """
        offset = (there - datetime.now(UTC)) // timedelta(microseconds=1)
        ahead = {"$max": {"offset_us": offset}}  # never backwards, whoever else moves it at this moment
        if await self._document.find_one({"_id": "clock"}) is None and offset < 0:
            raise ClockRefused("时钟只能向前。 / The clock only moves forward.")
        await self._document.update_one({"_id": "clock"}, ahead, upsert=True)
        told = await self.offset_us()
        await asyncio.gather(*(self._followed(name, told) for name in self._running.services))
        return told

    async def _followed(self, name: str, offset: int) -> None:
        deadline = asyncio.get_running_loop().time() + MOVED_SECONDS_MAX
        async with httpx2.AsyncClient(timeout=5) as http:
            while asyncio.get_running_loop().time() < deadline:
                try:
                    answer = await http.get(f"{self._running.url(name)}/health/ready")
                    if answer.json().get("clock_offset_us", 0) >= offset:
                        return
                except (httpx2.HTTPError, ValueError):
                    pass  # it is being restarted
                await asyncio.sleep(_POLL_SECONDS)
        raise ClockRefused(
            f"{name} 未在 {MOVED_SECONDS_MAX:.0f} 秒内跟上时钟。 / "
            f"{name} did not follow the clock within {MOVED_SECONDS_MAX:.0f} s."
        )
