"""The whole demo: a fresh stack, the year act by act, and a closing table read from the running system."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from deploy.demo.acts import evaluating, incentives, registration, selection, year
from deploy.demo.by_seed import programme
from deploy.demo.client import Client
from deploy.demo.clock import YearClock, nine
from deploy.demo.closing import Report, close
from deploy.demo.programme import Days
from deploy.demo.stage import SERVICES, Stage
from deploy.demo.telling import Telling
from deploy.local.stack import AlreadyRunning, Stack

ACTS: tuple[Callable[[Stage], Awaitable[None]], ...] = (
    registration.register, registration.draft, registration.send_workbooks,
    selection.submit, selection.select, selection.approve,
    year.assign, year.rounds, year.accept_late,
    evaluating.panels, evaluating.publish, evaluating.late_fact,
    incentives.dockets, incentives.decide, incentives.veto,
)  # fmt: skip
"""The year, in order."""

Beside = Callable[[Stack, Stage], Awaitable[None]]
"""Something that happens while the demo works: a process is killed, the broker goes away."""


async def run(
    *, home: Path, seed: int, scale: float, telling: Telling, beside: Beside | None = None,
    stay: Callable[[Stack, Report], Awaitable[None]] | None = None,
) -> Report:  # fmt: skip
    """Runs the demo in a fresh home and leaves nothing behind; `stay` is awaited with everything still up.

    The home is kept when something goes wrong, for its logs.
    """
    clear(home)
    # A log begins in the year it is about: before the first service writes, the clock stands at the first act.
    stack = Stack(home, services=SERVICES, issuer=True, clock_at=nine(Days.REGISTER))
    async with stack:
        clock = YearClock(stack)
        try:
            urls = {name: stack.url(name) for name in SERVICES}
            async with Client(issuer=stack.issuer_url, services=urls, prefix=f"demo-{seed}") as client:
                stage = Stage(programme(seed=seed, scale=scale), client, clock, telling)
                await _act(stage, stack, beside)
                report = await close(stage)
                if stay is not None:
                    await stay(stack, report)
        finally:
            clock.close()
    remove(home)
    return report


async def _act(stage: Stage, stack: Stack, beside: Beside | None) -> None:
    trouble = asyncio.create_task(_nothing() if beside is None else _awaited(beside(stack, stage)))
    try:
        for act in ACTS:
            await act(stage)
        await trouble
    finally:
        trouble.cancel()
        await asyncio.wait([trouble])


async def _nothing() -> None:
    return None


async def _awaited(something: Awaitable[None]) -> None:
    await something


def clear(home: Path) -> None:
    """Removes what an earlier run left in the home; AlreadyRunning when that run still lives."""
    lock = home / "lock"
    if lock.exists():
        with lock.open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning(
                    f"演示已在 {home} 运行。 / The demo is running in {home} already: end it, or give another --home."
                ) from error
    remove(home)


def remove(home: Path) -> None:
    """Removes the home and the folder above it when nothing else is in it."""
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.suppress(OSError):
        home.parent.rmdir()
