"""`python -m tests.faults --seed 7 --faults 40`: a run of faults; its outcome as JSON; exit 1 when it did not hold."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from deploy.local.stack import PROJECT
from tests.faults.run import run


def main() -> int:
    """Runs one seed after the other and writes what they came to."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, counting up from --seed")
    parser.add_argument("--faults", type=int, default=40)
    parser.add_argument("--brokers", type=int, default=1)
    parser.add_argument("--mongods", type=int, default=1)
    parser.add_argument("--out", type=Path, default=PROJECT / ".liandong" / "faults")
    given = parser.parse_args()
    held = True
    for seed in range(given.seed, given.seed + given.seeds):
        outcome = asyncio.run(
            run(
                given.out / f"seed-{seed}", seed=seed, faults=given.faults, brokers=given.brokers, mongods=given.mongods
            )
        )
        report = given.out / f"seed-{seed}.json"
        report.write_text(json.dumps(asdict(outcome), ensure_ascii=False, indent=1) + "\n")
        print(json.dumps(asdict(outcome), ensure_ascii=False, indent=1))
        if not outcome.held:
            held = False
            print(f"NOT HELD. Repeat it with: {outcome.command}")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
