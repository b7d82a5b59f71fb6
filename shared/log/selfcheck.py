"""The start-up self-check: every setting under which facts could be lost, named in a sentence, before any is accepted.

Rule 24 of the protocol. A service refuses to start with an unsafe setting rather than run and hope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from pymongo.errors import ConnectionFailure, OperationFailure

from shared.log.publisher import PRODUCER
from shared.platform.clock import SKEW_SECONDS_MAX
from shared.platform.mongo import connect_node
from shared.platform.settings import ServiceSettings

log = structlog.get_logger()
LIFETIME_SECONDS = 5
_SAFE_REPLICAS = 3
_SAFE_IN_SYNC = 2
_RECORD_BYTES = 1_000_000
_UNAUTHORIZED = 13


class Finding(NamedTuple):
    """One unsafe setting: a stable code, and what is wrong and must be done, in both languages."""

    code: str
    zh: str
    en: str


class UnsafeSettings(Exception):
    """The service does not start; each finding says what is wrong and what it must be."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        super().__init__("\n".join(f"{finding.zh} / {finding.en}" for finding in findings))


def check_client(producer: Mapping[str, Any] = PRODUCER) -> list[Finding]:
    """How this program itself would send."""
    found = []
    if producer.get("acks") not in ("all", -1):
        found.append(Finding("acks", "生产者 acks 必须为 all", "The producer must wait for all replicas: acks=all"))
    if producer.get("enable_idempotence") is not True:
        found.append(Finding("idempotence", "生产者必须启用幂等", "The producer must be idempotent"))
    return found


async def check_store(database: Any, settings: ServiceSettings, *, skew_seconds: float) -> list[Finding]:
    """The replica set, what a write waits for, how long a forgotten transaction holds its documents, the clocks."""
    found = []
    hello = await database.client.admin.command("hello")
    if hello.get("setName") != settings.replica_set:
        name = hello.get("setName") or "-"
        found.append(
            Finding(
                "replica-set",
                f"MongoDB 不是副本集 {settings.replica_set}(现为 {name}):没有副本集就没有事务",
                f"MongoDB is not the replica set {settings.replica_set} (it says {name}): no set, no transactions",
            )
        )
    concern = database.client.write_concern.document
    if concern.get("w") != "majority" or concern.get("j") is not True:
        found.append(
            Finding(
                "write-concern",
                f"写关注必须为 majority 且写日志,现为 {concern}",
                f"The write concern must be majority with journal; it is {concern}",
            )
        )
    for host in hello.get("hosts", ()):
        found += await _check_lifetime(host, settings)
    if abs(skew_seconds) > SKEW_SECONDS_MAX:
        found.append(
            Finding(
                "clock-skew",
                f"本机时钟与 MongoDB 相差 {skew_seconds:.1f} 秒,超过 {SKEW_SECONDS_MAX:.0f} 秒:请先校时",
                f"This machine is {skew_seconds:.1f} s away from MongoDB's clock, more than {SKEW_SECONDS_MAX:.0f} s: "
                "set the time first",
            )
        )
    return found


