"""One node of Apache Kafka in KRaft mode: its files, its command line, and when it is ready."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import uuid
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from deploy.local import archive, doctor
from deploy.local.fetch import cache_folder

CLUSTER_ID = "TGlhbmRvbmdMaWFuZG9uZw"

# Measured settings: a small node that fails over quickly.
_SETTINGS = """
num.network.threads=1
num.io.threads=2
background.threads=1
num.replica.fetchers=1
num.recovery.threads.per.data.dir=1
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
metadata.log.segment.bytes=8388608
group.coordinator.threads=1
share.coordinator.threads=1
socket.request.max.bytes=16777216
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=2
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
unclean.leader.election.enable=false
controller.quorum.fetch.timeout.ms=1000
controller.quorum.election.timeout.ms=300
controller.quorum.election.backoff.max.ms=300
replica.lag.time.max.ms=5000
"""


def write_properties(folder: Path, *, node: int, ports: list[tuple[int, int]]) -> Path:
    """Writes `server.properties` of node `node` (from 0); `ports` holds (broker, controller) of every node."""
    folder.mkdir(parents=True, exist_ok=True)
    broker, controller = ports[node]
    copies = len(ports)
    in_sync = 2 if copies >= 3 else 1
    voters = ",".join(f"{i + 1}@127.0.0.1:{c}" for i, (_b, c) in enumerate(ports))
    lines = [
        "process.roles=broker,controller",
        f"node.id={node + 1}",
        f"controller.quorum.voters={voters}",
        f"listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
        f"advertised.listeners=PLAINTEXT://127.0.0.1:{broker}",
        "controller.listener.names=CONTROLLER",
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        f"log.dirs={folder / 'data'}",
        f"default.replication.factor={copies}",
        f"min.insync.replicas={in_sync}",
        f"offsets.topic.replication.factor={copies}",
        f"transaction.state.log.replication.factor={copies}",
        f"transaction.state.log.min.isr={in_sync}",
        f"share.coordinator.state.topic.replication.factor={copies}",
        f"share.coordinator.state.topic.min.isr={in_sync}",
    ]
    path = folder / "server.properties"
    path.write_text("\n".join(lines) + _SETTINGS)
    logging_ = folder / "log4j2.properties"
    logging_.write_text(
        "rootLogger.level=WARN\nrootLogger.appenderRef.out.ref=OUT\n"
        "appender.out.type=Console\nappender.out.name=OUT\nappender.out.layout.type=PatternLayout\n"
        "appender.out.layout.pattern=%p %m (%c{1})%n\n"
    )
    return path


def command(class_path: str, properties: Path) -> list[str]:
    """The command line that runs a node in 161 MB, with an archive of loaded classes shared by all clones."""
    return [
        doctor.java(), "-Xms32m", "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
        "-XX:+ExitOnOutOfMemoryError", *archive.flags(note=properties.parent.name == "kafka-0"),
        f"-Dlog4j2.configurationFile={properties.with_name('log4j2.properties')}",
        "-cp", class_path, "kafka.Kafka", str(properties),
    ]  # fmt: skip


async def format_node(class_path: str, properties: Path, *, node: int) -> None:
    """Formats a node's data folder once; a formatted one is left as it is.

    Kafka's own tool does it the first time on this machine. It writes one file of feature levels, the same for every
    node, which is kept in the cache, and one of names; later nodes get the first as it is and the second with theirs.
    """
    data = properties.parent / "data"
    if (data / "meta.properties").exists():
        return
    kept = cache_folder() / "kafka-4.3.1" / "bootstrap.checkpoint"
    if not kept.exists():
        await _format_with_tool(class_path, properties)
        if {file.name for file in data.iterdir()} == {"meta.properties", kept.name}:
            part = kept.with_name(f".part-{kept.name}-{os.getpid()}-{properties.parent.name}")
            shutil.copyfile(data / kept.name, part)
            os.replace(part, kept)
        return
    data.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept, data / kept.name)
    directory = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    lines = ["version=1", f"cluster.id={CLUSTER_ID}", f"directory.id={directory}", f"node.id={node + 1}"]
    (data / "meta.properties").write_text("\n".join(lines) + "\n")


async def _format_with_tool(class_path: str, properties: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        doctor.java(), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", class_path, "kafka.tools.StorageTool", "format",
        "-t", CLUSTER_ID, "-c", str(properties), "--ignore-formatted",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    if process.returncode:
        last = out.decode(errors="replace")[-400:]
        raise doctor.NotReady(
            f"Kafka 无法格式化 {properties.parent}:{last} / Kafka could not format {properties.parent}: {last}"
        )


async def ready(ports: list[int]) -> bool:
    """Whether the cluster lists all its brokers and every listener accepts (it is listed before that)."""
    try:
        for port in ports:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        admin = AIOKafkaAdminClient(bootstrap_servers=[f"127.0.0.1:{port}" for port in ports], request_timeout_ms=3000)
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            return len(cluster["brokers"]) == len(ports)
        finally:
            await admin.close()
    except (OSError, KafkaError):
        return False


async def create_topics(bootstrap: str, topics: dict[str, int], *, copies: int) -> None:
    """Creates the declared topics that do not exist yet: kept for ever, never compacted, stamped by the broker."""
    settings = {
        "retention.ms": "-1",
        "cleanup.policy": "delete",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2" if copies >= 3 else "1",
        "max.message.bytes": "1048588",
    }
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=20000)
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [
            NewTopic(name, num_partitions=partitions, replication_factor=copies, topic_configs=settings)
            for name, partitions in topics.items()
            if name not in there
        ]
        if missing:
            try:
                await admin.create_topics(missing)
            except TopicAlreadyExistsError:
                return
    finally:
        await admin.close()
