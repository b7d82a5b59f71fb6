"""The indicators these facts reach (catalogue of the domain, I01–I06, I09, I34): pure, exact, every record named.

A figure is a numerator and a denominator; folds add both and never a rounded ratio. A pilot counts for its regions by
the credit shares in force when the fact was true (rules 4 and R5: over all regions a pilot counts once). An issue
counts once per kind of subject: for the province it lies in, for the enterprise that owns it, and for the institution
of the key project that took it up first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from services.evaluation.policies.facts import Book, Issue, KnownFact, Pilot, end_of_day
from services.evaluation.policies.measures import improvement

Kind = Literal["region", "enterprise", "institution"]
KINDS: tuple[Kind, ...] = ("region", "enterprise", "institution")
DUE_MIN = 3
GRADE_WEIGHTS = {1: 4, 2: 3, 3: 2, 4: 1}
LISTS = ("issues", "key-projects", "policy-tools", "roles")
ROLES = ("chief", "leader", "member", "enabler")
_ONE, _NONE = Decimal(1), Decimal(0)


@dataclass(frozen=True, slots=True)
class Window:
    """Facts count when effective in (start, end]; all three in microseconds. `until` = what the reader asks, ≤ end."""

    start: int
    end: int
    effective: int

    @property
    def until(self) -> int:
        """The last instant looked at."""
        return min(self.end, self.effective)

    def holds(self, at: int) -> bool:
        """Whether an instant lies inside."""
        return self.start < at <= self.until


@dataclass(frozen=True, slots=True)
class Record:
    """One thing a figure looked at: what it adds, the facts behind it, and, when left out, why (a key of REASONS)."""

    key: str
    facts: tuple[str, ...]
    numerator: Decimal = _NONE
    denominator: Decimal = _NONE
    left_out: str = ""


@dataclass(frozen=True, slots=True)
class Indicator:
    """A line of the catalogue. `direction` is up, down, information or gate; `unit` is ratio, count or share."""

    id: str
    zh: str
    en: str
    clause: str
    unit: Literal["ratio", "count", "share"]
    direction: Literal["up", "information", "gate"]
    kinds: tuple[Kind, ...]
    formula_version: str
    formula_zh: str
    formula_en: str


@dataclass(frozen=True, slots=True)
class Figure:
    """One indicator of one subject. `no_evidence` reads 无证据 and weighs 0; then both parts are 0."""

    indicator: Indicator
    numerator: Decimal
    denominator: Decimal
    records: tuple[Record, ...]

    @property
    def no_evidence(self) -> bool:
        """Whether nothing counted."""
        return self.denominator == 0

    @property
    def counted(self) -> tuple[Record, ...]:
        """The records in it."""
        return tuple(record for record in self.records if not record.left_out)

    @property
    def evidence(self) -> tuple[str, ...]:
        """The ids of the facts counted, each once, in order."""
        return tuple(sorted({fact for record in self.counted for fact in record.facts}))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom the figures are about."""

    kind: Kind
    code: str


