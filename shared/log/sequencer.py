"""The one leader of a service that numbers its commits and publishes them in that order (rules 9 to 12)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError

from shared.log import sessions, transactions
from shared.log.failpoints import failpoint
from shared.log.publisher import Publisher, PublishFailed, last_sequence_numbers

ROUND_COMMITS_MAX = 500
ROUND_EVENTS_MAX = 5000
ROUND_BYTES_MAX = 8 * 1024 * 1024
_IDLE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0

PENDING = {"pending": True, "at": {"$gt": 0}}
"""Every pending commit; naming `at` lets the partial index answer instead of a walk through the whole log."""

log = structlog.get_logger()
_partition_of = DefaultPartitioner()


class Fenced(Exception):
    """Another leader has claimed, or our own last round stands otherwise than we remember: claim again."""


class LogAhead(Exception):
    """A topic holds records this log has not numbered yet: the database was restored to an earlier state."""


class Sequencer:
    """Runs in every process of a service; one of them leads. `topics` maps the service's topics to their partitions."""

    def __init__(
        self,
        database: Any,
        *,
        service: str,
        slot: str,
        topics: Mapping[str, int],
        bootstrap: str,
        now_us: Callable[[], int],
        lease_seconds: float = 3.0,
    ) -> None:
        self.database, self.service, self.slot = database, service, slot
        self.topics, self.bootstrap, self.now_us = dict(topics), bootstrap, now_us
        self.lease_seconds = lease_seconds
        self.log_id = ""
        self.stopped: str | None = None
        self.leading = False
        self._wake = asyncio.Event()
        self._state: dict[str, Any] = {}
        self._acked = 0
        self._limit = ROUND_COMMITS_MAX
        self._session: Any = None
        self._publisher: Publisher | None = None

    def notify(self) -> None:
        """Something was committed: do not wait for the next look."""
        self._wake.set()

    async def prepare(self) -> None:
        """Makes sure the service's log has its id before the first commit."""
        first = {"log_id": str(uuid.uuid4()), "epoch": 0, "owner": "", "next": 1, "published": 0, "last": {}, "beat": 0}
        with suppress(DuplicateKeyError):  # another process made it first
            await self.database.sequencer.update_one({"_id": "sequencer"}, {"$setOnInsert": first}, upsert=True)
        document = await self.database.sequencer.find_one({"_id": "sequencer"})
        self.log_id = document["log_id"]

    async def run(self) -> None:
        """Leads when nobody else does, until cancelled. Says in `stopped` why going on would lose facts."""
        pause = 0.05
        try:
            while True:
                try:
                    await self._await_turn()
                    await self._claim()
                    pause = 0.05
                    self.leading = True
                    while True:
                        await self._round()
                except LogAhead as error:
                    self.stopped = str(error)
                    log.error("sequencer.stopped", reason=self.stopped)
                    return
                except (Fenced, PublishFailed, PyMongoError, KafkaError, TimeoutError, OSError) as error:
                    log.warning("sequencer.claims_again", error=type(error).__name__, detail=str(error)[:200])
                except transactions.OutcomeUnknown:
                    log.warning("sequencer.claims_again", error="OutcomeUnknown")
                self.leading = False
                await self._close_publisher()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        finally:
            self.leading = False
            await self._close_publisher()

    async def _await_turn(self) -> None:
        """Returns when the leader is ourselves (restarted), nobody, or has shown no sign for the lease."""
        seen: tuple[int, int] | None = None
        loop = asyncio.get_running_loop()
        since = loop.time()
        while True:
            state = await self.database.sequencer.find_one({"_id": "sequencer"})
            if state["owner"] in ("", self.slot):
                return
            if seen != (state["epoch"], state["beat"]):
                seen, since = (state["epoch"], state["beat"]), loop.time()
            elif loop.time() - since > self.lease_seconds:
                return
            await asyncio.sleep(self.lease_seconds / 6)

    async def _claim(self) -> None:
        before = await self.database.sequencer.find_one({"_id": "sequencer"})
        await sessions.kill(self.database, before.get("session"))
        self._session = await self.database.client.start_session()
        self._state = await self.database.sequencer.find_one_and_update(
            {"_id": "sequencer"},
            {"$inc": {"epoch": 1, "beat": 1}, "$set": {"owner": self.slot, "session": self._session.session_id}},
            return_document=ReturnDocument.AFTER,
        )
        failpoint("sequence.after_claim")
        self._acked = self._state["published"]
        ahead = await last_sequence_numbers(self.bootstrap, self.topics)
        for (topic, partition), seq in ahead.items():
            if seq >= self._state["next"]:
                raise LogAhead(
                    f"{topic}[{partition}] ends at seq {seq}, but this log's next is {self._state['next']}: "
                    "the database was restored; recover the tail from the topics or start a new log_id"
                )
        self._publisher = Publisher(self.bootstrap, client_id=f"{self.slot}-{self._state['epoch']}")
        await self._publisher.start()
        unpublished = {"seq": {"$gt": self._state["published"]}}
        commits = await self.database.commits.find(unpublished).sort("seq", 1).to_list(None)
        log.info("sequencer.leads", epoch=self._state["epoch"], next=self._state["next"], again=len(commits))
        while commits:
            part = _bounded(commits)
            await self._publish(part)
            commits = commits[len(part) :]
        self._acked = self._state["next"] - 1

    async def _round(self) -> None:
        self._wake.clear()
        commits = await self._sequence()
        if commits:
            await self._publish(commits)
            failpoint("publish.before_mark")
            self._acked = self._state["next"] - 1
            return
        if self._state["published"] == self._acked:
            try:
                await asyncio.wait_for(self._wake.wait(), min(_IDLE_SECONDS, self.lease_seconds / 4))
            except TimeoutError:
                pass
            if not self._wake.is_set():
                await self._beat()

    async def _beat(self) -> None:
        mine = {"_id": "sequencer", "epoch": self._state["epoch"], "owner": self.slot, "next": self._state["next"]}
        result = await self.database.sequencer.update_one(mine, {"$inc": {"beat": 1}})
        if not result.matched_count:
            raise Fenced("beat")

    async def _sequence(self) -> list[dict[str, Any]]:
        """Gives the pending commits their places in one transaction; returns them as published."""
        state, now = self._state, self.now_us()
        if self._state["published"] == self._acked and not await self.database.commits.find_one(PENDING, {"_id": 1}):
            return []

        async def body(session: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
            commits = await self._pending(session)
            after = self._number(commits, now)
            result = await self.database.sequencer.update_one(
                {"_id": "sequencer", "epoch": state["epoch"], "owner": self.slot, "next": state["next"]},
                {
                    "$set": {"next": after["next"], "published": self._acked, "last": after["last"]},
                    "$inc": {"beat": 1, "commands": sum(len(commit.get("commands", ())) for commit in commits)},
                    "$max": {"sequenced_at": after["sequenced_at"]},
                },
                session=session,
            )
            if not result.matched_count:
                raise Fenced("round")
            if commits:
                await self.database.commits.bulk_write([_mark(commit) for commit in commits], session=session)
            failpoint("sequence.after_writes")
            return commits, after

        try:
            commits, after = await transactions.run(self._session, body)
        except (PyMongoError, transactions.OutcomeUnknown):
            self._limit = max(1, self._limit // 2)
            raise
        self._limit = min(ROUND_COMMITS_MAX, self._limit * 2)
        self._state = after
        return commits

    async def _pending(self, session: Any) -> list[dict[str, Any]]:
        """The next round's commits by `at`, read only as far as a round goes."""
        commits: list[dict[str, Any]] = []
        events = size = 0
        cursor = self.database.commits.find(PENDING, session=session).sort("at", 1).limit(self._limit).batch_size(50)
        async for commit in cursor:
            events, size = events + len(commit.get("events", ())), size + _bytes(commit)
            if commits and (events > ROUND_EVENTS_MAX or size > ROUND_BYTES_MAX):
                await cursor.close()
                break
            commits.append(commit)
        return commits

    def _number(self, commits: list[dict[str, Any]], now: int) -> dict[str, Any]:
        after = dict(self._state) | {"published": self._acked}
        last = {topic: dict(partitions) for topic, partitions in _unpacked(self._state["last"]).items()}
        after["sequenced_at"] = max(now, self._state.get("sequenced_at", 0))
        for commit in commits:
            commit["seq"], commit["sequenced_at"] = after["next"], after["sequenced_at"]
            for offset, event in enumerate(commit.get("events", ())):
                everyone = list(range(self.topics[event["topic"]]))
                event["partition"] = _partition_of(event["subject"].encode(), everyone, everyone)
                behind = last.setdefault(event["topic"], {})
                event["prev"] = behind.get(str(event["partition"]), 0)
                behind[str(event["partition"])] = commit["seq"] + offset
            after["next"] += len(commit.get("events", ()))
        after["last"] = _packed(last)
        return after

    async def _publish(self, commits: list[dict[str, Any]]) -> None:
        assert self._publisher is not None
        failpoint("publish.before_send")
        await self._publisher.publish(commits, service=self.service)
        failpoint("publish.after_send")

    async def _close_publisher(self) -> None:
        if self._publisher is not None:
            await self._publisher.close()
            self._publisher = None


def _mark(commit: dict[str, Any]) -> UpdateOne:
    fields: dict[str, Any] = {"seq": commit["seq"], "sequenced_at": commit["sequenced_at"]}
    for i, event in enumerate(commit.get("events", ())):
        fields[f"events.{i}.partition"] = event["partition"]
        fields[f"events.{i}.prev"] = event["prev"]
    return UpdateOne({"_id": commit["_id"]}, {"$set": fields, "$unset": {"pending": ""}})


def _bounded(commits: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events = size = 0
    for i, commit in enumerate(commits):
        events += len(commit.get("events", ()))
        size += _bytes(commit)
        if i and (events > ROUND_EVENTS_MAX or size > ROUND_BYTES_MAX):
            return commits[:i]
    return commits


def _bytes(commit: dict[str, Any]) -> int:
    return sum(len(event["data"].encode()) for event in commit.get("events", ()))


def _packed(last: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {topic.replace(".", "/"): partitions for topic, partitions in last.items()}  # a dot is a path to MongoDB


def _unpacked(last: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {topic.replace("/", "."): partitions for topic, partitions in last.items()}
