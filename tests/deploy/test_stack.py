"""The local stack on the real thing: who may do what, no second run, no orphan, and sentences instead of tracebacks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from deploy.local import doctor
from deploy.local.fetch import FetchError, kafka_class_path
from deploy.local.stack import AlreadyRunning, Stack

UNAUTHORIZED = 13


async def test_a_service_user_is_refused_in_another_services_database(stack: Stack) -> None:
    client = stack.as_user("evaluation")
    with pytest.raises(OperationFailure) as refused:
        await client.pilot_registration.pilots.find_one({})
    assert refused.value.code == UNAUTHORIZED
    client.close()


async def test_nobody_but_the_administrator_can_remove_from_a_log(stack: Stack) -> None:
    for user in ("evaluation", "auditor", "clock"):
        client = stack.as_user(user)
        with pytest.raises(OperationFailure) as refused:
            await client.evaluation.commits.delete_one({})
        assert refused.value.code == UNAUTHORIZED
        client.close()


async def test_an_auditor_reads_every_service_and_writes_none(stack: Stack) -> None:
    client = stack.as_user("auditor")
    for service in stack.users:
        assert await client[service].commits.count_documents({}) >= 0
        with pytest.raises(OperationFailure):
            await client[service].commits.insert_one({})
    client.close()


async def test_a_second_start_finds_the_first(stack: Stack) -> None:
    with pytest.raises(AlreadyRunning, match="running already"):
        await Stack(stack.home).up()


async def test_no_child_outlives_a_parent_killed_with_sigkill(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from deploy.local.stack import Stack\n"
        "async def main():\n"
        "    async with Stack(pathlib.Path(sys.argv[1])):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"up\n"
    children = json.loads((tmp_path / "state.json").read_text())["children"]
    assert set(children) == {"kafka-0", "mongod-0"}

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    deadline = asyncio.get_running_loop().time() + 20
    while any(_lives(pid) for pid in children.values()):
        assert asyncio.get_running_loop().time() < deadline, "a child outlived its parent"
        await asyncio.sleep(0.02)


def test_missing_jars_without_a_network_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIANDONG_CACHE", str(tmp_path))
    monkeypatch.setenv("LIANDONG_OFFLINE", "1")
    with pytest.raises(FetchError, match=r"46 of 46 Kafka jars are not in .* unset it once with a network"):
        kafka_class_path(lambda line: None)


def test_a_taken_port_is_named_with_its_remedy(stack: Stack) -> None:
    port = stack.ports["kafka-0"]
    with pytest.raises(doctor.NotReady, match=rf"Port {port} \(kafka-0\) is taken by java .pid .*: end that program"):
        raise doctor.port_taken(port, "kafka-0")


def test_java_is_the_systems_or_the_wheels() -> None:
    assert Path(doctor.java()).name == "java"


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


async def test_three_and_three_nodes_go_on_when_a_broker_and_the_primary_are_killed(tmp_path: Path) -> None:
    async with Stack(tmp_path, brokers=3, mongods=3) as cluster:
        client = cluster.as_user("evaluation")
        primary = (await client.admin.command("hello"))["primary"]
        name = next(name for name, port in cluster.ports.items() if primary.endswith(f":{port}"))

        await asyncio.gather(cluster.kill("kafka-1"), cluster.kill(name))

        await client.evaluation.kept.insert_one({"_id": "after"})
        assert (await client.admin.command("hello"))["primary"] != primary
        await asyncio.gather(cluster.start("kafka-1"), cluster.start(name))
        assert await client.evaluation.kept.count_documents({}) == 1
        client.close()