CATALOGUE = (
    Indicator(
        "I01", "试点启动数", "pilots started", "(三)(十五)", "share", "up", ("region",), "I01/1",
        "窗口期内启动的试点,按启动时生效的份额计入各省(各省份额合计为 1)",
        "pilots started in the window, by the credit shares in force at the start (they sum to 1 over all regions)",
    ),
    Indicator(
        "I02", "按期验收率", "on-time acceptance", "(十五)", "ratio", "up", ("region",), "I02/1",
        "窗口期内到期的试点中,验收日期不晚于到期日的份额占比",
        "accepted on or before the due day ÷ pilots due in the window, both by credit shares on the due day",
    ),
    Indicator(
        "I03", "质量图谱完成率", "quality maps completed", "(四)", "ratio", "up", ("region",), "I03/1",
        "运行中的试点里已发布质量图谱的份额占比",
        "pilots with at least one published quality map ÷ pilots that ran in the window, by credit shares",
    ),
    Indicator(
        "I04", "清单完备度", "list completeness", "(四)", "ratio", "up", ("region",), "I04/1",
        "运行中的试点里四张清单(最新版非空)与链长、链主、成员、赋能机构四类角色齐备的份额占比",
        "pilots whose four lists (newest version not empty) and four kinds of role are there ÷ pilots that ran",
    ),
    Indicator(
        "I05", "问题识别数", "issues identified", "(四)", "count", "information", ("region", "enterprise"), "I05/1",
        "窗口期内列入清单且未移除的质量问题;仅供参考,从不计奖",
        "issues listed in the window and not taken off; information only, never rewarded",
    ),
    Indicator(
        "I06", "问题销号率", "verified closure rate", "(四)(五)", "ratio", "up", ("region", "enterprise"), "I06/1",
        "窗口期内到期问题中经第二方核验销号的加权占比:权重按分派时确认的等级 4/3/2/1,至少 3 项到期;复发的不算销号",
        "verified ÷ assigned and due in the window, weights 4/3/2/1 by the grade confirmed at assignment,"
        " at least 3 due; an issue that has come back is not closed",
    ),
    Indicator(
        "I09", "关键质量指标改善", "improvement of key measures", "(五)", "ratio", "up", KINDS, "I09/1",
        "经核验的改善幅度 d(按指标方向,−1 至 1)以 min(n0, n1, 500) 加权平均;样本量均不小于 30,改善须超过单侧 90 % 界"
        "(Agresti–Caffo),恶化的按负值计入",
        "verified improvement d by direction, −1 to 1, pooled with weight min(n0, n1, 500); samples of at least 30,"
        " gains beyond the one-sided 90 % bound (Agresti–Caffo), losses with their sign",
    ),
    Indicator(
        "I34", "证据完备度", "evidence completeness", "(十三)", "ratio", "gate", KINDS, "I34/1",
        "窗口期内各项销号声明(已被驳回的除外)中附有证据材料的占比",
        "closure claims of the window, rejected ones apart, with a document behind them ÷ all of them",
    ),
)  # fmt: skip
"""What this service computes, in order."""

BY_ID = {indicator.id: indicator for indicator in CATALOGUE}

REASONS: dict[str, tuple[str, str]] = {
    "outside-window": ("不在窗口期内", "not effective in the window"),
    "not-started": ("试点尚未启动", "the pilot has not started"),
    "due-outside-window": ("到期日不在窗口期内", "not due in the window"),
    "ended-before-window": ("窗口期开始前已验收", "accepted before the window began"),
    "not-assigned": ("尚未分派责任单位", "nobody is responsible for it yet"),
    "removed": ("已从清单移除", "taken off the list"),
    "elsewhere": ("现计入其他主体", "now counts for another subject"),
    "fewer-than-3-due": ("到期问题少于 3 项", "fewer than 3 issues were due"),
    "not-verified": ("尚未核验", "not verified yet"),
    "reopened": ("核验后复发", "came back after it was verified"),
    "claim-missing": ("所核验的声明尚未收到", "the claim that was verified has not been heard yet"),
    "different-measures": ("前后指标不一致", "before and after are different measures"),
    "not-a-fraction": ("指标值不在 0 至 1 之间", "a value outside 0 to 1"),
    "sample-below-30": ("样本量不足 30", "a sample below 30"),
    "no-room-to-improve": ("基线已无改善空间", "the baseline leaves no room to improve"),
    "within-chance": ("改善未超过单侧 90 % 界", "the gain lies within the one-sided 90 % bound"),
    "affiliate": ("与责任企业同属一个集团", "the institution and the owner belong to one group"),
    "rejected": ("声明已被驳回", "the claim was rejected"),
}
"""Why a record is left out, in both languages."""


def figures(subject: Subject, book: Book, window: Window) -> tuple[Figure, ...]:
    """Every figure of the catalogue for one subject, in the catalogue's order."""
    return tuple(figure(indicator, subject, book, window) for indicator in CATALOGUE if subject.kind in indicator.kinds)


