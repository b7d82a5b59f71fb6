"""`liandong dev`: the local stack from the command line. A fault is a sentence in two languages, never a traceback."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from deploy.local import lines, running
from deploy.local.children import PROJECT
from deploy.local.doctor import NotReady, make_folder
from deploy.local.packages import service_packages

if TYPE_CHECKING:
    from deploy.local.stack import Stack

# The stack and the clock bring the drivers of Kafka and MongoDB and every contract: only the commands that need them
# load them, for the others answer in a third of the time without.

app = typer.Typer(
    name="dev", no_args_is_help=True, pretty_exceptions_enable=False, help="本机运行环境 / the stack on this machine"
)
_WIDTH = None if sys.stdout.isatty() else 160  # a pipe has no width: keep a row on one line
out, err = Console(width=_WIDTH), Console(stderr=True)

FAILED, USAGE, NOT_RUNNING, INTERRUPTED = 1, 2, 3, 130
_DETACHED_LOG = "stack.log"
_POLL_SECONDS = 0.1

Home = Annotated[Path, typer.Option("--home", envvar="LIANDONG_HOME", help="数据目录 / the stack's folder")]
Json = Annotated[bool, typer.Option("--json", help="输出 JSON / as JSON")]
HOME = PROJECT / ".liandong" / "dev"


def fail(sentence: str, code: int = FAILED) -> NoReturn:
    """Says what went wrong on standard error and ends with the code."""
    err.print(sentence, style="red", highlight=False, markup=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def sentences() -> Iterator[None]:
    """Turns what a user can do something about into a sentence and a non-zero code."""
    try:
        yield
    except NotReady as error:
        fail(str(error))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        fail(
            f"磁盘已满({error.filename}):请清理后重试。 / "
            f"The disk is full ({error.filename}): free some space and try again."
        )


def _store_away(error: Exception) -> NoReturn:
    fail(f"数据库未响应。 / The store did not answer: {str(error).splitlines()[0][:200]}")


def found(home: Path) -> running.Running:
    """The stack of the home; ends with a sentence when none runs or it is not ready to be asked."""
    there = running.find(home)
    if there is None:
        fail(
            f"{home} 没有在运行:请先 `./liandong dev up`。 / Nothing runs in {home}: `./liandong dev up` starts it.",
            NOT_RUNNING,
        )
    return there


def do(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a coroutine under `sentences`."""
    with sentences():
        return asyncio.run(work)


@app.command()
def up(
    *,
    home: Home = HOME,
    brokers: Annotated[int, typer.Option(min=1, max=5, help="Kafka 节点数 / Kafka nodes")] = 1,
    mongods: Annotated[int, typer.Option(min=1, max=7, help="mongod 节点数 / mongod nodes")] = 1,
    services: Annotated[
        str | None, typer.Option(help="逗号分隔,缺省为全部 / comma separated, all of them when absent; '' for none")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="在后台运行 / run in the background")] = False,
    level: Annotated[lines.Level, typer.Option(help="显示的最低日志级别 / least level shown")] = "info",
    as_json: Json = False,
) -> None:
    """启动全部并保持运行,直到 Ctrl-C / Start everything and stay until Ctrl-C (a second Ctrl-C kills)."""
    home = home.absolute()
    chosen = service_packages() if services is None else tuple(filter(None, services.replace("-", "_").split(",")))
    if unknown := set(chosen) - set(service_packages()):
        have = ", ".join(service_packages())
        fail(f"没有服务 {', '.join(unknown)}:可用 {have}。 / No service {', '.join(unknown)}: there are {have}.", USAGE)
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    from deploy.local.stack import AlreadyRunning, Stack  # noqa: PLC0415

    with sentences():
        if running.held(home):
            _already(home, as_json=as_json)
        elif detach:
            _detach(home, brokers, mongods, chosen, as_json=as_json)
        else:
            show = _printer(level if not as_json else "error")
            stack = Stack(home, brokers=brokers, mongods=mongods, services=chosen, issuer=True, say=show)
            try:
                code = asyncio.run(_stay(stack, show, as_json=as_json))
            except PyMongoError as error:
                _store_away(error)
            except AlreadyRunning:  # it began between our look and our start
                _already(home, as_json=as_json)
                return
            raise typer.Exit(code)


async def _stay(stack: Stack, show: Callable[[str, str], None], *, as_json: bool) -> int:
    asked = asyncio.Event()
    work = asyncio.create_task(stack.up())

    def stop() -> None:
        if asked.is_set():
            stack.kill_now()
            return
        asked.set()
        show("stack", "正在停止,再按一次 Ctrl-C 强制结束 / stopping, Ctrl-C again kills")
        work.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    began = time.monotonic()
    try:
        await work
    except asyncio.CancelledError:
        return INTERRUPTED
    there = running.find(stack.home)
    assert there is not None
    show("stack", f"就绪,用时 {time.monotonic() - began:.1f} 秒 / ready")
    _addresses(there, as_json=as_json)
    watch = asyncio.create_task(stack.watch(lambda sentence: show("stack", f"ERROR {sentence}")))
    await asked.wait()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    await stack.down()
    show("stack", "已停止 / stopped")
    return 0


