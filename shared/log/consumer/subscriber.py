"""One batch subscriber per process: joins the group, claims what it is given, cuts batches and gets them applied."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER, KafkaMessage

from shared.contracts import topics
from shared.log import transactions, wire, writes
from shared.log.consumer import backfill, ownership
from shared.log.consumer.application import Application, FactFailed, Reactions, SplitAt
from shared.log.consumer.liveness import Lasting, dead_tasks
from shared.log.consumer.ownership import BATCH_FACTS_MAX, Claim, Fenced, RebuildNeeded, name_of
from shared.log.failpoints import failpoint
from shared.log.ticks import RecordedTime

_TRIES_ALONE = 3
_CONFLICTS_ALONE = 10
_PAUSE_SECONDS_MAX = 2.0
_WATCH_SECONDS = 0.5
_COMMIT_EVERY = 10

log = structlog.get_logger()


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
        time: RecordedTime,
        log_id: Callable[[], str],
        on_commit: Callable[[], None] = lambda: None,
        session_timeout_ms: int = 10_000,
    ) -> None:
        self.database, self.slot, self.bootstrap = database, slot, bootstrap
        self.application = Application(
            database, service=service, reactions=reactions, time=time, log_id=log_id, on_commit=on_commit
        )
        self.topics = sorted({fact.topic.name for fact in reactions})
        self.stopped: dict[str, str] = {}
        self._claims: dict[TopicPartition, Claim] = {}
        self._catching_up: set[TopicPartition] = set()
        self._running = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watch: asyncio.Task[None] | None = None
        self._lasting = Lasting()
        self._reader: Any = None
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
            parser=_unread,
            decoder=_as_it_is,
            listener=self,
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=session_timeout_ms // 5,
            rebalance_timeout_ms=30_000,
            partition_assignment_strategy=[RoundRobinPartitionAssignor],
        )
        self._subscriber(self._hear)

    @property
    def counts(self) -> Counter[str]:
        """What this process has applied, skipped and dropped since it started."""
        return self.application.counts

    async def start(self) -> None:
        """Joins the group, trying again until a broker answers."""
        while True:
            try:
                await self._broker.start()
                break
            except (KafkaError, OSError) as error:
                log.warning("consumer.waits_for_kafka", error=type(error).__name__)
                with suppress(Exception):
                    await self._broker.stop()
                await asyncio.sleep(0.5)
        self._watch = asyncio.create_task(self._watching())

    async def stop(self) -> None:
        """Finishes the running batch and leaves, within a bound."""
        if self._watch is not None:
            self._watch.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._broker.stop(), 15)
        await self._give_up(list(self._claims))
        self._claims.clear()
        await self._close_reader()

    def complaints(self) -> list[str]:
        """Why this consumer is not well, as sentences; empty when it is (rule 24)."""
        found = [f"{partition}: {why}" for partition, why in self.stopped.items()]
        coordinator = getattr(self._kafka, "_coordinator", None)
        if coordinator is None:
            return [*found, "the consumer has not joined its group"]
        return [*found, *dead_tasks(coordinator), *self._lasting.sentences()]

    async def lag(self) -> dict[str, int]:
        """Records not yet applied, per topic, from the stored positions and the topics' ends."""
        partitions = [TopicPartition(topic, p) for topic in self.topics for p in range(topics()[topic])]
        ends = await self._end_offsets(partitions)
        wanted = {"_id": {"$in": [name_of(partition) for partition in partitions]}}
        stored = {p["_id"]: p["next"] async for p in self.database.positions.find(wanted, {"next": 1})}
        behind: dict[str, int] = dict.fromkeys(self.topics, 0)
        for partition, end in ends.items():
            behind[partition.topic] += max(0, end - stored.get(name_of(partition), 0))
        return behind

    async def _end_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Asked of a reader of its own: on the subscriber's connection the question waits behind a long poll."""
        if self._reader is None:
            reader = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, enable_auto_commit=False)
            await reader.start()
            self._reader = reader
        try:
            ends: dict[TopicPartition, int] = await self._reader.end_offsets(list(partitions))
            return ends
        except KafkaError:
            await self._close_reader()
            raise

    async def _close_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with suppress(KafkaError):
                await reader.stop()

    # --- ownership ---

    async def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Ends what retries, drains the running batch, then forgets: caches live only as long as the claim."""
        await self._give_up(revoked)
        async with self._running:
            for partition in revoked:
                self._claims.pop(partition, None)
                self.stopped.pop(name_of(partition), None)

    async def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """Pauses first (aiokafka has published the assignment already), then claims in the background."""
        if assigned:
            self._kafka.pause(*assigned)
            await self._give_up(())
            self._later(self._claim_all(list(assigned)))

    def _later(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _give_up(self, partitions: Sequence[TopicPartition]) -> None:
        for partition in partitions:
            if partition in self._claims:
                self._claims[partition].given_up = True
        claiming = {task for task in self._tasks if task is not asyncio.current_task()}
        while claiming:
            for task in claiming:
                task.cancel()  # again and again: a client that is stopping may swallow one
            _ended, claiming = await asyncio.wait(claiming, timeout=0.5)

    async def _claim_all(self, partitions: list[TopicPartition]) -> None:
        pause = 0.05
        while partitions:
            try:
                held = [await ownership.claim(self.database, p, owner=self.slot) for p in partitions]
                wrong = await ownership.check(self.bootstrap, held)
                for claim in held:
                    if claim.partition in wrong:
                        self._stop(claim.partition, wrong[claim.partition])
                    else:
                        await self._open(claim)
                    partitions.remove(claim.partition)
            except Exception as error:
                # Whatever it was: a partition that nobody claims is deaf, so it is tried again and liveness says so.
                log.warning("consumer.claims_again", error=type(error).__name__, detail=str(error)[:200])
                await asyncio.sleep(pause)
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    async def _open(self, claim: Claim) -> None:
        """Lets what is newly heard catch up, then reads on."""
        types = self.application.types_of(claim.partition.topic)
        behind = ownership.newly_heard(claim, types)
        try:
            if behind:
                self._catching_up.add(claim.partition)
                await backfill.catch_up(self.bootstrap, claim, behind, self._apply_behind)
            if {kind for kind, place in claim.types.items() if place is True} != set(types):
                await ownership.remember_types(self.database, claim, types)
        except RebuildNeeded as error:
            self._stop(claim.partition, str(error.args[0]))
            return
        finally:
            self._catching_up.discard(claim.partition)
        self._claims[claim.partition] = claim
        self.stopped.pop(claim.name, None)
        self._kafka.seek(claim.partition, claim.next)
        self._kafka.resume(claim.partition)
        failpoint("consume.after_claim")

    def _lost(self, claim: Claim) -> None:
        """We are not the owner any more, or unsure: stop reading, drop what we hold, claim again."""
        partition = claim.partition
        if claim.given_up or self._claims.get(partition) is not claim:
            return  # the group has taken it back, or a newer claim of ours holds it
        del self._claims[partition]
        with suppress(KafkaError):
            self._kafka.pause(partition)
            self._later(self._reclaim(partition))

    async def _reclaim(self, partition: TopicPartition) -> None:
        """Asks the coordinator by committing: accepted means we own it, so claim; refused means rejoin (rule 16)."""
        pause = 0.2
        while partition in self._kafka.assignment():
            await asyncio.sleep(pause)
            try:
                position = await self.database.positions.find_one({"_id": name_of(partition)})
                await asyncio.wait_for(self._kafka.commit({partition: position["next"]}), 10)
            except transactions.TRANSIENT:
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)
                continue
            await self._claim_all([partition])
            return

    def _stop(self, partition: TopicPartition, why: str) -> None:
        self.stopped[name_of(partition)] = why
        self._claims.pop(partition, None)
        with suppress(KafkaError):
            self._kafka.pause(partition)
        log.error("consumer.stopped", partition=name_of(partition), reason=why)

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
        try:
            start = 0
            while start < len(records) and records[start].offset < claim.next:
                start += 1
            if start < len(records) and records[start].offset > claim.next != claim.sought:
                # Fetched before our seek; met again after it, the gap is Kafka's own (a transaction's marker).
                claim.sought = claim.next
                self._kafka.seek(partition, claim.next)
                return
            while start < len(records):
                start += await self._apply(claim, records[start : start + claim.limit])
        except RebuildNeeded as error:
            self._stop(partition, str(error.args[0]))
        except Fenced:
            self._lost(claim)
        except Exception as error:
            log.exception("consumer.unsure", partition=claim.name, error=type(error).__name__)
            self._lost(claim)

    async def _apply_behind(self, claim: Claim, records: Sequence[Any], behind: dict[str, dict[str, int]]) -> None:
        start = 0
        while start < len(records):
            start += await self._apply(claim, records[start : start + claim.limit], behind)

    async def _apply(self, claim: Claim, batch: Sequence[Any], behind: dict[str, dict[str, int]] | None = None) -> int:
        """Applies the first records of a batch, whatever it takes, and returns how many.

        What is transient is tried again for as long as we own the partition, with half as many. A fact that fails is
        first freed of those before it; alone, three failures on fresh state make a dead letter.
        """
        size, pause, failures, code = len(batch), 0.01, 0.0, None
        while True:
            part = batch[:size]
            try:
                await self.application.apply(claim, part, poison=code, behind=behind)
                claim.limit = min(BATCH_FACTS_MAX, claim.limit * 2)
                return size
            except (Fenced, RebuildNeeded):
                raise
            except SplitAt as split:
                size = split.index
            except FactFailed as failed:
                failures += size == 1
                log.warning("fact.failed", partition=claim.name, tries=failures, error=repr(failed.__cause__)[:300])
                size, cause = failed.index or 1, failed.__cause__
                if failures >= _TRIES_ALONE:
                    code = str(cause) if isinstance(cause, wire.Unreadable) else type(cause).__name__
            except Exception as error:
                if claim.given_up:
                    raise Fenced from error
                log.warning("consumer.retries", partition=claim.name, size=size, error=repr(error)[:300])
                if transactions.is_transient(error):
                    if behind is None and await self._was_applied(claim, part):
                        return size
                elif size == 1:
                    failures += _TRIES_ALONE / _CONFLICTS_ALONE if isinstance(error, writes.Conflict) else 1
                    if failures >= _TRIES_ALONE:
                        code = type(error).__name__
                size = claim.limit = max(1, size // 2)
                await asyncio.sleep(pause)
                pause = min(pause * 1.7, _PAUSE_SECONDS_MAX)

    async def _was_applied(self, claim: Claim, part: Sequence[Any]) -> bool:
        try:
            return await self.application.applied(claim, part)
        except transactions.TRANSIENT:
            return False  # the position's compare-and-set tells it at the next try

    # --- watching ---

    async def _watching(self) -> None:
        """Twice a second looks for what no error reports; now and then tells Kafka our places, for its own tools."""
        turn, told = 0, dict[TopicPartition, int]()
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            turn += 1
            try:
                await self._look()
                places = {p: c.next for p, c in self._claims.items() if told.get(p) != c.next}
                if turn % _COMMIT_EVERY == 0 and places:
                    await asyncio.wait_for(self._kafka.commit(places), 5)
                    told |= places
            except (KafkaError, OSError, TimeoutError) as error:
                log.debug("consumer.watch", error=type(error).__name__)
            except Exception:
                log.exception("consumer.watch_failed")

    async def _look(self) -> None:
        consumer, states = self._kafka, dict[str, str]()
        if consumer is None:
            return
        assigned = consumer.assignment()
        stalled = [
            name_of(p) for p in assigned
            if p not in self._claims and p not in self._catching_up and name_of(p) not in self.stopped
        ]  # fmt: skip
        if stalled:
            states["paused"] = ", ".join(sorted(stalled))
        if not assigned and (not self._lasting.lasts("empty") or await self._should_have_some()):
            states["empty"] = ", ".join(self.topics)
        wanted = getattr(consumer._coordinator, "_rejoin_needed_fut", None)
        if wanted is not None and wanted.done():
            states["rejoin"] = ""
        self._lasting.observe(asyncio.get_running_loop().time(), states)

    async def _should_have_some(self) -> bool:
        """Whether an empty assignment is wrong: a surplus member of a large group legally has none."""
        async with ownership.admin(self.bootstrap) as admin:
            [answer] = await admin.describe_consumer_groups([self.application.service])
            [group] = answer.to_object()["groups"]
        return len(group["members"]) <= sum(topics()[topic] for topic in self.topics)

    @property
    def _kafka(self) -> Any:
        """aiokafka's consumer behind the subscriber; there is one from `start` to `stop`."""
        return self._subscriber.consumer


async def _unread(records: Any) -> KafkaMessage:
    # FastStream's own parser reads every header as text: one stranger's bytes would stop the partition for good.
    return KafkaMessage(raw_message=records, body=b"", headers={}, consumer=FAKE_CONSUMER)


async def _as_it_is(message: Any) -> Any:
    return message
