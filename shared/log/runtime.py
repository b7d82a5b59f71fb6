"""One service's log at work: committer, sequencer, consumer, due queue and clock, started and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from shared.contracts import topics
from shared.log import failpoints, indexes
from shared.log.commands import Commands
from shared.log.committer import Committer
from shared.log.consumer import Consumer, Reactions
from shared.log.due import DueQueue, DueTable
from shared.log.sequencer import Sequencer
from shared.platform.clock import ServiceClock
from shared.platform.settings import ServiceSettings

log = structlog.get_logger()


class Log:
    """What `main` builds once per process. `commands` accepts work as soon as `start` has returned."""

    def __init__(self, database: Any, settings: ServiceSettings) -> None:
        if settings.production and failpoints.active():
            raise RuntimeError("LIANDONG_FAILPOINTS is set in production")
        self.database, self.settings = database, settings
        self.clock = ServiceClock(database, production=settings.production)
        own = {name: count for name, count in topics().items() if name.startswith(f"{settings.name}.")}
        self.sequencer = Sequencer(
            database,
            service=settings.name,
            slot=settings.slot,
            topics=own,
            bootstrap=settings.kafka,
            now_us=self.clock.now_us,
            lease_seconds=settings.sequencer_lease_seconds,
        )
        self.committer = Committer(
            database,
            slot=settings.slot,
            now_us=self.clock.now_us,
            log_id=lambda: self.sequencer.log_id,
            on_commit=self.sequencer.notify,
        )
        self.commands = Commands(self.committer, skewed=self.clock.skewed)
        self.consumer: Consumer | None = None
        self.due: DueQueue | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(
        self, *, reactions: Reactions, due: DueTable, extra_indexes: Sequence[indexes.Index], collections: Sequence[str]
    ) -> None:
        """Creates what is missing, then starts: clock, committer, sequencer, due queue, and last the consumer."""
        await indexes.ensure(self.database, extra_indexes, collections=collections)
        await self.sequencer.prepare()
        await self.clock.refresh()
        self._run("clock", self.clock.run())
        self._run("committer", self.committer.run())
        self._run("sequencer", self.sequencer.run())
        if due:
            self.due = DueQueue(
                self.database, self.commands, due, now=self.clock.now, poll_seconds=self.settings.due_poll_seconds
            )
            self._run("due", self.due.run())
        if reactions:
            self.consumer = Consumer(
                self.database,
                service=self.settings.name,
                slot=self.settings.slot,
                bootstrap=self.settings.kafka,
                reactions=reactions,
                now_us=self.clock.now_us,
                log_id=lambda: self.sequencer.log_id,
                on_commit=self.sequencer.notify,
            )
            await self.consumer.start()

    async def stop(self) -> None:
        """Stops hearing, then firing, then committing, then publishing; each within its bound."""
        if self.consumer is not None:
            await self.consumer.stop()
        for name in ("due", "committer", "sequencer", "clock"):
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=10)

    def complaints(self) -> list[str]:
        """Sentences about what is not well; empty when everything is."""
        found = [f"{name} has ended" for name, task in self._tasks.items() if task.done()]
        if self.sequencer.stopped:
            found.append(self.sequencer.stopped)
        if self.consumer is not None and (complaint := self.consumer.complaint()):
            found.append(complaint)
        if self.clock.skewed():
            found.append(f"this machine is {self.clock.skew_seconds:.1f} s away from the store's clock")
        return found

    async def figures(self) -> Mapping[str, Any]:
        """Commands accepted, facts written and published, dead letters, lag: read from the store and the topics."""
        state = await self.database.sequencer.find_one({"_id": "sequencer"})
        counted = await self.database.commits.aggregate(
            [
                {
                    "$group": {
                        "_id": None,
                        "commands": {"$sum": {"$size": {"$ifNull": ["$commands", []]}}},
                        "facts": {"$sum": {"$size": {"$ifNull": ["$events", []]}}},
                    }
                }
            ]
        ).to_list(1)
        totals = counted[0] if counted else {"commands": 0, "facts": 0}
        waiting = {"state": {"$in": ["open", "parked", "foreign"]}}
        return {
            "commands": totals["commands"],
            "facts": totals["facts"],
            "published": state["published"],
            "pending": await self.database.commits.count_documents({"pending": True}),
            "lag": await self.consumer.lag() if self.consumer is not None else {},
            "applied": await self._applied(),
            "dead_letters": await self.database.dead_letters.count_documents(waiting),
            "due_open": await self.database.due.count_documents({"state": "open"}),
            "now": self.clock.now().isoformat(),
        }

    async def _applied(self) -> int:
        positions = await self.database.positions.find({}, {"next": 1}).to_list(None)
        return sum(int(position["next"]) for position in positions)

    def now(self) -> datetime:
        """The current instant of this service."""
        return self.clock.now()

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_report)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("task.died", task=task.get_name(), exc_info=task.exception())
