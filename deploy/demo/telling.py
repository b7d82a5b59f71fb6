"""What is seen while the demo works: a moving line per act on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

_PLAIN_WIDTH = 140  # columns of the tables where nobody's terminal says how wide it is


class Act:
    """One act at work; `done()` per step."""

    def __init__(self, progress: Progress | None, task: TaskID | None) -> None:
        self.count = 0
        self._progress, self._task = progress, task

    def done(self, steps: int = 1) -> None:
        """Counts steps that are through."""
        self.count += steps
        if self._progress is not None and self._task is not None:
            self._progress.advance(self._task, steps)


class Telling:
    """Says what happens, on stderr, so that `--json` on stdout stays pure. `seconds` holds how long each act took."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True, highlight=False)
        if not self.console.is_terminal:
            self.console.width = _PLAIN_WIDTH
        self.seconds: dict[str, float] = {}
        self._progress: Progress | None = None
        if self.console.is_terminal and not quiet:
            self._progress = Progress(
                SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(),
                TimeElapsedColumn(), console=self.console,
            )  # fmt: skip

    def __enter__(self) -> Telling:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Lets what moves stand still; lines still come."""
        if self._progress is not None:
            self._progress.stop()

    def say(self, line: str) -> None:
        """One line, above whatever moves."""
        self.console.print(line, markup=False)
        sys.stderr.flush()

    @contextmanager
    def act(self, title: str, total: int) -> Iterator[Act]:
        """An act of the year with so many steps."""
        begun = time.monotonic()
        task = self._progress.add_task(title, total=total) if self._progress is not None else None
        act = Act(self._progress, task)
        yield act
        took = self.seconds[title] = self.seconds.get(title, 0.0) + time.monotonic() - begun
        if self._progress is None:
            self.say(f"  {title}: {act.count} ({took:.1f} s)")
