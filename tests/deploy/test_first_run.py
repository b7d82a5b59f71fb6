"""The launcher on a fresh clone, and where the development clock is sent: neither needs a stack."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from deploy.local import devclock
from deploy.local.children import PROJECT
from services.console import reads

MAKEFILE = """setup:
\t@echo set-up >> calls
\t@mkdir -p .venv/bin && cp python.sh .venv/bin/python && touch .venv/.installed
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A tree with the real launcher, whose set-up leaves a Python that tells how it was called."""
    shutil.copy(PROJECT / "liandong", tmp_path)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "python.sh").write_text('#!/bin/sh\necho "$PYTHONPATH $*"\n')
    (tmp_path / "python.sh").chmod(0o755)
    return tmp_path


def launch(clone: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [clone / "liandong", *arguments], capture_output=True, text=True, timeout=60, check=False, cwd="/",
        env=environment,
    )  # fmt: skip


def test_the_first_run_sets_up_says_so_and_goes_on_and_the_second_only_goes_on(clone: Path) -> None:
    first, second = launch(clone, "dev", "status"), launch(clone, "dev", "status")
    assert first.stdout == second.stdout == f"{clone} -m services.console.cli dev status\n"
    assert "首次运行" in first.stderr
    assert "first run" in first.stderr
    assert second.stderr == ""
    assert (clone / "calls").read_text() == "set-up\n"


def test_a_first_run_whose_set_up_fails_says_what_to_do_and_runs_nothing(clone: Path) -> None:
    (clone / "Makefile").write_text("setup:\n\t@echo no network >&2; exit 1\n")
    done = launch(clone, "dev", "status")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no network" in done.stderr
    assert "then run make setup" in done.stderr


@pytest.mark.parametrize(
    ("now", "days", "there"),
    [
        ("2025-09-26T10:00+08:00", 5, "2025-10-11T00:00+08:00"),  # over the National Day holidays
        ("2025-09-25T17:00+00:00", 5, "2025-10-11T00:00+08:00"),  # 01:00 of the 26th here
        ("2026-11-25T10:00+08:00", 1, "2026-11-27T00:00+08:00"),
    ],
)
def test_the_clock_goes_to_the_end_of_a_working_day_as_people_here_count_them(now: str, days: int, there: str) -> None:
    goal = devclock.target(datetime.fromisoformat(now), step=None, working_days=days, to=None)
    assert goal == datetime.fromisoformat(there)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"numerator": 1, "denominator": 1, "shown": "100.00 %"}, "100.00 %"),
        ({"I05": "1", "I34": "100.00 %"}, "I05 1\nI34 100.00 %"),
        (["G2", "G3"], "G2, G3"),
        ([], ""),
        (None, "–"),
        (3, "3"),
    ],
)
def test_a_cell_shows_a_value_as_people_read_it(value: object, shown: str) -> None:
    assert reads._cell({"column": value}, "column") == shown
