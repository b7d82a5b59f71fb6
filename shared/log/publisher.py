"""Sends sequenced commits to Kafka: one idempotent producer session per claim (rule 10)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from shared.log import wire

PRODUCER = {"acks": "all", "enable_idempotence": True}
"""What makes a send safe; the start-up self-check looks at these."""
_BATCH_BYTES = 768 * 1024
_SEND_SECONDS = 30.0
_STOP_SECONDS = 5.0


class PublishFailed(Exception):
    """A send was not acknowledged: this producer session sends nothing more, the leader claims again."""


class Publisher:
    """One producer session. After any failure it is closed and never used again."""

    def __init__(self, bootstrap: str, *, client_id: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            **PRODUCER,
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=10_000,
            metadata_max_age_ms=60_000,
        )

    async def start(self) -> None:
        """Connects; raises KafkaError when no broker answers."""
        await asyncio.wait_for(self._producer.start(), _SEND_SECONDS)

    async def publish(self, commits: Sequence[Mapping[str, Any]], *, service: str) -> None:
        """Sends every event of these sequenced commits in order of seq within its partition and awaits every ack."""
        lanes: dict[tuple[str, int], list[tuple[bytes, bytes, list[Any]]]] = defaultdict(list)
        for commit in commits:
            for offset, event in enumerate(commit.get("events", ())):
                record = wire.encode(event, service=service, log_id=commit["log_id"], seq=commit["seq"] + offset)
                lanes[event["topic"], event["partition"]].append(record)
        try:
            async with asyncio.timeout(_SEND_SECONDS), asyncio.TaskGroup() as sends:
                for lane, records in lanes.items():
                    sends.create_task(self._send(lane, records))  # the first failure ends all the others
        except TimeoutError as error:
            raise PublishFailed("TimeoutError") from error
        except ExceptionGroup as errors:
            _failed, bugs = errors.split((KafkaError, TimeoutError, PublishFailed))
            if bugs is not None:
                raise bugs from None
            raise PublishFailed(repr(errors.exceptions[0])) from errors

    async def _send(self, lane: tuple[str, int], records: list[tuple[bytes, bytes, list[Any]]]) -> None:
        topic, partition = lane
        batch, held = self._producer.create_batch(), 0
        for key, value, headers in records:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                await self._flush(batch, topic, partition)
                batch, held = self._producer.create_batch(), 0
                if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                    raise PublishFailed(f"a fact of {len(value)} bytes does not fit a batch")
            held += 1
        if held:
            await self._flush(batch, topic, partition)

    async def _flush(self, batch: Any, topic: str, partition: int) -> None:
        await (await self._producer.send_batch(batch, topic, partition=partition))

    async def close(self) -> None:
        """Ends the session; with undelivered records aiokafka would wait for ever, so only for a while.

        Then its sender is ended too: a producer that goes on sending behind our back is what a restore must not meet.
        """
        try:
            await asyncio.wait_for(self._producer.stop(), _STOP_SECONDS)
        except (KafkaError, TimeoutError):
            with suppress(KafkaError, TimeoutError, asyncio.CancelledError):
                await asyncio.wait_for(self._producer._sender.close(), _STOP_SECONDS)
            with suppress(KafkaError, TimeoutError):
                await asyncio.wait_for(self._producer.client.close(), _STOP_SECONDS)


async def last_sequence_numbers(bootstrap: str, topics: Mapping[str, int]) -> dict[tuple[str, int], int]:
    """The `seq` of the last record of ours in every partition that has one (rule 12)."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, fetch_max_wait_ms=100)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, p) for topic, count in topics.items() for p in range(count)]
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        found: dict[tuple[str, int], int] = {}
        for partition in partitions:
            seq = await _last_of(consumer, partition, begins[partition], ends[partition])
            if seq is not None:
                found[partition.topic, partition.partition] = seq
        return found
    finally:
        await consumer.stop()


async def _last_of(consumer: Any, partition: TopicPartition, begin: int, end: int) -> int | None:
    """Walks back from the end, in growing strides, over records that are not ours."""
    consumer.assign([partition])
    stride, upper = 1, end
    while upper > begin:
        lower, found = max(begin, upper - stride), None
        consumer.seek(partition, lower)
        while (await consumer.position(partition)) < upper:
            record = await asyncio.wait_for(consumer.getone(partition), _SEND_SECONDS)
            if record.offset < upper:
                with suppress(wire.Foreign):
                    found = wire.head(record).seq
        if found is not None:
            return found
        stride, upper = stride * 4, lower
    return None
