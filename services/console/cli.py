"""`liandong`: everything that can be done from the command line, assembled."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.table import Table

from deploy.local import cli as dev
from deploy.local import running
from deploy.local.cli import HOME, USAGE, Home, Json, fail, out
from deploy.local.packages import service_packages
from services.console import operations, reads

app = typer.Typer(
    name="liandong",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="联动:产业链供应链质量联动提升 / Liandong: quality linkage along industrial and supply chains",
)
app.add_typer(dev.app, name="dev")
app.command("figures")(reads.figures)
app.add_typer(operations.letters)
app.add_typer(operations.log)
for resource in reads.RESOURCES:
    app.add_typer(resource)


@app.command()
def settings(
    service: Annotated[str, typer.Argument(help="例如 evaluation / for example evaluation")],
    *,
    home: Home = HOME,
    as_json: Json = False,
) -> None:
    """服务的全部设置、含义与来源,不显示密钥 / Every setting of a service, its meaning and its source; secrets hidden.

    Those of the running process when the local stack runs, else those that this environment would give.
    """
    from deploy.local import sheet  # noqa: PLC0415 - loads the settings of all, and pydantic

    package = service.replace("-", "_")
    if package not in service_packages():
        have = ", ".join(service_packages())
        fail(f"没有服务 {service}:可用 {have}。 / There is no service {service}: there are {have}.", USAGE)
    stack = running.find(home.absolute())
    pid = stack.children.get(f"{package.replace('_', '-')}-0") if stack else None
    environment = sheet.environment_of(pid) if pid else dict(os.environ)
    rows = sheet.sheet(package, environment)
    if as_json:
        out.print_json(data={"service": package, "pid": pid, "settings": [row.document() for row in rows]})
        return
    title = f"{package} · {f'进程 process {pid}' if pid else '本终端环境 this environment'}"
    table = Table("设置 setting", "值 value", "来源 source", "含义 meaning", title=title, title_justify="left")
    for row in rows:
        table.add_row(row.variable, row.value if row.value is not None else "–", row.source, row.meaning)
    out.print(table)


if __name__ == "__main__":
    app(prog_name="liandong")
