"""The short form of `make faults`: a few faults of one seed under load, then the auditor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.plan import plan
from tests.faults.run import run


def test_the_same_seed_gives_the_same_plan_with_every_kind_before_one_comes_twice() -> None:
    chosen = plan(7, brokers=3, mongods=3, count=60)

    assert chosen == plan(7, brokers=3, mongods=3, count=60)
    assert chosen != plan(8, brokers=3, mongods=3, count=60)
    once = len(set(chosen))
    assert len(set(chosen[:once])) == once


@pytest.mark.timeout(600)
async def test_a_run_of_faults_loses_doubles_and_disorders_nothing(tmp_path: Path) -> None:
    outcome = await run(tmp_path / "faults", seed=11, faults=8, brokers=1, mongods=1)

    assert outcome.findings == [], f"repeat it with: {outcome.command}"
    assert outcome.commands > 500
    assert sum(outcome.faults.values()) == 8
