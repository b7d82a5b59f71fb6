"""Ports of this machine, each kept by one stack at a time: a locked file says whose it is until that process ends."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.local import doctor

FIRST, LAST = 20000, 32000  # below the ephemeral range, where a redialling peer could take our port
_FREE_SECONDS = 5.0
_POLL_SECONDS = 0.05
_TRIES = 1000


class Ports(dict[str, int]):
    """Port by child name. What a home has used before is used again, so that its addresses stay the same.

    A port is ours while we hold the lock of its file in a folder that all stacks of this user share: two that start at
    the same moment never choose the same one, and the kernel frees the lock of a process that was killed.
    """

    def __init__(self, kept: Path) -> None:
        super().__init__()
        self._kept = kept
        self._before: dict[str, int] = json.loads(kept.read_text()) if kept.exists() else {}
        self._locks: dict[int, int] = {}

    async def take(self, names: Sequence[str], *, fixed: Sequence[str], say: Callable[[str], None]) -> None:
        """Takes a port for every name; `fixed` ones stand in data already written, so they cannot move.

        Waits a moment for ports that a killed predecessor's children still hold. Raises NotReady for a fixed port that
        somebody else keeps; another one is replaced, and `say` is told.
        """
        deadline = asyncio.get_running_loop().time() + _FREE_SECONDS
        waiting = [name for name in names if name in self._before]
        while waiting := [name for name in waiting if not self._again(name)]:
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        for name in waiting:
            if name in fixed:
                raise doctor.port_taken(self._before[name], name)
            say(
                f"端口 {self._before[name]}({name})已被占用,改用新端口 / port {self._before[name]} ({name}) is taken, "
                "using another"
            )
        for name in names:
            if name not in self:
                self.choose(name)
        self._write()

    def choose(self, name: str) -> int:
        """A free port for one more child."""
        before = self._before.get(name)
        if before is not None and before not in self.values() and self._reserve(before):
            self[name] = before
        else:
            self[name] = self._any()
        self._write()
        return self[name]

    def release(self) -> None:
        """Lets all ports go."""
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()

    def _again(self, name: str) -> bool:
        port = self._before[name]
        if self._reserve(port):
            self[name] = port
            return True
        return False

    def _any(self) -> int:
        for _ in range(_TRIES):
            port = FIRST + secrets.randbelow(LAST - FIRST)
            if port not in self._before.values() and port not in self._locks and self._reserve(port):
                return port
        raise doctor.NotReady(
            f"{FIRST}–{LAST} 之间没有空闲端口:请先结束一些程序。 / "
            f"There is no free port between {FIRST} and {LAST}: end some programs first."
        )

    def _reserve(self, port: int) -> bool:
        folder = Path(tempfile.gettempdir()) / f"liandong-ports-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)  # not inherited by children
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            return False
        self._locks[port] = lock
        return True

    def _write(self) -> None:
        self._kept.write_text(json.dumps(self._before | self, indent=1))
