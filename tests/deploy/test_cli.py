"""`liandong dev` as a person uses it: a real stack behind the command line, started in the background and in front."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local import running
from deploy.local.children import PROJECT

LIANDONG = str(PROJECT / "liandong")
SECONDS = 120


def liandong(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the launcher to its end."""
    return subprocess.run(
        [LIANDONG, *arguments], capture_output=True, text=True, timeout=SECONDS, check=False,
        env={**os.environ, "LIANDONG_HOME": str(home), **environment},
    )  # fmt: skip


def told(home: Path, *arguments: str) -> Any:
    """What a read answers as JSON."""
    done = liandong(home, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The home of a stack with one service, running in the background."""
    folder = tmp_path_factory.mktemp("dev") / "home"
    done = liandong(folder, "dev", "up", "--detach", "--services", "evaluation")
    assert done.returncode == 0, done.stderr
    yield folder
    liandong(folder, "dev", "down")


def test_a_second_up_finds_the_first_and_gives_its_addresses(home: Path) -> None:
    again = told(home, "dev", "up")
    assert set(again["addresses"]) == {"kafka-0", "mongod-0", "issuer", "evaluation-0"}
    assert again["pid"] == told(home, "dev", "status")["pid"]
    assert "已在运行" in liandong(home, "dev", "up").stdout


def test_status_tells_of_every_child_and_of_the_log_of_every_service(home: Path) -> None:
    status = told(home, "dev", "status")
    assert (status["running"], status["phase"]) == (True, "ready")
    rows = {row["name"]: row for row in status["children"]}
    assert set(rows) == {"kafka-0", "mongod-0", "issuer", "evaluation-0"}
    for row in rows.values():
        assert row["ready"] is True
        assert row["rss_bytes"] > 2**20
        assert row["restarts"] == 0
        assert Path(f"/proc/{row['pid']}").exists()
    assert rows["evaluation-0"]["figures"]["dead_letters"] == 0
    assert "evaluation-0" in liandong(home, "dev", "status").stdout


def test_figures_come_from_the_running_services(home: Path) -> None:
    figures = told(home, "figures")
    assert set(figures) == {"evaluation"}
    assert figures["evaluation"]["pending"] == 0


def test_lists_are_read_through_the_doors_and_say_when_they_are_empty(home: Path) -> None:
    assert told(home, "scorecards", "list") == []
    assert "没有记录" in liandong(home, "scorecards", "list").stdout


def test_a_record_that_is_not_there_is_a_sentence_and_no_traceback(home: Path) -> None:
    done = liandong(home, "scorecards", "show", "region:340000:2025", "--json")
    assert done.returncode != 0
    assert done.stderr.startswith("404 ")
    assert "Traceback" not in done.stderr


def test_a_service_that_does_not_run_is_named_with_the_way_out(home: Path) -> None:
    done = liandong(home, "pilots", "list")
    assert done.returncode != 0
    assert "pilot_registration does not run" in done.stderr


def test_logs_of_one_child_and_of_all(home: Path) -> None:
    one = liandong(home, "dev", "logs", "evaluation-0", "--json").stdout.splitlines()
    assert {json.loads(line)["name"] for line in one} == {"evaluation-0"}
    everybody = liandong(home, "dev", "logs", "-n", "2", "--json").stdout.splitlines()
    assert {"kafka-0", "mongod-0", "issuer"} <= {json.loads(line)["name"] for line in everybody}
    nobody = liandong(home, "dev", "logs", "nobody")
    assert nobody.returncode != 0
    assert "No log of nobody: there are evaluation-0" in nobody.stderr


def test_logs_follow_what_comes(home: Path) -> None:
    with subprocess.Popen(
        [LIANDONG, "dev", "logs", "evaluation-0", "-n", "0", "-f", "--json"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "LIANDONG_HOME": str(home)},
    ) as following:  # fmt: skip
        log = home / "logs" / "evaluation-0.log"
        deadline = time.monotonic() + SECONDS
        while not any(Path(fd).resolve() == log for fd in Path(f"/proc/{following.pid}/fd").glob("*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        told(home, "figures")
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["name"] == "evaluation-0"
        following.send_signal(signal.SIGINT)
        assert following.wait(SECONDS) == 0


def test_the_clock_goes_forward_for_every_service_and_never_back(home: Path) -> None:
    before = told(home, "dev", "clock")["offset_us"]

    moved = told(home, "dev", "clock", "+5d")["offset_us"]

    assert moved - before == pytest.approx(5 * 86_400e6, abs=60e6)
    [row] = [row for row in told(home, "dev", "status")["children"] if row["name"] == "evaluation-0"]
    assert row["clock_offset_us"] == moved
    back = liandong(home, "dev", "clock", "--to", "2024-01-01")
    assert back.returncode != 0
    assert "The clock only moves forward" in back.stderr
    assert told(home, "dev", "clock")["offset_us"] == moved


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["soon"], "must look like +5d"),
        (["+5d", "--to", "2030-01-01"], "Give one of"),
        (["--to", "yesterday"], "no date and no ISO instant"),
        (["--to", "2030-01-01T00:00"], "lacks its offset"),
    ],
)
def test_a_clock_that_is_told_nonsense_says_so(home: Path, arguments: list[str], sentence: str) -> None:
    done = liandong(home, "dev", "clock", *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_the_running_process_hide_its_secrets(home: Path) -> None:
    rows = {row["name"]: row for row in told(home, "settings", "evaluation")["settings"]}
    assert (rows["env"]["value"], rows["env"]["source"]) == ("development", "environment")
    assert (rows["mongo_password"]["value"], rows["mongo_password"]["source"]) == ("**********", "file")
    secret = (home / "secrets" / "evaluation" / "mongo_password").read_text()
    assert secret not in liandong(home, "settings", "evaluation").stdout
    assert liandong(home, "settings", "nobody").returncode != 0


def test_reset_is_refused_while_it_runs(home: Path) -> None:
    done = liandong(home, "dev", "reset", "--yes")
    assert done.returncode != 0
    assert "It is running" in done.stderr
    assert told(home, "dev", "status")["running"]


def test_down_of_another_home_leaves_this_one_alone(home: Path, tmp_path: Path) -> None:
    assert "nothing was running" in liandong(tmp_path, "dev", "down").stdout
    assert told(home, "dev", "status")["phase"] == "ready"


def test_a_killed_child_is_reported_restarted_and_counted_then_all_of_it_stops_in_order(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen(
        [LIANDONG, "dev", "up", "--services", "evaluation"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LIANDONG_HOME": str(home)},
    ) as up:  # fmt: skip
        assert up.stderr is not None
        seen = _until(up, "就绪")
        there = running.find(home)
        assert there is not None
        assert there.pid == up.pid
        assert "kafka-0" in seen

        os.kill(there.children["evaluation-0"], signal.SIGKILL)

        seen = _until(up, "evaluation-0 已重启")
        assert "evaluation-0 was ended by SIGKILL (if nobody did that, memory ran out" in seen
        [row] = [row for row in told(home, "dev", "status")["children"] if row["name"] == "evaluation-0"]
        assert (row["ready"], row["restarts"]) == (True, 1)
        pids = [*running.find(home).children.values()]  # type: ignore[union-attr]

        up.send_signal(signal.SIGINT)

        assert "stopped" in up.stderr.read()
        assert up.wait(SECONDS) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    done = liandong(home, "dev", "status", "--json")
    assert (done.returncode, json.loads(done.stdout)["running"]) == (3, False)
    assert liandong(home, "dev", "reset", "--yes").returncode == 0
    assert not home.exists()


def test_a_second_interrupt_kills(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with subprocess.Popen(
        [LIANDONG, "dev", "up", "--services", ""], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "LIANDONG_HOME": str(home)},
    ) as up:  # fmt: skip
        _until(up, "就绪")
        there = running.find(home)
        assert there is not None
        os.kill(there.children["kafka-0"], signal.SIGSTOP)  # one that would take its time
        up.send_signal(signal.SIGINT)
        _until(up, "正在停止")
        up.send_signal(signal.SIGINT)
        assert up.wait(SECONDS) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in there.children.values())


def test_a_start_that_cannot_fetch_ends_with_its_sentence(tmp_path: Path) -> None:
    for detached in ([], ["--detach"]):
        done = liandong(
            tmp_path / "home", "dev", "up", *detached, "--services", "", LIANDONG_OFFLINE="1",
            LIANDONG_CACHE=str(tmp_path / "cache"),
        )  # fmt: skip
        assert done.returncode not in (0, None)
        assert "Kafka jars are not in" in done.stderr
        assert "Traceback" not in done.stderr
        assert running.find(tmp_path / "home") is None


def test_reset_removes_nothing_that_is_not_a_stacks_folder(tmp_path: Path) -> None:
    (tmp_path / "letters").touch()
    done = liandong(tmp_path, "dev", "reset", "--yes")
    assert done.returncode != 0
    assert "is not a stack's folder" in done.stderr
    assert (tmp_path / "letters").exists()


def test_an_unknown_service_is_named_with_those_there_are(tmp_path: Path) -> None:
    done = liandong(tmp_path, "dev", "up", "--services", "evalation")
    assert done.returncode != 0
    assert "No service evalation: there are evaluation" in done.stderr


def _until(up: subprocess.Popen[str], word: str) -> str:
    """What it says up to and including a line with the word."""
    assert up.stderr is not None
    seen = ""
    while word not in seen:
        line = up.stderr.readline()
        assert line, seen
        seen += line
    return seen
