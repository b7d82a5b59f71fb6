"""Reads a running stack as its auditor user: majority reads of every store, every topic from begin to end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from pymongo import AsyncMongoClient
from pymongo.read_concern import ReadConcern

from tests.faults.auditor.checks import Finding
from tests.faults.auditor.dump import Dump, Partition, Record, Told


async def collect(
    *, mongo: str, replica_set: str, password: str, kafka: str, services: Sequence[str],
    journal: Sequence[Told] = (), poison: dict[str, str] | None = None,
) -> Dump:  # fmt: skip
    """The dump of these services (their names as in topics, kebab case) and of every topic of the broker."""
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        f"mongodb://{mongo}", replicaSet=replica_set, username="auditor", password=password, authSource="admin"
    )
    try:
        stores = {service: await _store(client, service) for service in services}
    finally:
        await client.close()
    return Dump(stores, await _topics(kafka), list(journal), dict(poison or {}))


async def _store(client: AsyncMongoClient[dict[str, Any]], service: str) -> dict[str, list[dict[str, Any]]]:
    database = client[service.replace("-", "_")]
    found = {}
    for name in await database.list_collection_names():
        collection = database.get_collection(name, read_concern=ReadConcern("majority"))
        found[name] = await collection.find({}).to_list(None)
    return found


async def _topics(kafka: str) -> dict[str, dict[int, Partition]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        names = [name for name in await admin.list_topics() if not name.startswith("__")]
        described = await admin.describe_topics(names)
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, enable_auto_commit=False, auto_offset_reset="earliest", fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        found: dict[str, dict[int, Partition]] = {}
        for topic in described:
            for partition in topic["partitions"]:
                place = TopicPartition(topic["topic"], partition["partition"])
                found.setdefault(place.topic, {})[place.partition] = await _partition(consumer, place)
        return found
    finally:
        await consumer.stop()


async def _partition(consumer: Any, place: TopicPartition) -> Partition:
    consumer.assign([place])
    begin = (await consumer.beginning_offsets([place]))[place]
    end = (await consumer.end_offsets([place]))[place]
    partition = Partition(begin, end)
    consumer.seek(place, begin)
    reached = begin
    while reached < end:
        for records in (await consumer.getmany(place, timeout_ms=1000, max_records=5000)).values():
            for record in records:
                partition.records.append(Record(record.offset, record.key, record.value, list(record.headers)))
                reached = record.offset + 1
    return partition


async def replicas_agree(members: Sequence[str], *, admin_password: str, services: Sequence[str]) -> list[Finding]:
    """`dbHash` is the same on every member and `validate` finds nothing, once the members have caught up."""
    findings: list[Finding] = []
    hashes: dict[str, dict[str, str]] = {}
    for member in members:
        client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            f"mongodb://{member}", directConnection=True, username="admin", password=admin_password,
            readPreference="secondaryPreferred",
        )  # fmt: skip
        try:
            for service in services:
                database = client[service.replace("-", "_")]
                hashes.setdefault(service, {})[member] = (await database.command("dbHash"))["md5"]
                for name in await database.list_collection_names():
                    result = await database.command("validate", name)
                    if not result["valid"]:
                        findings.append(Finding("validate", f"{member} {service}.{name}", str(result["errors"])[:300]))
        finally:
            await client.close()
    for service, by_member in hashes.items():
        if len(set(by_member.values())) > 1:
            findings.append(Finding("db-hash", service, str(by_member)))
    return findings
