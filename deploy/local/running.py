"""What another process can find out about the stack of a home, and ask of it: is it there, how is it, stop."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

_POLL_SECONDS = 0.1
_STORES = ("kafka-", "mongod-")


@dataclass(frozen=True, slots=True)
class Running:
    """A stack that runs: its supervisor's pid, `starting`, `ready` or `stopping`, and its children's pids and ports."""

    home: Path
    pid: int
    phase: str
    since: float
    children: Mapping[str, int]
    ended: tuple[str, ...]
    restarts: Mapping[str, int]
    ports: Mapping[str, int]
    mongods: int

    def url(self, name: str) -> str:
        """The HTTP address of a child: `issuer`, or a service process such as `evaluation-0`."""
        return f"http://127.0.0.1:{self.ports[name]}"

    @property
    def services(self) -> tuple[str, ...]:
        """The service processes."""
        return tuple(name for name in self.children if name != "issuer" and not name.startswith(_STORES))

    @property
    def addresses(self) -> dict[str, str]:
        """Where everything that was started can be reached."""
        names = [name for name in self.ports if name in self.children or name in self.ended]
        return {name: f"127.0.0.1:{self.ports[name]}" if name.startswith(_STORES) else self.url(name) for name in names}


def held(home: Path) -> bool:
    """Whether a process holds the home: the kernel frees the lock however that process ends."""
    try:
        with (home / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def find(home: Path) -> Running | None:
    """The stack of this home, or None when none runs; a state file left by a killed one is not believed."""
    if not held(home):
        return None
    state: dict[str, Any] = {}
    try:
        pid = int((home / "lock").read_text() or 0)
        state = json.loads((home / "state.json").read_text())
    except (FileNotFoundError, ValueError):
        pid = 0
    if state.get("pid") != pid:
        state = {}
    return Running(
        home=home, pid=pid, phase=state.get("phase", "starting"), since=state.get("since", time.time()),
        children=state.get("children", {}), ended=tuple(state.get("ended", ())), restarts=state.get("restarts", {}),
        ports=state.get("ports", {}), mongods=state.get("mongods", 1),
    )  # fmt: skip


async def stop(home: Path, *, seconds: float = 60.0) -> bool:
    """Asks the stack of this home, and no other, to stop and waits until it has; False when none runs.

    Asked politely first; after the time given it is killed, which its children do not survive.
    """
    running = find(home)
    if running is None:
        return False
    deadline = asyncio.get_running_loop().time() + seconds
    asked = False
    while held(home):
        if not asked and (running := find(home)) is not None and running.pid:
            _signal(running.pid, signal.SIGTERM)
            asked = True
        if asyncio.get_running_loop().time() > deadline and running is not None and running.pid:
            _signal(running.pid, signal.SIGKILL)
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def token(running: Running, *, roles: str, regions: str, sub: str, org: str = "") -> str:
    """A token of the stack's development issuer."""
    async with httpx2.AsyncClient(timeout=10) as http:
        form = {"sub": sub, "roles": roles, "regions": regions, "org": org}
        answer = (await http.post(f"{running.url('issuer')}/token", data=form)).raise_for_status()
        return str(answer.json()["access_token"])


async def status(running: Running) -> list[dict[str, Any]]:
    """One row per child: name, pid, port, address, RSS in bytes, ready or why not, restarts, figures of a service."""
    bearer = ""
    if "issuer" in running.children:
        try:
            bearer = await token(running, roles="auditor", regions="*", sub="liandong-dev-status")
        except httpx2.HTTPError:
            bearer = ""
    names = [*running.children, *running.ended]
    return list(await asyncio.gather(*(_row(running, name, bearer) for name in names)))


async def _row(running: Running, name: str, bearer: str) -> dict[str, Any]:
    pid, port = running.children.get(name), running.ports.get(name)
    row: dict[str, Any] = {
        "name": name, "pid": pid, "port": port, "rss_bytes": _rss(pid), "restarts": running.restarts.get(name, 0),
        "ready": False, "complaints": [], "figures": None,
    }  # fmt: skip
    if pid is None:
        return row | {"complaints": ["ended"]}
    if _paused(pid):
        return row | {"complaints": ["paused"]}
    if name.startswith(_STORES):
        return row | {"ready": await _accepts(port)}
    try:
        async with httpx2.AsyncClient(timeout=5) as http:
            answer = await http.get(f"{running.url(name)}/health/ready")
            body = answer.json()
            row |= {"ready": answer.status_code == httpx2.codes.OK, "complaints": body.get("complaints", [])}
            if name != "issuer":
                row["clock_offset_us"] = body.get("clock_offset_us", 0)
                if bearer:
                    headers = {"Authorization": f"Bearer {bearer}"}
                    told = await http.get(f"{running.url(name)}/operations/figures", headers=headers)
                    row["figures"] = told.json() if told.status_code == httpx2.codes.OK else None
    except (httpx2.HTTPError, ValueError) as error:
        row["complaints"] = [type(error).__name__]
    return row


async def _accepts(port: int | None) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _rss(pid: int | None) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def _paused(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