def _already(home: Path, *, as_json: bool) -> None:
    while (there := running.find(home)) is not None and there.phase == "starting":
        time.sleep(_POLL_SECONDS)
    if there is None:
        fail(f"{home} 的另一次启动没有成功,请重试。 / Another start of {home} failed: try again.")
    if not as_json:
        out.print(f"已在运行 (pid {there.pid}) / running already", highlight=False)
    _addresses(there, as_json=as_json)


def _detach(home: Path, brokers: int, mongods: int, services: tuple[str, ...], *, as_json: bool) -> None:
    make_folder(home / "logs")
    log = home / "logs" / _DETACHED_LOG
    command = [sys.executable, "-m", "deploy.local", "up", "--home", str(home), "--services", ",".join(services)]
    command += ["--brokers", str(brokers), "--mongods", str(mongods), "--level", "warning"]
    with log.open("ab") as written, log.open(errors="replace") as told:
        told.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=written, stderr=written, start_new_session=True, cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT), "COLUMNS": "200"},
        )  # fmt: skip
        while True:
            code = process.poll()
            text = told.read()
            if text and not as_json:
                err.print(text, end="", markup=False, highlight=False, soft_wrap=True)
            there = running.find(home)
            if code is None and there is not None and there.pid == process.pid and there.phase == "ready":
                break
            if code is not None:
                if as_json:
                    err.print(text, end="", markup=False, highlight=False, soft_wrap=True)
                raise typer.Exit(code or FAILED)
            time.sleep(_POLL_SECONDS)
    if not as_json:
        out.print(
            "在后台运行;`./liandong dev down` 停止 / runs in the background; `dev down` stops it", highlight=False
        )
    _addresses(there, as_json=as_json)


@app.command()
def down(home: Home = HOME) -> None:
    """停止本目录的运行环境 / Stop the stack of this folder, in order."""
    stopped = do(running.stop(home.absolute()))
    out.print("已停止 / stopped" if stopped else "没有在运行 / nothing was running", highlight=False)


@app.command()
def status(home: Home = HOME, as_json: Json = False) -> None:
    """各进程的状态与数字 / Every process: pid, port, memory, readiness, restarts, lag and facts."""
    home = home.absolute()
    there = running.find(home)
    if there is None:
        if as_json:
            out.print_json(data={"running": False, "home": str(home), "children": []})
            raise typer.Exit(NOT_RUNNING)
        found(home)
        return
    rows = do(running.status(there))
    if as_json:
        told = {"running": True, "phase": there.phase, "home": str(home), "pid": there.pid, "children": rows}
        out.print_json(data=told)
        return
    table = Table(title=f"{home}  pid {there.pid}  {there.phase}", title_justify="left", box=box.SIMPLE)
    for header in ("名称 name", "pid", "端口 port", "内存 RSS", "就绪 ready", "重启 restarts"):
        table.add_column(header)
    for header in ("命令 commands", "事实 facts", "已发布 published", "滞后 lag", "死信 letters"):
        table.add_column(header, justify="right")
    for row in rows:
        figures = row["figures"] or {}
        lag = str(sum(figures["lag"].values())) if figures else ""
        rss = f"{row['rss_bytes'] / 2**20:.0f} MB" if row["rss_bytes"] else "–"
        ready = "✓" if row["ready"] else f"✗ {'; '.join(row['complaints'])}"
        counted = [str(figures.get(key, "")) for key in ("commands", "facts", "published")]
        cells = [row["name"], str(row["pid"] or "–"), str(row["port"]), rss, ready, str(row["restarts"])]
        table.add_row(*cells, *counted, lag, str(figures.get("dead_letters", "")))
    out.print(table)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="进程名,缺省为全部 / one child, or all of them")] = None,
    *,
    home: Home = HOME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="持续显示 / go on")] = False,
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="每个进程的末尾行数 / last lines of each")] = 40,
    level: Annotated[lines.Level, typer.Option(help="最低级别 / least level")] = "debug",
    as_json: Json = False,
) -> None:
    """查看日志 / What the processes have printed, also after they have ended."""
    folder = home.absolute() / "logs"
    have = sorted(path.stem for path in folder.glob("*.log"))
    if name is not None and name not in have:
        fail(
            f"没有 {name} 的日志:现有 {', '.join(have) or '无'}。 / "
            f"No log of {name}: there are {', '.join(have) or 'none'}."
        )
    files = {each: (folder / f"{each}.log").open(errors="replace") for each in ([name] if name else have)}
    try:
        for each, file in files.items():
            for raw in file.read().splitlines()[-count:] if count else []:
                _print_line(lines.read(each, raw), level, as_json=as_json)
        while follow:
            if not any([_print_new(each, file, level, as_json=as_json) for each, file in files.items()]):
                time.sleep(_POLL_SECONDS)
    except (KeyboardInterrupt, BrokenPipeError):
        return
    finally:
        for file in files.values():
            file.close()


