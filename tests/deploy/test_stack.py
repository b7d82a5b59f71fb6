"""The local stack on the real thing: who may do what, no second run, no orphan, and sentences instead of tracebacks."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from pymongo.errors import OperationFailure

from deploy.local import doctor, running
from deploy.local.children import PROJECT
from deploy.local.fetch import FetchError, kafka_class_path
from deploy.local.stack import AlreadyRunning, Stack, service_packages

UNAUTHORIZED = 13


async def test_every_service_of_this_checkout_has_a_database_user(stack: Stack) -> None:
    assert set(service_packages()) <= set(stack.users)
    assert "pilot_registration" in stack.users


async def test_a_service_user_is_refused_in_every_other_services_database(stack: Stack) -> None:
    for user in stack.users:
        client = stack.as_user(user)
        assert await client[user].commits.count_documents({}) >= 0
        for other in [*set(stack.users) - {user}, "admin"]:
            for attempt in (client[other].pilots.find_one({}), client[other].pilots.insert_one({})):
                with pytest.raises(OperationFailure) as refused:
                    await attempt
                assert refused.value.code == UNAUTHORIZED, (user, other)
        client.close()


async def test_the_clocks_user_reaches_nothing_but_the_clock(stack: Stack) -> None:
    client = stack.as_user("clock")
    for service in stack.users:
        with pytest.raises(OperationFailure) as refused:
            await client[service].commits.find_one({})
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


PROGRAM = (
    "import asyncio, pathlib, sys\n"
    "from deploy.local.stack import Stack\n"
    "async def main():\n"
    "    async with Stack(pathlib.Path(sys.argv[1]), issuer=True):\n"
    "        print('up', flush=True)\n"
    "        await asyncio.Event().wait()\n"
    "asyncio.run(main())\n"
)


@pytest.fixture
def path_without_setpriv(tmp_path: Path) -> str:
    """A PATH with what the stack needs from the system, but setpriv."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("java", "ldd", "sh", "bash", "cat", "nice"):
        if found := shutil.which(name):
            (folder / name).symlink_to(Path(found).resolve() if name == "java" else found)
    return str(folder)


async def killed(home: Path, path: str) -> None:
    """Starts a stack in a process of its own, kills that process with SIGKILL, waits until nothing is left of it."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "PATH": path}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(home), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"up\n"
    children = json.loads((home / "state.json").read_text())["children"]
    assert set(children) == {"kafka-0", "mongod-0", "issuer"}

    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()

    deadline = asyncio.get_running_loop().time() + 20
    while any(_lives(pid) for pid in children.values()):
        assert asyncio.get_running_loop().time() < deadline, "a child outlived its parent"
        await asyncio.sleep(0.02)
    assert running.find(home) is None  # what its state file still says is not believed


async def test_no_child_outlives_a_parent_killed_with_sigkill_and_the_home_starts_again(tmp_path: Path) -> None:
    await killed(tmp_path / "home", os.environ["PATH"])
    async with Stack(tmp_path / "home") as again:
        assert await again.as_user("evaluation").evaluation.commits.count_documents({}) == 0


async def test_no_child_outlives_its_parent_where_setpriv_is_missing(tmp_path: Path, path_without_setpriv: str) -> None:
    assert shutil.which("setpriv", path=path_without_setpriv) is None
    await killed(tmp_path / "home", path_without_setpriv)


async def test_a_child_that_ends_by_itself_is_named_with_how_and_its_last_lines(tmp_path: Path) -> None:
    async with Stack(tmp_path) as own:
        await own.kill("kafka-0")
        os.kill(own.children["mongod-0"].process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        assert await asyncio.wait_for(own.wait_any_exit(), 30) == "mongod-0"  # not the one that we have ended
        told = own.children["mongod-0"].how_it_ended()
    assert "mongod-0 was ended by SIGKILL (if nobody did that, memory ran out" in told
    assert told.splitlines()[-1].strip().startswith("{")


async def test_a_service_has_several_processes_each_paused_resumed_and_killed_by_itself(tmp_path: Path) -> None:
    async with Stack(tmp_path, services=("evaluation",), issuer=True) as own, httpx2.AsyncClient(timeout=1) as http:
        await own.start("evaluation-1")
        first, second = own.url("evaluation"), own.url("evaluation", 1)
        own.pause("evaluation-0")
        with pytest.raises(httpx2.TimeoutException):
            await http.get(f"{first}/health/live")
        assert (await http.get(f"{second}/health/live")).status_code in (200, 503)
        own.resume("evaluation-0")
        assert (await http.get(f"{first}/health/live", timeout=30)).status_code in (200, 503)
        await own.kill("evaluation-1")
        await own.start("evaluation-1")
        assert own.url("evaluation", 1) == second
        own.pause("evaluation-1")
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < own.children["evaluation-1"].stop_seconds  # it heard us


async def test_a_service_that_does_not_exist_is_refused_with_those_that_do(stack: Stack) -> None:
    with pytest.raises(doctor.NotReady, match="There is no service nobody-0: there are evaluation"):
        await stack.start("nobody-0")


async def test_stacks_that_start_at_the_same_time_do_not_meet(tmp_path: Path) -> None:
    one, two = Stack(tmp_path / "one", issuer=True), Stack(tmp_path / "two", issuer=True)
    try:
        await asyncio.gather(one.up(), two.up())
        assert not set(one.ports.values()) & set(two.ports.values())
        assert one.issuer_url != two.issuer_url
    finally:
        await asyncio.gather(one.down(), two.down())


async def test_a_new_homes_clock_begins_where_it_is_told_and_a_kept_one_goes_on(tmp_path: Path) -> None:
    begins = datetime(2025, 1, 6, 9, tzinfo=UTC)
    for told in (begins, datetime(2024, 1, 1, tzinfo=UTC)):
        async with Stack(tmp_path, clock_at=told) as own:
            client = own.as_user("clock")
            offset = (await client.liandong_clock.clock.find_one({"_id": "clock"}))["offset_us"]
            client.close()
    assert datetime.now(UTC) + timedelta(microseconds=offset) - begins < timedelta(minutes=10)


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
