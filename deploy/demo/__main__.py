"""`python -m deploy.demo`: the programme's year in a few minutes, on real Kafka and mongod."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from deploy.demo.client import NoAnswer, Refused
from deploy.demo.clock import ClockStands
from deploy.demo.closing import Report
from deploy.demo.run import run
from deploy.demo.showing import addresses, show
from deploy.demo.stage import NeverCame
from deploy.demo.telling import Telling
from deploy.local.doctor import NotReady
from deploy.local.stack import PROJECT, AlreadyRunning, Stack

HOME = PROJECT / ".liandong" / "demo"
WRONG, NOT_STARTED, INTERRUPTED = 1, 2, 130


def main(
    scale: Annotated[float, typer.Option(min=0.01, max=1.0, help="1 = 28 pilots, 1 417 issues; 0.1 = a tenth")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed writes the same files")] = 2026,
    home: Annotated[Path, typer.Option(help="Where the stack lives while it runs; emptied first")] = HOME,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Stay up until Ctrl-C (default: on a terminal)")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The closing report as JSON on stdout")] = False,
) -> None:
    """Workbooks, closures, panels, scorecards, tilts and a veto through three services, with every figure checked."""
    staying = sys.stdout.isatty() and sys.stdin.isatty() if stay is None else stay
    raise typer.Exit(asyncio.run(_run(scale=scale, seed=seed, home=home.resolve(), staying=staying, as_json=as_json)))


async def _run(*, scale: float, seed: int, home: Path, staying: bool, as_json: bool) -> int:
    telling, ended, up = Telling(), asyncio.Event(), asyncio.Event()
    work = asyncio.current_task()
    assert work is not None

    async def stay(stack: Stack, report: Report) -> None:
        telling.stop()
        show(report, telling)
        addresses(stack, telling)
        up.set()
        await ended.wait()

    def interrupt() -> None:
        if up.is_set():
            ended.set()
        else:
            work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        telling.say(f"联动演示:项目的一年 the programme's year (scale {scale:g}, seed {seed})")
        telling.say(
            "启动 Kafka、MongoDB 和三个服务,通常半分钟 starting Kafka, MongoDB and three services: half a minute or so"
        )
        with telling:
            report = await run(home=home, seed=seed, scale=scale, telling=telling, stay=stay if staying else None)
    except (NotReady, AlreadyRunning) as error:
        telling.say(str(error))
        return NOT_STARTED
    except (Refused, NoAnswer, NeverCame, ClockStands) as error:
        telling.say(f"✗ {error}\n  日志 logs: {home / 'logs'}")
        return WRONG
    except asyncio.CancelledError:
        telling.say("已中断 interrupted")
        return INTERRUPTED
    if not staying:
        show(report, telling)
    if as_json:
        print(json.dumps(report.document(), ensure_ascii=False, indent=1))
    return WRONG if report.mismatches else 0


if __name__ == "__main__":
    typer.run(main)
