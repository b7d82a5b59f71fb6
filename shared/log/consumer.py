"""Hears other services: one batch subscriber per process, one transaction per partition and batch (rules 13 to 20).

The position of a partition is a document of our own database and moves in the transaction that applies the batch, so a
fact is applied exactly once whatever Kafka redelivers, and however often a member dies or comes back late.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from shared.contracts import topics
from shared.contracts.fact import Fact, Recorded
from shared.kernel import SYSTEM
from shared.log import sessions, transactions, wire, writes
from shared.log.committer import commit_document
from shared.log.failpoints import failpoint
from shared.log.letters import letter, waiting_streams
from shared.log.work import Work, working

BATCH_FACTS_MAX = 500
_TRIES_ALONE = 3
_PAUSE_SECONDS_MAX = 2.0
_TRANSIENT = (PyMongoError, KafkaError, OSError, TimeoutError, transactions.OutcomeUnknown, writes.Conflict)

Reactions = Mapping[type[Fact], Callable[[Recorded[Any]], Awaitable[None]]]
log = structlog.get_logger()


class Fenced(Exception):
    """Another claim owns the partition, or the position stands otherwise than we remember."""


class RebuildNeeded(Exception):
    """The stored position and the topic contradict each other: going on would lose or double facts."""


@dataclass
class Claim:
    """What we hold of one partition: only with this epoch may its position move."""

    epoch: int
    next: int
    seq: int
    log_id: str | None
    session: Any


@dataclass(frozen=True, slots=True)
class _Heard:
    record: Any
    head: wire.Head


class Consumer(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Applies a reactions table to every topic it names. `stopped` maps a partition to the sentence it stopped with."""

    def __init__(
        self,
        database: Any,
        *,
        service: str,
        slot: str,
        bootstrap: str,
        reactions: Reactions,
        now_us: Callable[[], int],
        log_id: Callable[[], str],
        on_commit: Callable[[], None] = lambda: None,
        session_timeout_ms: int = 10_000,
    ) -> None:
        self.database, self.service, self.slot, self.bootstrap = database, service, slot, bootstrap
        self.reactions = {fact.__name__: (fact, react) for fact, react in reactions.items()}
        self.topics = sorted({fact.topic.name for fact in reactions})
        self.now_us, self.log_id, self.on_commit = now_us, log_id, on_commit
        self.stopped: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self._claims: dict[TopicPartition, Claim] = {}
        self._running = asyncio.Lock()
        self._claiming: set[asyncio.Task[None]] = set()
        self._last_at = 0
        self._broker = KafkaBroker(
            bootstrap, apply_types=False, allow_auto_create_topics=False, logger=None, log_level=logging.DEBUG,
            client_id=slot, graceful_timeout=10, metadata_max_age_ms=5_000,
        )  # fmt: skip
        self._subscriber = self._broker.subscriber(
            *self.topics,
            group_id=service,
            group_instance_id=slot,
            batch=True,
            max_records=4 * BATCH_FACTS_MAX,
            batch_timeout_ms=20,
            fetch_max_wait_ms=100,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="earliest",
            decoder=_as_it_is,
            listener=self,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // 5,
            rebalance_timeout_ms=30_000,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
        )
        self._subscriber(self._hear)

    async def start(self) -> None:
        """Joins the group, trying again until a broker answers."""
        while True:
            try:
                await self._broker.start()
                return
            except (KafkaError, OSError) as error:
                log.warning("consumer.waits_for_kafka", error=type(error).__name__)
                with suppress(Exception):
                    await self._broker.stop()
                await asyncio.sleep(0.5)

    async def stop(self) -> None:
        """Finishes the running batch and leaves, within a bound."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._broker.stop(), 15)
        self._give_up_claiming()
        self._claims.clear()

    def complaint(self) -> str | None:
        """Why this consumer is not well, as a sentence; None when it is (rule 24)."""
        if self.stopped:
            return "; ".join(f"{partition}: {why}" for partition, why in self.stopped.items())
        consumer = self._kafka
        coordinator = getattr(consumer, "_coordinator", None)
        if coordinator is None:
            return "the consumer has not joined its group"
        for name in ("_coordination_task", "_heartbeat_task"):
            task = getattr(coordinator, name, None)
            if task is not None and task.done():
                return f"the group coordinator's {name[1:]} has ended"
        return None

    async def lag(self) -> dict[str, int]:
        """Records not yet applied, per topic, from the stored positions and the topics' ends."""
        reader = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
        await reader.start()
        try:
            behind: dict[str, int] = dict.fromkeys(self.topics, 0)
            for topic in self.topics:
                partitions = [TopicPartition(topic, p) for p in range(topics()[topic])]
                for partition, end in (await reader.end_offsets(partitions)).items():
                    position = await self.database.positions.find_one({"_id": _name(partition)})
                    behind[topic] += end - (position["next"] if position else 0)
            return behind
        finally:
            await reader.stop()

    # --- ownership ---

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Drains the running batch, then forgets: caches live only as long as the claim."""
        self._give_up_claiming()
        async with self._running:
            for partition in revoked:
                self._claims.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Pauses first (aiokafka has published the assignment already), then claims in the background."""
        if assigned:
            self._kafka.pause(*assigned)
            self._claim_later(self._claim_all(list(assigned)))

    def _claim_later(self, claiming: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(claiming)
        self._claiming.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._claiming.discard)

    def _give_up_claiming(self) -> None:
        for task in self._claiming:
            task.cancel()

    async def _claim_all(self, partitions: list[TopicPartition]) -> None:
        pause = 0.05
        while partitions:
            try:
                await self._check_tails(partitions)
                consumer = self._kafka
                for partition in list(partitions):
                    claim = await self._claim(partition)
                    self._claims[partition] = claim
                    consumer.seek(partition, claim.next)
                    consumer.resume(partition)
                    partitions.remove(partition)
                    failpoint("consume.after_claim")
            except RebuildNeeded as error:
                partition = error.args[1]
                self.stopped[_name(partition)] = str(error.args[0])
                log.error("consumer.stopped", partition=_name(partition), reason=error.args[0])
                partitions.remove(partition)
            except _TRANSIENT as error:
                log.warning("consumer.claims_again", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    async def _claim(self, partition: TopicPartition) -> Claim:
        name = {"_id": _name(partition)}
        before = await self.database.positions.find_one(name)
        if before is not None:
            await sessions.kill(self.database, before.get("session"))
        session = await self.database.client.start_session()
        document = await self.database.positions.find_one_and_update(
            name,
            {
                "$inc": {"epoch": 1},
                "$set": {"session": session.session_id, "owner": self.slot},
                "$setOnInsert": {"next": 0, "seq": 0, "log_id": None, "tail": None},
            },
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return Claim(document["epoch"], document["next"], document["seq"], document["log_id"], session)

    async def _check_tails(self, partitions: Sequence[TopicPartition]) -> None:
        """Rule 14: begin <= next <= end, and the record before `next` is the one we applied last."""
        stored = {}
        for partition in partitions:
            position = await self.database.positions.find_one({"_id": _name(partition)})
            if position is not None and position["next"] > 0:
                stored[partition] = position
        if not stored:
            return
        reader = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
        await reader.start()
        try:
            begins, ends = await reader.beginning_offsets(list(stored)), await reader.end_offsets(list(stored))
            for partition, position in stored.items():
                after = position["next"]
                if not begins[partition] <= after <= ends[partition]:
                    raise RebuildNeeded(
                        f"the topic holds offsets {begins[partition]} to {ends[partition]}, the position is {after}: "
                        "rebuild this service from the publisher's log",
                        partition,
                    )
                if after - 1 < begins[partition]:
                    continue
                reader.assign([partition])
                reader.seek(partition, after - 1)
                record = await asyncio.wait_for(reader.getone(partition), 10)
                if _fingerprint(record) != position["tail"]:
                    raise RebuildNeeded(
                        f"the record at offset {after - 1} is not the one applied last: "
                        "rebuild this service from the publisher's log",
                        partition,
                    )
        finally:
            await reader.stop()

    # --- application ---

    async def _hear(self, message: Any) -> None:
        async with self._running:
            by_partition: dict[TopicPartition, list[Any]] = defaultdict(list)
            for record in message.raw_message:
                by_partition[TopicPartition(record.topic, record.partition)].append(record)
            await asyncio.gather(*(self._partition(tp, records) for tp, records in by_partition.items()))

    async def _partition(self, partition: TopicPartition, records: list[Any]) -> None:
        claim = self._claims.get(partition)
        if claim is None:
            return  # not ours, or not claimed yet: whoever claims seeks to its position
        start = 0
        while start < len(records) and records[start].offset < claim.next:
            start += 1
        if start < len(records) and records[start].offset != claim.next:
            self._kafka.seek(partition, claim.next)
            return
        alone_until = -1
        while start < len(records):
            size = 1 if records[start].offset <= alone_until else BATCH_FACTS_MAX
            batch = records[start : start + size]
            try:
                await self._apply_until_done(partition, claim, batch, alone=size == 1)
            except Fenced:
                self._lost(partition)
                return
            except RebuildNeeded as error:
                self._stop(partition, str(error.args[0]))
                return
            except _TRANSIENT:
                self._lost(partition)
                return
            except Exception as error:
                log.warning("consumer.isolates", partition=_name(partition), error=type(error).__name__)
                alone_until = batch[-1].offset  # one of them fails: each alone finds out which
                continue
            start += len(batch)

    async def _apply_until_done(
        self, partition: TopicPartition, claim: Claim, batch: list[Any], *, alone: bool
    ) -> None:
        """Retries what is transient for as long as we own the partition; alone, three failures make a dead letter."""
        pause, failures, code = 0.01, 0, None
        while True:
            try:
                await self._apply(partition, claim, batch, poison=code)
                return
            except (Fenced, RebuildNeeded):
                raise
            except _TRANSIENT as error:
                if partition not in self._claims or self._claims[partition] is not claim:
                    raise Fenced from error
                if await self._applied(partition, claim, batch):
                    return
                log.warning("consumer.retries", partition=_name(partition), error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 1.7, _PAUSE_SECONDS_MAX)
            except Exception as error:
                if not alone:
                    raise
                failures += 1
                log.warning("fact.failed", partition=_name(partition), tries=failures, error=repr(error)[:300])
                if failures >= _TRIES_ALONE:
                    code = error.args[0] if isinstance(error, wire.Unreadable) else type(error).__name__

    async def _apply(self, partition: TopicPartition, claim: Claim, batch: list[Any], *, poison: str | None) -> None:
        after, seq = batch[-1].offset + 1, claim.seq
        heard: list[_Heard] = []
        strangers: list[Any] = []
        for record in batch:
            try:
                head = wire.head(record)
            except wire.Foreign:
                strangers.append(letter(record, None, code="foreign", state="foreign"))
                continue
            if claim.log_id not in (None, head.log_id):
                raise RebuildNeeded(f"the log is {head.log_id}, we know {claim.log_id}: rebuild this service")
            if head.seq <= seq:
                self.counts["duplicates"] += 1
                continue
            if head.prev != seq:
                raise RebuildNeeded(f"seq {head.seq} follows {head.prev}, but {seq} was applied last: facts miss")
            seq = head.seq
            heard.append(_Heard(record, head))
        log_id = heard[-1].head.log_id if heard else claim.log_id

        async def body(session: Any) -> int:
            result = await self.database.positions.update_one(
                {"_id": _name(partition), "epoch": claim.epoch, "next": claim.next, "seq": claim.seq},
                {"$set": {"next": after, "seq": seq, "log_id": log_id, "tail": _fingerprint(batch[-1])}},
                session=session,
            )
            if not result.matched_count:
                raise Fenced
            failpoint("consume.after_position")
            work, letters = await self._react(heard, session, poison)
            failpoint("consume.after_reactions")
            prepared = writes.prepare([work], not_before=max(self.now_us(), self._last_at + 1))
            await writes.apply(self.database, session, prepared)
            if letters or strangers:
                await self.database.dead_letters.insert_many([*letters, *strangers], session=session)
            if heard:
                document = commit_document(self.log_id(), prepared)
                document["inputs"] = [_range(partition, heard)]
                await self.database.commits.insert_one(document, session=session)
            failpoint("consume.after_writes")
            return prepared.at

        try:
            self._last_at = max(self._last_at, await transactions.run(claim.session, body))
        except Fenced:
            if not await self._applied(partition, claim, batch, seq=seq):
                raise
        claim.next, claim.seq, claim.log_id = after, seq, log_id
        failpoint("consume.after_commit")
        self.counts["applied"] += len(heard)
        self.on_commit()

    async def _react(self, heard: list[_Heard], session: Any, poison: str | None) -> tuple[Work, list[dict[str, Any]]]:
        """Calls the reactions one after the other within one work; parks what waits behind an open letter."""
        work = Work(actor=SYSTEM, correlation_id="")
        waiting = await waiting_streams(self.database, {item.head.stream for item in heard}, session)
        letters: list[dict[str, Any]] = []
        for item in heard:
            known = self.reactions.get(item.head.type)
            if known is None:
                self.counts["unknown_types"] += 1
                continue
            if poison is not None:
                letters.append(letter(item.record, item.head, code=poison, state="open"))
                continue
            if item.head.stream in waiting:
                letters.append(letter(item.record, item.head, code="waits", state="parked"))
                continue
            fact, react = known
            recorded = wire.decode(item.record, fact)
            work.correlation_id, work.causation_id = recorded.correlation_id, recorded.id
            work.reaction = (self.service, react.__name__)
            with working(work):
                await react(recorded)
        return work, letters

    async def _applied(self, partition: TopicPartition, claim: Claim, batch: list[Any], seq: int | None = None) -> bool:
        """After an unknown outcome or a miss: whether our own commit had been applied (rule 16)."""
        position = await self.database.positions.find_one({"_id": _name(partition)})
        if position["epoch"] != claim.epoch:
            raise Fenced
        if position["next"] != batch[-1].offset + 1 or (seq is not None and position["seq"] != seq):
            return False
        claim.next, claim.seq, claim.log_id = position["next"], position["seq"], position["log_id"]
        return True

    def _lost(self, partition: TopicPartition) -> None:
        """We are not the owner any more, or unsure: stop reading, drop what we hold, claim again."""
        self._claims.pop(partition, None)
        with suppress(Exception):
            self._kafka.pause(partition)
            self._claim_later(self._reclaim(partition))

    async def _reclaim(self, partition: TopicPartition) -> None:
        """Asks the coordinator by committing: accepted means we own it, so claim; refused means rejoin."""
        pause = 0.2
        while partition in self._kafka.assignment():
            await asyncio.sleep(pause)
            position = await self.database.positions.find_one({"_id": _name(partition)})
            try:
                await self._kafka.commit({partition: position["next"]})
            except KafkaError:
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)
                continue
            await self._claim_all([partition])
            return

    @property
    def _kafka(self) -> Any:
        """aiokafka's consumer behind the subscriber; there is one from `start` to `stop`."""
        return self._subscriber.consumer

    def _stop(self, partition: TopicPartition, why: str) -> None:
        self.stopped[_name(partition)] = why
        self._claims.pop(partition, None)
        self._kafka.pause(partition)
        log.error("consumer.stopped", partition=_name(partition), reason=why)


async def _as_it_is(message: Any) -> Any:
    return message


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}|{partition.partition}"


def _fingerprint(record: Any) -> str:
    headers = b"".join(name.encode() + value for name, value in record.headers)
    return hashlib.sha256((record.key or b"") + b"|" + (record.value or b"") + b"|" + headers).hexdigest()


def _range(partition: TopicPartition, heard: list[_Heard]) -> dict[str, Any]:
    return {
        "service": partition.topic.partition(".")[0],
        "log_id": heard[-1].head.log_id,
        "topic": partition.topic,
        "partition": partition.partition,
        "from": heard[0].head.seq,
        "to": heard[-1].head.seq,
    }
