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
_INDICATORS = {
    "I01": "试点启动数 pilots started", "I02": "按期验收率 on-time acceptance", "I03": "质量图谱完成率 quality maps",
    "I04": "清单完备度 lists", "I05": "问题识别数 issues identified", "I06": "核验销号率 verified closure",
    "I09": "指标改善 improvement", "I34": "证据完备度 evidence completeness",
}  # fmt: skip
_COUNTED = {
    "parties": "单位", "chains": "产业链", "pilots": "试点", "quality issues": "质量问题", "key projects": "攻关项目",
    "closures": "销号申请", "assessments": "评审结果", "scorecards": "记分卡", "tilt decisions": "倾斜决定",
    "issues listed": "问题已列", "issues assigned": "问题已分派", "issues in_progress": "问题整改中",
    "issues closure_claimed": "问题待核验", "issues verified": "问题已销号", "issues removed": "问题已移除",
}  # fmt: skip
_STATES = {"raised": "待确认 raised", "confirmed": "已确认 confirmed", "lifted": "已解除 lifted"}
_OUTCOMES = {"decided": "给予倾斜 decided", "withheld": "不予倾斜 withheld"}


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
    telling.say("受理:服务处理的全部命令,含分批和系统自身的;答复:本演示收到的答复")
    telling.say(
        "commands: all that a service carried out, chunks and its own included; answered: what this demo was told"
    )
    told = [f"{_COUNTED.get(name, '')} {name} {count:,}".strip() for name, count in report.counts.items()]
    telling.say("\n" + "\n".join("  " + " · ".join(told[i : i + 5]) for i in range(0, len(told), 5)) + "\n")


def _cards(report: Report, telling: Telling) -> None:
    cards = Table(title="记分卡(按核验销号率) top scorecards by verified closure rate")
    cards.add_column("地区 region")
    for header in ("版次 rev.", *_INDICATORS):
        cards.add_column(header, justify="right")
    for card in report.scorecards:
        shown = (str(card["values"].get(indicator, "")).partition(" / ")[0] for indicator in _INDICATORS)
        cards.add_row(card["name"], str(card["revision"]), *shown)
    telling.console.print(cards)
    names = [f"{indicator} {name}" for indicator, name in _INDICATORS.items()]
    telling.say("\n".join("  " + " · ".join(names[i : i + 4]) for i in range(0, len(names), 4)))
    card = report.late["scorecard_id"]
    for revision in report.late["revisions"]:
        if by := revision["superseded_by"]:
            telling.say(
                f"{card} 第 {revision['revision']} 版被取代 superseded by {by['causing_type']} {by['causing_fact']}"
            )


def _explanation(report: Report, telling: Telling) -> None:
    """One tilt decision, line by line, as whoever receives it reads it."""
    told, say = report.explanation, telling.say
    outcome = _OUTCOMES[told["outcome"]]
    say(f"\n倾斜决定 tilt decision: {told['name']} {told['subject']} · {told['policy']['version']} · {outcome}")
    for gate in told["gates"]:
        say(f"  {'✓' if gate['held'] else '✗'} {gate['gate']} {gate['zh']} {gate['en']}: {gate['figure']}")
    for leaf in told["components"]:
        note = leaf["note"]["zh"] or f"{len(leaf['evidence'])} 条事实 facts, {leaf['evidence'][0]} …"
        say(f"  {leaf['points']:>8} = {leaf['weight']} × {leaf['value']}  {leaf['zh']} {leaf['indicator']}  ({note})")
    say(f"  {told['reconciliation']['line']}")
    card = told["scorecard"]
    same = "是 yes" if told["recomputed"] else "否 no"
    say(f"  记分卡 scorecard {card['id']} 第 {card['revision']} 版;由钉住的输入重算相符 recomputes: {same}")


def _veto(report: Report, telling: Telling) -> None:
    """Whom the veto moves: by rank, with the places won and lost."""
    veto, say = report.veto, telling.say
    name = veto["names"][veto["subject"]]
    say(f"\n一票否决 veto {veto['ground']}: {name} · {veto['reason']} · {_STATES[veto['state']]}")
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