def figure(indicator: Indicator, subject: Subject, book: Book, window: Window) -> Figure:
    """One figure; too few due issues leave all of them out and the figure without evidence."""
    records = tuple(sorted(_FORMULAS[indicator.id](subject, book, window), key=lambda record: record.key))
    if indicator.id == "I06" and sum(not record.left_out for record in records) < DUE_MIN:
        records = tuple(
            record if record.left_out else Record(record.key, record.facts, left_out="fewer-than-3-due")
            for record in records
        )
    counted = [record for record in records if not record.left_out]
    denominator = _ONE if indicator.unit != "ratio" and counted else sum((r.denominator for r in counted), _NONE)
    return Figure(indicator, sum((r.numerator for r in counted), _NONE), denominator, records)


# --- pilots, by credit shares ---


def _pilots_started(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for pilot in _pilots_of(subject, book):
        if pilot.started is None:
            yield Record(pilot.id, (), left_out="not-started")
        elif not window.holds(pilot.started.effective_at):
            yield Record(pilot.id, (pilot.started.id,), left_out="outside-window")
        elif share := pilot.share_of(subject.code, pilot.started.effective_at):
            yield Record(pilot.id, (pilot.started.id,), share, _NONE)


def _accepted_on_time(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for pilot in _pilots_of(subject, book):
        if pilot.started is None:
            yield Record(pilot.id, (), left_out="not-started")
            continue
        due = end_of_day(pilot.started.data["due_on"])
        if not window.holds(due):
            yield Record(pilot.id, (pilot.started.id,), left_out="due-outside-window")
            continue
        share = pilot.share_of(subject.code, due)
        accepted = pilot.accepted
        on_time = accepted is not None and end_of_day(accepted.data["accepted_on"]) <= due
        facts = (pilot.started.id, accepted.id) if accepted else (pilot.started.id,)
        if share:
            yield Record(pilot.id, facts, share if on_time else _NONE, share)


def _maps_completed(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    return _of_running(subject, book, window, lambda pilot: (pilot.map,) if pilot.map else None)


def _lists_complete(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    def complete(pilot: Pilot) -> tuple[KnownFact, ...] | None:
        lists = [pilot.lists[kind] for kind in LISTS if kind in pilot.lists and int(pilot.lists[kind].data["rows"])]
        roles = [
            min(pilot.roles[role].values(), key=lambda fact: fact.order) for role in ROLES if pilot.roles.get(role)
        ]
        return (*lists, *roles) if len(lists) == len(LISTS) and len(roles) == len(ROLES) else None

    return _of_running(subject, book, window, complete)


def _of_running(
    subject: Subject, book: Book, window: Window, shown: Callable[[Pilot], tuple[KnownFact, ...] | None]
) -> Iterable[Record]:
    for pilot in _pilots_of(subject, book):
        if pilot.started is None:
            yield Record(pilot.id, (), left_out="not-started")
        elif pilot.accepted and pilot.accepted.effective_at <= window.start:
            yield Record(pilot.id, (pilot.started.id,), left_out="ended-before-window")
        elif share := pilot.share_of(subject.code, pilot.started.effective_at):
            facts = shown(pilot)
            behind = (pilot.started.id, *(fact.id for fact in facts or ()))
            yield Record(pilot.id, behind, share if facts else _NONE, share)


def _pilots_of(subject: Subject, book: Book) -> list[Pilot]:
    return [pilot for pilot in book.pilots.values() if subject.code in pilot.regions()]


# --- issues, each once per kind of subject ---


def _issues_identified(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for issue, elsewhere in _issues_of(subject, book):
        if issue.listed is None:
            continue
        facts = (issue.listed.id,)
        if elsewhere:
            yield Record(issue.id, facts, left_out="elsewhere")
        elif not window.holds(issue.listed.effective_at):
            yield Record(issue.id, facts, left_out="outside-window")
        elif issue.removed:
            yield Record(issue.id, (*facts, issue.removed.id), left_out="removed")
        else:
            yield Record(issue.id, facts, _ONE, _NONE)


def _closed(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for issue, elsewhere in _issues_of(subject, book):
        if not issue.assignments:
            yield Record(issue.id, (issue.listed.id,) if issue.listed else (), left_out="not-assigned")
            continue
        first, last = issue.assignments[0], issue.assignments[-1]
        facts = tuple(dict.fromkeys((first.id, last.id)))
        if elsewhere:
            yield Record(issue.id, facts, left_out="elsewhere")
        elif issue.removed:
            yield Record(issue.id, (*facts, issue.removed.id), left_out="removed")
        elif not window.holds(end_of_day(last.data["due_on"])):
            yield Record(issue.id, facts, left_out="due-outside-window")
        else:
            weight = Decimal(GRADE_WEIGHTS[int(first.data["grade"])])
            seen = [fact.id for fact in (issue.verified, issue.reopened if not issue.standing else None) if fact]
            yield Record(issue.id, (*facts, *seen), weight if issue.standing else _NONE, weight)


def _improved(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for issue, elsewhere in _issues_of(subject, book):
        if issue.verified is None:
            if issue.claims:
                yield Record(issue.id, tuple(sorted(issue.claims)), left_out="not-verified")
            continue
        claim = issue.claims.get(str(issue.verified.data["claim_fact"]))
        facts = (issue.verified.id, claim.id) if claim else (issue.verified.id,)
        reason = _why_no_improvement(subject, book, window, issue, claim, elsewhere)
        if reason or claim is None:
            yield Record(issue.id, facts, left_out=reason)
            continue
        found = improvement(claim.data["baseline"], claim.data["after"])
        if isinstance(found, str):
            yield Record(issue.id, facts, left_out=found)
        else:
            d, weight = found
            yield Record(issue.id, facts, d * weight, Decimal(weight))


def _why_no_improvement(  # noqa: PLR0917 - what the reasons look at
    subject: Subject, book: Book, window: Window, issue: Issue, claim: KnownFact | None, elsewhere: bool
) -> str:
    assert issue.verified is not None
    if elsewhere:
        return "elsewhere"
    if issue.standing is None:
        return "reopened"
    if not window.holds(issue.verified.effective_at):
        return "outside-window"
    if claim is None:
        return "claim-missing"
    if subject.kind == "institution" and book.affiliated(subject.code, issue.owner, issue.verified.effective_at):
        return "affiliate"
    return ""


def _evidence_behind(subject: Subject, book: Book, window: Window) -> Iterable[Record]:
    for issue, elsewhere in _issues_of(subject, book):
        for claim in issue.claims.values():
            key = f"{issue.id}/{claim.id}"
            if elsewhere:
                yield Record(key, (claim.id,), left_out="elsewhere")
            elif not window.holds(claim.effective_at):
                yield Record(key, (claim.id,), left_out="outside-window")
            elif claim.id in issue.rejected:
                yield Record(key, (claim.id,), left_out="rejected")
            else:
                yield Record(key, (claim.id,), _ONE if claim.evidence else _NONE, _ONE)


def _issues_of(subject: Subject, book: Book) -> Iterable[tuple[Issue, bool]]:
    """The issues that count, or once counted, for a subject, and whether they count elsewhere now."""
    if subject.kind == "institution":
        mine = {
            id for project in book.projects.values() if project.institution == subject.code for id in project.issue_ids
        }
        for id in sorted(mine & book.issues.keys()):
            yield book.issues[id], helper_of(id, book) != subject.code
        return
    for issue in book.issues.values():
        now = issue.province if subject.kind == "region" else issue.owner
        before = issue.provinces_before if subject.kind == "region" else issue.owners_before
        if now == subject.code:
            yield issue, False
        elif subject.code in before:
            yield issue, True


def helper_of(issue_id: str, book: Book) -> str:
    """The institution an issue counts for: that of the key project which took it up first, by time and then by id."""
    takers = [project for project in book.projects.values() if issue_id in project.issue_ids and project.institution]
    return min(takers, key=lambda project: (project.listed.order, project.id)).institution if takers else ""


_FORMULAS: dict[str, Callable[[Subject, Book, Window], Iterable[Record]]] = {
    "I01": _pilots_started,
    "I02": _accepted_on_time,
    "I03": _maps_completed,
    "I04": _lists_complete,
    "I05": _issues_identified,
    "I06": _closed,
    "I09": _improved,
    "I34": _evidence_behind,
}
