"""Sees that a child has ended by itself, tells of it and starts it again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from deploy.local import doctor
from deploy.local.children import Child

RESTARTS_MAX = 5
_POLL_SECONDS = 0.2


async def wait_any_exit(children: Mapping[str, Child]) -> str:
    """Returns the name of the first child that ends without our having ended it."""
    while True:
        for child in children.values():
            if child.wanted and not child.running:
                if child.reader is not None:
                    await child.reader
                return child.name
        await asyncio.sleep(_POLL_SECONDS)


async def watch(
    children: Mapping[str, Child],
    *,
    start: Callable[[str], Awaitable[None]],
    gave_up: Callable[[], None],
    tell: Callable[[str], None],
) -> None:
    """Tells of every child that ends by itself and starts it again, five times at most; runs until cancelled."""

    async def restart(child: Child) -> None:
        await asyncio.sleep(min(2.0 ** (child.restarts - 1) / 2, 8))
        with contextlib.suppress(doctor.NotReady):  # it ended again: the loop tells how
            await start(child.name)
            tell(f"{child.name} 已重启 / is up again ({child.restarts}/{RESTARTS_MAX})")

    tries: set[asyncio.Task[None]] = set()
    while True:
        child = children[await wait_any_exit(children)]
        child.wanted = False
        tell(child.how_it_ended())
        if child.restarts >= RESTARTS_MAX:
            tell(f"{child.name} 已重启 {RESTARTS_MAX} 次,不再重启 / was restarted {RESTARTS_MAX} times, not again")
            gave_up()
            continue
        child.restarts += 1
        again = asyncio.create_task(restart(child))
        tries.add(again)
        again.add_done_callback(tries.discard)
