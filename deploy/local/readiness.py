"""How a child is known to be ready, and how long one waits for it."""

from __future__ import annotations

import asyncio

import httpx2

from deploy.local import doctor
from deploy.local.children import Child

READY_SECONDS = 90.0
_POLL_SECONDS = 0.05


async def until_ready(child: Child) -> None:
    """Waits until the child is ready; raises NotReady when it ends before, or takes longer than 90 s."""
    deadline = asyncio.get_running_loop().time() + READY_SECONDS
    while not await child.ready():
        if not child.running:
            if child.reader is not None:
                await child.reader
            raise doctor.NotReady(f"启动时 / while starting: {child.how_it_ended()}")
        if asyncio.get_running_loop().time() > deadline:
            last = " | ".join(child.lines) or "it printed nothing"
            raise doctor.NotReady(
                f"{child.name} 在 {READY_SECONDS:.0f} 秒内未就绪 / was not ready within {READY_SECONDS:.0f} s: {last}"
            )
        await asyncio.sleep(_POLL_SECONDS)


async def always() -> bool:
    """Of a child that nobody waits for."""
    return True


async def accepts(port: int) -> bool:
    """Whether somebody listens on the local port."""
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def http_ok(port: int, path: str) -> bool:
    """Whether the address answers 200."""
    if not await accepts(port):  # a client is costly to make, and most of the time nobody listens yet
        return False
    try:
        async with httpx2.AsyncClient(timeout=5) as http:
            return (await http.get(f"http://127.0.0.1:{port}{path}")).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
