"""Recorded time of one process: never the same microsecond twice, whoever of its writers asks (rule 6)."""

from __future__ import annotations

from collections.abc import Callable


class RecordedTime:
    """Shared by the committer and the consumer of a process; `now_us` is the service's clock."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self.now_us = now_us
        self._last = 0

    def not_before(self) -> int:
        """The earliest microsecond the next commit may carry."""
        return max(self.now_us(), self._last + 1)

    def passed(self, at: int) -> None:
        """A commit that reaches up to `at` was sent; applied or not, later ones lie behind it."""
        self._last = max(self._last, at)
