"""Prints the closing report: the table, the top scorecards, one decision line by line, one veto, where to look."""

from __future__ import annotations

from rich.table import Table

from deploy.demo.closing import Report
from deploy.demo.stage import SERVICES
from deploy.demo.telling import Telling
from deploy.local.stack import Stack

_INDICATORS = ("I01", "I02", "I03", "I04", "I05", "I06", "I09", "I34")


def show(report: Report, telling: Telling) -> None:
    """All of it, the verdict last."""
    _figures(report, telling)
    _cards(report, telling)
    for mismatch in report.mismatches:
        telling.say(f"✗ {mismatch}")
    if not report.mismatches:
        took = sum(report.seconds.values())
        telling.say(f"✓ 每个数字都与申报文件相符 every figure is as the files say ({took:.0f} s, seed {report.seed})")


def addresses(stack: Stack, telling: Telling) -> None:
    """Where to look while it stays up."""
    telling.say("\n看一看 to look at:")
    for name in SERVICES:
        telling.say(f"  {name:<20} {stack.url(name)}/docs   /metrics   /operations/figures")
    telling.say(f"  {'token':<20} curl -d 'sub=me&roles=office&regions=*' {stack.issuer_url}/token")
    telling.say("Ctrl-C 结束,不留痕迹 / ends it and leaves nothing behind")


def _figures(report: Report, telling: Telling) -> None:
    table = Table(title="运行中的系统 what the running system says")
    table.add_column("服务 service")
    for header in ("受理 commands", "答复 answered", "事实 facts", "发布 published", "消费 applied", "滞后 lag",
                   "死信 dead letters"):  # fmt: skip
        table.add_column(header, justify="right")
    for name, line in report.lines.items():
        figures = (line.commands, line.accepted, line.facts, line.published, line.applied, line.lag, line.dead_letters)
        table.add_row(name, *(f"{figure:,}" for figure in figures))
    telling.console.print(table)
    telling.say("  ".join(f"{name} {count:,}" for name, count in report.counts.items()))


def _cards(report: Report, telling: Telling) -> None:
    cards = Table(title="记分卡(按核验销号率) top scorecards by verified closure rate")
    for header in ("地区 region", "版次 rev.", *_INDICATORS):
        cards.add_column(header)
    for card in report.scorecards:
        shown = (str(card["values"].get(indicator, "")).partition(" / ")[0] for indicator in _INDICATORS)
        cards.add_row(card["name"], str(card["revision"]), *shown)
    telling.console.print(cards)
    card = report.late["scorecard_id"]
    for revision in report.late["revisions"]:
        if by := revision["superseded_by"]:
            telling.say(
                f"{card} 第 {revision['revision']} 版被取代 superseded by {by['causing_type']} {by['causing_fact']}"
            )