@app.command()
def reset(
    home: Home = HOME, yes: Annotated[bool, typer.Option("--yes", "-y", help="不询问 / do not ask")] = False
) -> None:
    """删除本目录的全部数据 / Remove all data of this folder; refused while it runs."""
    home = home.absolute()
    if running.held(home):
        fail("正在运行:请先 `./liandong dev down`。 / It is running: `./liandong dev down` first.")
    if not home.exists():
        out.print("没有数据 / nothing to remove")
        return
    if not (home / "lock").exists():
        fail(f"{home} 不是本系统的数据目录,不予删除。 / {home} is not a stack's folder: not removed.")
    if not yes and not typer.confirm(f"删除 {home} 的全部数据? / Remove all data of {home}?"):
        raise typer.Exit(FAILED)
    shutil.rmtree(home)
    out.print(f"已删除 / removed {home}", highlight=False, soft_wrap=True)


@app.command(context_settings={"ignore_unknown_options": True})
def clock(
    step: Annotated[str | None, typer.Argument(help="+5d、+3h、+10m、+30s")] = None,
    home: Home = HOME,
    working_days: Annotated[
        int | None, typer.Option("--working-days", min=1, max=250, help="到第 n 个工作日结束 / to the n-th day's end")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", help="日期或 ISO 时间 / a date or an ISO instant")] = None,
    as_json: Json = False,
) -> None:
    """查看或向前拨动开发时钟 / Show the development clock, or move it forward for every process alike."""
    there = found(home.absolute())
    if there.phase != "ready":
        fail(f"尚未就绪({there.phase})。 / It is not ready yet ({there.phase}).")
    do(_clock(there, step, working_days, to, as_json=as_json))


async def _clock(
    there: running.Running, step: str | None, working_days: int | None, to: str | None, *, as_json: bool
) -> None:
    from pymongo.errors import PyMongoError  # noqa: PLC0415

    from deploy.local import devclock  # noqa: PLC0415
    from shared.codes.working_days import CalendarMissing  # noqa: PLC0415

    hand = devclock.DevClock(there)
    try:
        if step is not None or working_days is not None or to is not None:
            goal = devclock.target(await hand.now(), step=step, working_days=working_days, to=to)
            await hand.move(goal)
        now, offset = await hand.now(), await hand.offset_us()
    except devclock.ClockRefused as error:
        fail(str(error))
    except CalendarMissing as error:
        fail(f"{error.zh}。 / {error.en}.")
    except PyMongoError as error:
        _store_away(error)
    finally:
        hand.close()
    if as_json:
        out.print_json(data={"now": devclock.shown(now), "offset_us": offset, "services": list(there.services)})
    else:
        out.print(f"{devclock.shown(now)}  ({offset / 86_400e6:+.2f} 天 days)", highlight=False)


def _addresses(there: running.Running, *, as_json: bool) -> None:
    if as_json:
        out.print_json(data={"running": True, "pid": there.pid, "home": str(there.home), "addresses": there.addresses})
        return
    for name, address in there.addresses.items():
        docs = f"   {address}/docs" if name in there.services else ""
        out.print(f"  {name:<24}{address}{docs}", highlight=False, soft_wrap=True)


def _printer(level: lines.Level) -> Callable[[str, str], None]:
    def show(name: str, raw: str) -> None:
        line = lines.read(name, raw)
        # mongod tells hundreds of things about itself while it starts; `dev logs` has them all.
        least: lines.Level = "warning" if name.startswith("mongod-") and level == "info" else level
        if name in ("stack", "kafka") or line.at_least(least):  # our own words and the downloads
            err.print(line.pretty(), soft_wrap=True)

    return show


def _print_line(line: lines.Line, level: lines.Level, *, as_json: bool) -> None:
    if not line.at_least(level):
        return
    if as_json:
        print(json.dumps({"name": line.name, "level": line.level, "text": line.text}, ensure_ascii=False), flush=True)
    else:
        out.print(line.pretty(), soft_wrap=True)


def _print_new(name: str, file: IO[str], level: lines.Level, *, as_json: bool) -> bool:
    new = file.read().splitlines()
    for raw in new:
        _print_line(lines.read(name, raw), level, as_json=as_json)
    return bool(new)
