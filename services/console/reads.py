"""What the command line reads from the services: figures, pilots, scorecards, tilt decisions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from deploy.local.cli import FAILED, HOME, Home, Json, fail, out
from services.console.client import Services, Unreachable, Who

Role = Annotated[str, typer.Option("--role", help="开发令牌的角色 / role of the development token")]
Regions = Annotated[str, typer.Option("--regions", help="管辖区划,空格分隔,* 为全国 / region prefixes, * for all")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="最多多少条 / how many at most")]
Filter = Annotated[
    list[str] | None, typer.Option("--where", help="筛选,如 state=approved,可重复 / a filter, may be repeated")
]


def ask(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs a read; a refusal is one sentence and a non-zero code."""
    try:
        return asyncio.run(work)
    except Unreachable as error:
        fail(str(error))


def figures(*, home: Home = HOME, as_json: Json = False) -> None:
    """各服务的数字 / What every service has accepted, written, published, applied; lag and dead letters."""
    services = Services(home.absolute(), Who())

    async def all_of_them() -> dict[str, Any]:
        names = services.names() or ["pilot_registration"]  # which then says that nothing runs
        answers = await asyncio.gather(*(services.get(name, "/operations/figures") for name in names))
        return dict(zip(names, answers, strict=True))

    told = ask(all_of_them())
    if as_json:
        out.print_json(data=told)
        return
    table = Table("服务 service")
    headers = ("命令 commands", "事实 facts", "已发布 published", "已应用 applied", "滞后 lag", "死信 dead letters")
    for header in headers:
        table.add_column(header, justify="right")
    for name, row in told.items():
        cells = [row["commands"], row["facts"], row["published"], row["applied"], sum(row["lag"].values())]
        table.add_row(name, *map(str, cells), str(row["dead_letters"]))
    out.print(table)


def resource(name: str, service: str, path: str, columns: tuple[str, ...], about: str) -> typer.Typer:
    """`liandong <name> list` and `show` over one resource of a service."""
    app = typer.Typer(name=name, no_args_is_help=True, help=about)

    @app.command("list")
    def listed(
        *,
        where: Filter = None,
        limit: Limit = 50,
        role: Role = "auditor",
        regions: Regions = "*",
        home: Home = HOME,
        as_json: Json = False,
    ) -> None:
        """列表 / The list, over as many pages as it takes."""
        query = _filters(where or [])
        client = Services(Path(home).absolute(), Who(role, regions))
        items = ask(client.pages(service, path, limit=limit, **query))
        if as_json:
            out.print_json(data=items)
        elif not items:
            out.print("没有记录 / nothing yet")
        else:
            table = Table(*columns)
            for item in items:
                table.add_row(*(_cell(item, column) for column in columns))
            out.print(table)

    @app.command("show")
    def shown(
        identifier: Annotated[str, typer.Argument(metavar="ID")],
        *,
        role: Role = "auditor",
        regions: Regions = "*",
        home: Home = HOME,
        as_json: Json = False,
    ) -> None:
        """一条记录的全部内容 / All of one record."""
        client = Services(Path(home).absolute(), Who(role, regions))
        body = ask(client.get(service, f"{path}/{quote(identifier, safe='')}"))
        if as_json:
            out.print_json(data=body)
            return
        show(body)

    return app


def show(body: dict[str, Any]) -> None:
    """One record, a field a row."""
    table = Table("字段 field", "值 value", show_lines=True)
    for field, value in body.items():
        is_text = isinstance(value, str)
        table.add_row(field, value if is_text else json.dumps(value, ensure_ascii=False, indent=1))
    out.print(table)


def _filters(pairs: list[str]) -> dict[str, str | None]:
    wrong = [pair for pair in pairs if not pair.partition("=")[1]]
    if wrong:
        fail(f"“{wrong[0]}” 应形如 名称=值。 / {wrong[0]!r} must look like name=value.", FAILED)
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _cell(item: dict[str, Any], column: str) -> str:
    value = item[column]
    if isinstance(value, dict):  # a ratio says how it is shown; figures are listed by their indicator
        return str(value["shown"]) if "shown" in value else "\n".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)


RESOURCES = (
    resource("pilots", "pilot_registration", "/pilots", ("id", "title", "state", "chain_id", "lead_region", "due_on"),
             "联动提升试点 / pilots"),
    resource("scorecards", "evaluation", "/scorecards", ("id", "name", "revision", "completeness", "values"),
             "记分卡 / scorecards"),
    resource("decisions", "incentive_scoring", "/tilt-decisions",
             ("id", "name", "state", "base", "raw", "counts", "reasons"), "倾斜决定 / tilt decisions"),
)  # fmt: skip
