"""One service's log at work: committer, sequencer, consumer, due queue and clock, started and stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence, Set
from datetime import datetime
from functools import partial
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from pymongo.errors import ConnectionFailure

from shared.contracts import topics
from shared.log import failpoints, indexes, selfcheck
from shared.log.commands import Commands
from shared.log.committer import Committer
from shared.log.consumer import Consumer, Reactions
from shared.log.consumer.replay import Letters
from shared.log.due import DueQueue, DueTable
from shared.log.sequencer import PENDING, Sequencer
from shared.log.ticks import RecordedTime
from shared.log.verify import Verdict, verify
from shared.platform.clock import ServiceClock
from shared.platform.settings import ServiceSettings

_DRAIN_SECONDS = 6.0
_START_SECONDS = 60.0
_LETTER_STATES = ("open", "parked", "foreign", "replayed", "discarded")

log = structlog.get_logger()


class Log:
    """What `main` builds once per process. `commands` accepts work as soon as `start` has returned."""

    def __init__(self, database: Any, settings: ServiceSettings) -> None:
        if settings.production and failpoints.active():
            raise RuntimeError("LIANDONG_FAILPOINTS is set in production")
        self.database, self.settings = database, settings
        self.clock = ServiceClock(database, production=settings.production)
        self.time = RecordedTime(self.clock.now_us)
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
            time=self.time,
            log_id=lambda: self.sequencer.log_id,
            on_commit=self.sequencer.notify,
        )
        self.commands = Commands(self.committer, skewed=self.clock.skewed)
        self.letters = Letters(database, bootstrap=settings.kafka, slot=settings.slot, service=settings.name)
        self.consumer: Consumer | None = None
        self.due: DueQueue | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def start(
        self, *, reactions: Reactions, due: DueTable, extra_indexes: Sequence[indexes.Index], collections: Sequence[str]
    ) -> None:
        """Checks every setting that facts rest on, creates what is missing, then starts: clock, committer, sequencer,
        due queue, and last the consumer. Raises UnsafeSettings; waits for stores that do not answer yet.
        """
        heard = {fact.topic.name for fact in reactions}
        await _patiently(self._check_store)
        await _patiently(partial(self._check_broker, heard))
        await _patiently(partial(indexes.ensure, self.database, extra_indexes, collections=collections))
        await _patiently(self.sequencer.prepare)
        await _patiently(self.clock.refresh)
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
                time=self.time,
                log_id=lambda: self.sequencer.log_id,
                on_commit=self.sequencer.notify,
            )
            self.letters.application = self.consumer.application
            self._run("letters", self.letters.follow())
            await self.consumer.start()

    async def stop(self) -> None:
        """Stops hearing, then firing, then committing, then publishing; each within its bound."""
        if self.consumer is not None:
            await self.consumer.stop()
        await self.committer.drain(_DRAIN_SECONDS)
        for name in ("letters", "due", "committer", "sequencer", "clock"):
            task = self._tasks.pop(name, None)
            if task is not None:
                task.cancel()
                await asyncio.wait([task], timeout=10)
        await self.letters.close()

    def complaints(self) -> list[str]:
        """Sentences about what is not well; empty when everything is."""
        found = [f"{name} has ended" for name, task in self._tasks.items() if task.done()]
        if self.sequencer.stopped:
            found.append(self.sequencer.stopped)
        if self.consumer is not None:
            found.extend(self.consumer.complaints())
        if self.clock.skewed():
            found.append(f"this machine is {self.clock.skew_seconds:.1f} s away from the store's clock")
        return found

    async def figures(self) -> Mapping[str, Any]:
        """Commands accepted, facts written and published, dead letters, lag: read from the store and the topics.

        Cheap however long the log is: the sequencer counts what it numbers, only what still waits is counted here.
        `applied` are the facts of others this service has taken in, each once, replayed letters among them; `skipped`
        tells how many of them are of types it does not listen to.
        """
        commits, letters = self.database.commits, self.database.dead_letters
        pending = [
            (len(commit.get("commands", ())), len(commit.get("events", ())))
            async for commit in commits.find(PENDING, {"commands.key": 1, "events.id": 1})
        ]
        state = await self.database.sequencer.find_one({"_id": "sequencer"})
        positions = await self.database.positions.find({}, {"applied": 1, "skipped": 1}).to_list(None)
        counted = {state: await letters.count_documents({"state": state}) for state in _LETTER_STATES}
        return {
            "commands": state.get("commands", 0) + sum(commands for commands, _facts in pending),
            "facts": state["next"] - 1 + sum(facts for _commands, facts in pending),
            "published": state["published"],
            "pending": len(pending),
            "lag": await self.consumer.lag() if self.consumer is not None else {},
            "applied": sum(p.get("applied", 0) + p.get("skipped", 0) for p in positions) + counted["replayed"],
            "skipped": sum(p.get("skipped", 0) for p in positions),
            "dead_letters": sum(counted[state] for state in ("open", "parked", "foreign")),
            "letters": counted,
            "due_open": await self.database.due.count_documents({"state": "open"}),
            "due_failed": await self.database.due.count_documents({"state": "failed"}),
            "now": self.clock.now().isoformat(),
        }

    async def verify(self) -> Verdict:
        """Reads the whole log and says whether it holds together; not for every minute."""
        return await verify(self.database)

    async def _check_store(self) -> None:
        await self.clock.measure_skew()
        skew = self.clock.skew_seconds
        self._refuse(selfcheck.check_client())
        self._refuse(await selfcheck.check_store(self.database, self.settings, skew_seconds=skew))

    async def _check_broker(self, heard: Set[str]) -> None:
        wanted = {name: count for name, count in topics().items() if name in heard or name in self.sequencer.topics}
        production = self.settings.production
        self._refuse(await selfcheck.check_broker(self.settings.kafka, wanted, production=production))

    def _refuse(self, findings: Sequence[selfcheck.Finding]) -> None:
        if findings:
            for finding in findings:
                log.error("start.unsafe", code=finding.code, zh=finding.zh, en=finding.en)
            raise selfcheck.UnsafeSettings(list(findings))

    def now(self) -> datetime:
        """The current instant of this service."""
        return self.clock.now()

    def _run(self, name: str, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[name] = asyncio.create_task(coroutine, name=name)
        task.add_done_callback(_report)


async def _patiently(step: Callable[[], Awaitable[None]]) -> None:
    """Tries a step of the start again while its store does not answer, for as long as a start may take."""
    end, pause = asyncio.get_running_loop().time() + _START_SECONDS, 0.1
    while True:
        try:
            return await step()
        except (KafkaError, OSError, TimeoutError, ConnectionFailure) as error:
            if asyncio.get_running_loop().time() > end:
                raise
            log.warning("start.waits", error=type(error).__name__)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("task.died", task=task.get_name(), exc_info=task.exception())