async def check_broker(bootstrap: str, topics: Mapping[str, int], *, production: bool) -> list[Finding]:
    """What every broker and each of these topics (name -> declared partitions) is set to."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=10_000)
    await admin.start()
    try:
        brokers = [str(broker["node_id"]) for broker in (await admin.describe_cluster())["brokers"]]
        settings = await _settings(admin, ConfigResourceType.BROKER, brokers)
        found = [
            Finding(
                "auto-creation",
                f"Kafka 节点 {broker} 会自动创建主题:请设 auto.create.topics.enable=false",
                f"Kafka broker {broker} creates topics by itself: set auto.create.topics.enable=false",
            )
            for broker in brokers
            if settings[broker]["auto.create.topics.enable"] != "false"
        ]
        there = {topic["topic"]: topic["partitions"] for topic in await admin.describe_topics()}
        known = sorted(topic for topic in topics if topic in there)
        configured = await _settings(admin, ConfigResourceType.TOPIC, known)
        for topic, declared in topics.items():
            if topic not in there:
                found.append(
                    Finding(
                        "topic-missing", f"主题 {topic} 不存在:请先建立", f"Topic {topic} does not exist: create it"
                    )
                )
                continue
            replicas = min(len(partition["replicas"]) for partition in there[topic])
            partitions = len(there[topic])
            found += _check_partitions(topic, declared, partitions)
            found += check_topic(topic, configured[topic], replicas=replicas, production=production)
        return found
    finally:
        await admin.close()


def _check_partitions(topic: str, declared: int, partitions: int) -> list[Finding]:
    if partitions == declared:
        return []
    return [
        Finding(
            "partitions",
            f"主题 {topic}:有 {partitions} 个分区,应为 {declared} 个;分区数不得更改,请改写到新主题",
            f"Topic {topic}: it has {partitions} partitions, {declared} are declared; the number never changes, "
            "write a new topic",
        )
    ]


def check_topic(topic: str, settings: Mapping[str, str], *, replicas: int, production: bool) -> list[Finding]:
    """What one topic is set to, and how many copies each of its partitions has."""
    found = []

    def unsafe(code: str, zh: str, en: str) -> None:
        found.append(Finding(code, f"主题 {topic}:{zh}", f"Topic {topic}: {en}"))

    in_sync = int(settings["min.insync.replicas"])
    if production and replicas < _SAFE_REPLICAS:
        unsafe("replicas", f"只有 {replicas} 个副本,生产环境至少 3 个", f"{replicas} replicas; production needs 3")
    if replicas >= _SAFE_REPLICAS and in_sync < _SAFE_IN_SYNC:
        unsafe(
            "min-isr",
            f"min.insync.replicas 为 {in_sync},{replicas} 个副本至少需要 2",
            f"min.insync.replicas is {in_sync}; with {replicas} replicas at least 2 must have a fact",
        )
    if in_sync > replicas:
        unsafe(
            "min-isr",
            f"min.insync.replicas 为 {in_sync},却只有 {replicas} 个副本,无法写入",
            f"min.insync.replicas is {in_sync} of {replicas} replicas: nothing can be written",
        )
    if settings["retention.ms"] != "-1" or settings.get("retention.bytes", "-1") != "-1":
        unsafe("retention", "会删除旧记录:请设 retention.ms=-1", "old records are removed: set retention.ms=-1")
    if settings["cleanup.policy"] != "delete":
        unsafe("compaction", "被压缩:请设 cleanup.policy=delete", "it is compacted: set cleanup.policy=delete")
    if settings["unclean.leader.election.enable"] != "false":
        unsafe(
            "unclean-election",
            "允许未同步副本成为领导者:请设 unclean.leader.election.enable=false",
            "a replica without the newest facts may lead: set unclean.leader.election.enable=false",
        )
    if int(settings["max.message.bytes"]) < _RECORD_BYTES:
        unsafe(
            "message-bytes",
            f"max.message.bytes 为 {settings['max.message.bytes']},至少需要 {_RECORD_BYTES}",
            f"max.message.bytes is {settings['max.message.bytes']}; at least {_RECORD_BYTES} are needed",
        )
    return found


async def _settings(admin: Any, kind: ConfigResourceType, names: list[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    answers = await admin.describe_configs([ConfigResource(kind, name) for name in names])
    return {
        resource["resource_name"]: {
            entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
        }
        for answer in answers
        for resource in answer.to_object()["resources"]
    }


async def _check_lifetime(host: str, settings: ServiceSettings) -> list[Finding]:
    """Asks a node of the set itself; one that is away now is asked by whoever starts when it is back."""
    client = connect_node(settings, host)
    try:
        answer = await client.admin.command("getParameter", transactionLifetimeLimitSeconds=1)
        seconds = int(answer["transactionLifetimeLimitSeconds"])
    except ConnectionFailure:
        return []
    except OperationFailure as error:
        if error.code != _UNAUTHORIZED:
            raise
        if not settings.production:
            log.warning("start.lifetime_unknown", host=host)
            return []
        return [
            Finding(
                "lifetime-unknown",
                f"不能读取 {host} 的 transactionLifetimeLimitSeconds:请授予 getParameter 权限",
                f"transactionLifetimeLimitSeconds of {host} may not be read: grant the action getParameter",
            )
        ]
    finally:
        client.close()
    if seconds == LIFETIME_SECONDS:
        return []
    return [
        Finding(
            "lifetime",
            f"{host} 的 transactionLifetimeLimitSeconds 为 {seconds},必须为 5",
            f"transactionLifetimeLimitSeconds of {host} is {seconds}; it must be 5",
        )
    ]
