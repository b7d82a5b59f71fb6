"""Prints the closing report: the table, the top scorecards, one decision line by line, one veto, where to look."""

from __future__ import annotations

from rich.table import Table

from deploy.demo.closing import Report
from deploy.demo.stage import SERVICES
from deploy.demo.telling import Telling
from deploy.local.stack import Stack

MOVES_SHOWN = 12
_EFFECTS = {
    "tilt_reversed": "撤销倾斜 tilt reversed",
    "reranked": "重新排名 ranked afresh",
    "revocation_proposed": "建议撤销奖励 revocation proposed",
}
_INDICATORS = ("I01", "I02", "I03", "I04", "I05", "I06", "I09", "I34")


def show(report: Report, telling: Telling) -> None:
    """All of it, the verdict last."""
    _figures(report, telling)
    _cards(report, telling)
    _explanation(report, telling)
    _veto(report, telling)
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


def _explanation(report: Report, telling: Telling) -> None:
    """One tilt decision, line by line, as whoever receives it reads it."""
    told, say = report.explanation, telling.say
    say(f"\n倾斜决定 tilt decision: {told['name']} {told['subject']} · {told['policy']['version']} · {told['outcome']}")
    for gate in told["gates"]:
        say(f"  {'✓' if gate['held'] else '✗'} {gate['gate']} {gate['zh']} {gate['en']}: {gate['figure']}")
    for leaf in told["components"]:
        note = leaf["note"]["zh"] or f"{len(leaf['evidence'])} 条事实 facts, {leaf['evidence'][0]} …"
        say(f"  {leaf['points']:>8} = {leaf['weight']} × {leaf['value']}  {leaf['zh']} {leaf['indicator']}  ({note})")
    say(f"  {told['reconciliation']['line']}")
    card = told["scorecard"]
    say(f"  记分卡 scorecard {card['id']} 第 {card['revision']} 版;由钉住的输入重算 recomputes: {told['recomputed']}")


def _veto(report: Report, telling: Telling) -> None:
    """Whom the veto moves: by rank, with the places won and lost."""
    veto, say = report.veto, telling.say
    name = veto["names"][veto["subject"]]
    say(f"\n一票否决 veto {veto['ground']}: {name} · {veto['reason']} · {veto['state']}")
    for docket in veto["moves"]:
        said = [zh for key, zh in _EFFECTS.items() if docket[key]]
        say(f"  {docket['award']}: {','.join(said)}")
        for line in docket["moves"][:MOVES_SHOWN]:
            was, now = line["rank"]
            change = {(True, False): "失去名额 loses the place", (False, True): "递补 gains the place"}
            what = change.get(tuple(line["in_places"]), "")
            totals = " → ".join(line["total"])
            say(f"    {was:>3} → {now:<3} {veto['names'][line['subject']]}  {totals}  {what}")
        if len(docket["moves"]) > MOVES_SHOWN:
            say(f"    … 另有 {len(docket['moves']) - MOVES_SHOWN} 个名次变化 more ranks change")
