"""What an operator does from the command line: dead letters looked at and settled, a service's log verified."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from deploy.local.cli import FAILED, HOME, Home, Json, out
from services.console.client import Services, Who
from services.console.reads import Limit, ask, show

_VERIFY_SECONDS = 3600.0  # it reads the whole log

letters = typer.Typer(name="dead-letters", no_args_is_help=True, help="死信 / facts that could not be applied")
log = typer.Typer(name="log", no_args_is_help=True, help="服务的日志 / a service's log")

Service = Annotated[str, typer.Argument(help="例如 evaluation / for example evaluation")]
Letter = Annotated[str, typer.Argument(metavar="ID", help="主题|分区|位置 / topic|partition|offset")]
State = Annotated[list[str] | None, typer.Option("--state", help="open parked foreign replayed discarded")]
_PATH = "/operations/dead-letters"


@letters.command("list")
def listed(
    service: Service, *, state: State = None, limit: Limit = 50, home: Home = HOME, as_json: Json = False
) -> None:
    """等待处理的死信 / The letters that wait, or those in the states asked for."""
    client, package = Services(home.absolute(), Who()), _package(service)
    found: list[dict[str, object]] = []
    if not state:
        found = ask(client.pages(package, _PATH, limit=limit))
    for each in state or []:
        found += ask(client.pages(package, _PATH, limit=limit, state=each))
    if as_json:
        out.print_json(data=found)
    elif not found:
        out.print("没有死信 / no dead letters")
    else:
        columns = ("id", "state", "code", "type", "subject", "at")
        table = Table(*columns)
        for letter in found:
            table.add_row(*(str(letter[column] or "–") for column in columns))
        out.print(table)


@letters.command("show")
def shown(service: Service, letter: Letter, *, home: Home = HOME, as_json: Json = False) -> None:
    """一封死信 / One letter: where the record lies and why, never what is in it."""
    body = ask(Services(home.absolute(), Who()).get(_package(service), f"{_PATH}/{quote(letter, safe='')}"))
    out.print_json(data=body) if as_json else show(body)


@letters.command("replay")
def replay(service: Service, letter: Letter, *, home: Home = HOME, as_json: Json = False) -> None:
    """重放此死信及其后等待的事实 / Apply this letter's fact and those that wait behind it."""
    _settle(service, letter, "replay", {}, home, as_json=as_json)


@letters.command("discard")
def discard(
    service: Service,
    letter: Letter,
    *,
    reason: Annotated[str, typer.Option("--reason", help="理由,写入日志 / why; it is written into the log")],
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """作废此死信 / Give this letter's fact up for good."""
    _settle(service, letter, "discard", {"reason": reason}, home, as_json=as_json)


@log.command("verify")
def verify(service: Service, *, home: Home = HOME, as_json: Json = False) -> None:
    """通读日志,核对完整性 / Read the whole log and say whether it is whole; ends with code 1 when it is not."""
    client = Services(home.absolute(), Who())
    verdict = ask(client.get(_package(service), "/operations/verify", seconds=_VERIFY_SECONDS))
    out.print_json(data=verdict) if as_json else show(verdict)
    if not verdict["whole"]:
        raise typer.Exit(FAILED)


def _settle(service: str, letter: str, verb: str, body: dict[str, str], home: Home, *, as_json: bool) -> None:
    client = Services(home.absolute(), Who(role="office"))
    answer = ask(client.post(_package(service), f"{_PATH}/{quote(letter, safe='')}/{verb}", body))
    if as_json:
        out.print_json(data=answer)
        return
    done = answer["details"]["letters"]
    out.print(f"已处理 {len(done)} 条 / settled {len(done)}: {', '.join(done)}", highlight=False, soft_wrap=True)


def _package(service: str) -> str:
    return service.replace("-", "_")
