"""The child processes of a stack: started, read line by line, paused, ended, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO

PROJECT = Path(__file__).resolve().parents[2]
_LAST_LINES = 6
VMSTAT = Path("/proc/vmstat")


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not tell."""
    try:
        rows = dict(line.split(maxsplit=1) for line in VMSTAT.read_text().splitlines())
    except OSError:
        return 0
    return int(rows.get("oom_kill", 0))


@dataclass
class Child:
    """One process of the stack: how it is started, how it is known to be ready, how long it may take to stop."""

    name: str
    argv: list[str]
    ready: Callable[[], Awaitable[bool]]
    env: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    """It loads its code at once and goes on when `Children.open_gate` tells it."""
    stop_seconds: float = 20.0
    process: asyncio.subprocess.Process | None = None
    wanted: bool = False
    """We have started it and not ended it: when it is not running, it ended by itself."""
    restarts: int = 0
    oom_before: int = 0
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))
    reader: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None

    def how_it_ended(self) -> str:
        """One sentence in Chinese and English about a child that ended by itself, with its last lines."""
        assert self.process is not None
        code = self.process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            zh, en = f"被信号 {name} 结束", f"was ended by {name}"
            if name == "SIGKILL" and out_of_memory_kills() > self.oom_before:
                zh += "(系统内存不足:请关闭其他程序或增加内存)"
                en += " because the machine ran out of memory: close other programs or add memory"
            elif name == "SIGKILL":
                zh += "(如非人为,多半是内存不足:请关闭其他程序或增加内存)"
                en += " (if nobody did that, memory ran out: close other programs or add memory)"
        else:
            zh, en = f"自行退出,退出码 {code}", f"ended by itself with exit code {code}"
        last = "\n    ".join(self.lines) or "(没有输出 / it printed nothing)"
        return f"{self.name} {zh}。 / {self.name} {en}. 最后输出 / last lines:\n    {last}"


class Children:
    """Starts and ends children. `say(name, line)` gets every line that one of them prints, beside its log file."""

    def __init__(self, logs: Path, say: Callable[[str, str], None]) -> None:
        self._logs, self._say = logs, say
        self._setpriv = shutil.which("setpriv")
        self._watcher: asyncio.subprocess.Process | None = None

    async def spawn(self, child: Child, more: Mapping[str, str] = MappingProxyType({})) -> None:
        """Starts a child in a session of its own (Ctrl-C reaches only us), bound to die with us."""
        environment = {**os.environ, **child.env, **more, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT)}
        child.oom_before = out_of_memory_kills()
        log = (self._logs / f"{child.name}.log").open("ab")
        child.process = await asyncio.create_subprocess_exec(
            *await self._bound(), *child.argv, env=environment, cwd=PROJECT, start_new_session=True,
            stdin=asyncio.subprocess.PIPE if child.gated else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, limit=2**20,
        )  # fmt: skip
        self._note("+", child.process.pid)
        child.wanted = True
        child.lines.clear()
        child.reader = asyncio.create_task(self._read(child, child.process, log))

    def open_gate(self, child: Child) -> None:
        """Tells a gated child to go on; a child that is gone, or has been told, is left alone."""
        stdin = child.process.stdin if child.process else None
        if stdin is not None and not stdin.is_closing():
            with contextlib.suppress(ConnectionError):
                stdin.write(b"\n")
                stdin.close()

    async def end(self, child: Child, how: signal.Signals) -> None:
        """Sends the signal and waits; a paused child goes on to hear it, one that takes too long is killed."""
        child.wanted = False
        process = child.process
        if process is not None and process.returncode is None:
            self.signal(child, how)
            self.signal(child, signal.SIGCONT)
            try:
                await asyncio.wait_for(process.wait(), child.stop_seconds)
            except TimeoutError:
                self.signal(child, signal.SIGKILL)
                await process.wait()
        if child.reader is not None:
            await child.reader
            child.reader = None
        if process is not None:
            self._note("-", process.pid)

    def signal(self, child: Child, number: signal.Signals) -> None:
        """Sends a signal to the child's whole group."""
        if child.process is not None and child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, number)

    async def close(self) -> None:
        """Lets the watcher go, if there was need for one."""
        if self._watcher is not None:
            assert self._watcher.stdin is not None
            self._watcher.stdin.close()
            await self._watcher.wait()
            self._watcher = None

    async def _bound(self) -> list[str]:
        # setpriv keeps the pid and lets the kernel end the child when we are killed -9 ourselves.
        if self._setpriv:
            return [self._setpriv, "--pdeathsig", "KILL", "--"]
        if self._watcher is None:
            self._watcher = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "deploy.local.watcher", stdin=asyncio.subprocess.PIPE, cwd=PROJECT,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        return []

    def _note(self, sign: str, pid: int) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            self._watcher.stdin.write(f"{sign}{pid}\n".encode())

    async def _read(self, child: Child, process: asyncio.subprocess.Process, log: IO[bytes]) -> None:
        assert process.stdout is not None
        with log:
            while True:
                try:
                    line = await process.stdout.readline()
                except ValueError:  # a line over the limit: its head is dropped, the rest follows
                    continue
                if not line:
                    return
                log.write(line)
                log.flush()
                text = line.decode(errors="replace").rstrip()
                child.lines.append(text)
                self._say(child.name, text)
