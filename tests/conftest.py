"""Fixtures every suite may use; nothing imports from here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import PurePath

import pytest
import pytest_asyncio

from deploy.local.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Real Kafka with the declared topics and a real, authenticated mongod with its users, for the session."""
    async with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


_SECONDS: defaultdict[str, float] = defaultdict(float)
_TESTS: defaultdict[str, set[str]] = defaultdict(set)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Adds up each suite's time; set-up counts, since stacks are started there."""
    suite = str(PurePath(report.nodeid.partition("::")[0]).parent)
    _SECONDS[suite] += report.duration
    _TESTS[suite].add(report.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints each suite's time, the slowest first."""
    terminalreporter.section("time by suite")
    for suite, seconds in sorted(_SECONDS.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{seconds:8.1f} s  {len(_TESTS[suite]):5d} tests  {suite}")
