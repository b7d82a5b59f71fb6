"""Executes a command: lock, decide, commit, and the same answer for the same key (rules 1, 4, 5)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from shared.kernel import Actor, Aggregate, Answer, DomainError, Outcome, StaleVersion
from shared.log import writes
from shared.log.committer import Committer, IdempotencyKeyReused, Pending, Stale
from shared.log.transactions import OutcomeUnknown
from shared.log.work import Work, working
from shared.platform.traces import current_traceparent

_TRIES_MAX = 40
_LONGEST_PAUSE_SECONDS = 0.25

Call = Callable[[], Awaitable[Aggregate | Outcome]]


class BusyTryAgain(DomainError):
    """The command met too many concurrent changes, or the store did not answer in time; retry with the same key."""

    code = "busy-try-again"
    status = 503
    zh = "系统繁忙,请用同一个 Idempotency-Key 重试"
    en = "Busy: try again with the same Idempotency-Key"


class ClockSkewed(DomainError):
    """This process's clock is more than two seconds away from the store's; recorded time would be wrong (rule 6)."""

    code = "clock-skewed"
    status = 503
    zh = "本机时钟与数据库相差超过 2 秒,暂不受理"
    en = "This machine's clock is more than 2 s away from the store's: no command is accepted"


@dataclass(slots=True)
class _Flight:
    body: str
    task: asyncio.Task[Answer]


class Commands:
    """The one way in for everything that changes: HTTP commands and due items alike."""

    def __init__(self, committer: Committer, *, skewed: Callable[[], bool] = lambda: False) -> None:
        self.committer = committer
        self.skewed = skewed
        self._flights: dict[str, _Flight] = {}
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    async def execute(
        self,
        *,
        key: str,
        body: str,
        lock: str,
        actor: Actor,
        correlation_id: str,
        call: Call,
        expected_version: int | None = None,
        traceparent: str | None = None,
    ) -> Answer:
        """Runs `call` until its writes are committed once, and answers; equal requests share the answer.

        `key` and `body` are HMACs. `call` loads, asks the domain and saves; it may run several times, so it does no
        more. `traceparent` (W3C) defaults to the current span's. Raises whatever refusal the domain raised,
        IdempotencyKeyReused, StaleVersion, BusyTryAgain.
        """
        if self.skewed():
            raise ClockSkewed
        flight = self._flights.get(key)
        if flight is None:
            traced = traceparent or current_traceparent()

            def work() -> Work:
                return Work(actor=actor, correlation_id=correlation_id, traceparent=traced)

            decide = self._decide(key, body, lock, work, call, expected_version)
            flight = self._flights[key] = _Flight(body, asyncio.create_task(decide))
            flight.task.add_done_callback(lambda _task: self._flights.pop(key, None))
        elif flight.body != body:
            raise IdempotencyKeyReused
        # Shielded: a client that hangs up does not take the command away from those who wait for the same answer.
        return await asyncio.shield(flight.task)

    async def _decide(  # noqa: PLR0917 - the arguments of `execute`, passed on
        self, key: str, body: str, lock: str, fresh: Callable[[], Work], call: Call, expected: int | None
    ) -> Answer:
        pause = 0.002
        for _ in range(_TRIES_MAX):
            async with self._locked(lock):
                work = fresh()
                try:
                    with working(work):
                        outcome = await call()
                    pending = self._pending(key, body, work, outcome, expected)
                except DomainError:
                    # A retry of what was already accepted finds the door closed behind it: the answer comes first.
                    answered = await self._known(key, body)
                    if answered is not None:
                        return answered
                    raise
                try:
                    if pending is None:
                        answered = await self._known(key, body)
                        return answered or _unchanged(outcome)
                    return await self.committer.commit(pending)
                except Stale:
                    pass
                except OutcomeUnknown:
                    answered = await self._known(key, body)
                    if answered is not None:
                        return answered
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 1.7, _LONGEST_PAUSE_SECONDS)
        raise BusyTryAgain

    def _pending(
        self, key: str, body: str, work: Work, outcome: Aggregate | Outcome, expected: int | None
    ) -> Pending | None:
        aggregate = outcome.aggregate if isinstance(outcome, Outcome) else outcome
        if expected is not None and aggregate.version != expected:
            raise StaleVersion(actual=aggregate.version, expected=expected)
        if not (work.saves or work.rows or work.dues or work.cancelled_dues):
            return None
        size = writes.check_size(work)
        details = outcome.details if isinstance(outcome, Outcome) else {}
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return Pending(key, body, work, aggregate, details, size, done)

    async def _known(self, key: str, body: str) -> Answer | None:
        stored = (await self.committer.known([key])).get(key)
        if stored is None:
            return None
        if stored[0] != body:
            raise IdempotencyKeyReused
        return stored[1]

    @asynccontextmanager
    async def _locked(self, name: str) -> Any:
        lock, waiting = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks[name]
            if waiting == 1:
                del self._locks[name]
            else:
                self._locks[name] = (lock, waiting - 1)


def _unchanged(outcome: Aggregate | Outcome) -> Answer:
    if isinstance(outcome, Outcome):
        return Answer(outcome.aggregate.id, outcome.aggregate.version, (), outcome.details)
    return Answer(outcome.id, outcome.version)
