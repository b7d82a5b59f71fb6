"""`make demo` in small: the whole year ends with every figure right, whatever is killed in the middle of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.demo.closing import Report
from deploy.demo.run import Beside, run
from deploy.demo.stage import EVALUATION, INCENTIVES, REGISTRATION, Stage
from deploy.demo.telling import Telling
from deploy.local.stack import PROJECT, Stack

SEED, SMALL = 5, 0.03


async def the_year(home: Path, *, beside: Beside | None = None) -> Report:
    return await run(home=home, seed=SEED, scale=SMALL, telling=Telling(quiet=True), beside=beside)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The year of the seed with nothing in its way."""
    return await the_year(tmp_path_factory.mktemp("undisturbed") / "home")


def test_the_demo_without_a_terminal_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "deploy.demo",
        "--scale",
        "0.1",
        "--home",
        str(tmp_path / "below" / "demo"),
        "--json",
    ]

    ended = subprocess.run(
        command, check=False, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=280
    )

    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["mismatches"] == []
    for line in report["lines"].values():
        assert line["facts"] == line["published"] > 0
        assert line["lag"] == line["dead_letters"] == line["pending"] == 0
    assert report["veto"]
    assert report["explanation"]
    assert list(tmp_path.iterdir()) == []


async def test_every_figure_of_an_undisturbed_year_is_as_the_files_say(undisturbed: Report) -> None:
    assert undisturbed.mismatches == []
    assert undisturbed.scorecards


async def test_services_killed_under_load_lose_and_double_nothing(undisturbed: Report, tmp_path: Path) -> None:
    async def beside(stack: Stack, stage: Stage) -> None:
        await kill(stack, stage, "pilot-registration-0", when=lambda: accepted(stage, REGISTRATION) > 100)
        await kill(stack, stage, "pilot-registration-0", when=lambda: routed(stage, "/quality-issues/assign") > 5)
        await kill(stack, stage, "evaluation-0", when=lambda: accepted(stage, EVALUATION) > 3)
        await kill(stack, stage, "incentive-scoring-0", when=lambda: accepted(stage, INCENTIVES) > 5)

    report = await the_year(tmp_path / "home", beside=beside)

    assert report.mismatches == []
    assert report.figures() == undisturbed.figures()


@pytest.mark.parametrize("victim", ["kafka-0", "mongod-0"])
async def test_the_broker_or_the_store_killed_under_load_loses_and_doubles_nothing(
    undisturbed: Report, tmp_path: Path, victim: str
) -> None:
    async def beside(stack: Stack, stage: Stage) -> None:
        await kill(stack, stage, victim, when=lambda: accepted(stage, REGISTRATION) > 100)
        await kill(stack, stage, victim, when=lambda: accepted(stage, EVALUATION) > 3)

    report = await the_year(tmp_path / "home", beside=beside)

    assert report.mismatches == []
    assert report.figures() == undisturbed.figures()


async def kill(stack: Stack, stage: Stage, name: str, *, when: Callable[[], bool]) -> None:
    async def now() -> bool:
        return when()

    await stage.until(f"the moment to kill {name}", now)
    await stack.kill(name)
    await asyncio.shield(stack.start(name))


def accepted(stage: Stage, service: str) -> int:
    return len(stage.client.ledgers[service].keys)


def routed(stage: Stage, route: str) -> int:
    return stage.client.ledgers[REGISTRATION].commands_by_route[route]
