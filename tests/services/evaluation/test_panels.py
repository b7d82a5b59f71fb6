"""What panels come to, and how their workbook becomes recorded facts: rules 6, 15, 19 and gate G5."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.evaluation.domain import Appraisal, Assessment, PanelResult, Scorecard
from services.evaluation.handlers.assessments import Assessments, PanelRow
from services.evaluation.handlers.hearing import Hearing
from services.evaluation.policies.panels import RUBRIC, score_faults, settle
from services.evaluation.store import MongoKeptFacts
from shared.contracts.evaluation import AssessmentFinalised, ConsensusRequired, SubjectKind
from shared.contracts.pilot_registration import PartyAffiliationChanged
from shared.kernel import InvalidInput
from shared.log.memory import MemoryLog

AT = datetime(2026, 11, 1, tzinfo=UTC)
COLUMNS = {
    name: name
    for name in ("kind", "subject", "cycle", "evaluator", "org", "declared", "score", "evidence", "consensus")
} | {f"item_{item.id}": item.zh for item in RUBRIC}


def scores(*given: str, declared: int = 0) -> list[Appraisal]:
    found = [Appraisal(evaluator=f"E{n}", org=f"O{n}", declared=False, score=Decimal(s)) for n, s in enumerate(given)]
    return found + [Appraisal(evaluator=f"D{n}", org="x", declared=True, score=Decimal(0)) for n in range(declared)]


def settled(
    *given: str, consensus: str | None = None, conflicts: tuple[str, ...] = (), declared: int = 0
) -> PanelResult | None:
    agreed = Decimal(consensus) if consensus else None
    return settle(scores(*given, declared=declared), conflicts=conflicts, consensus=agreed)


def came_to(result: PanelResult | None) -> tuple[str, Decimal | None, Decimal, int]:
    assert result is not None
    return result.method, result.total, result.spread, result.appraisals


def test_rule_15_close_scores_are_averaged_with_one_half_even_rounding() -> None:
    assert came_to(settled("80", "85.25", "90")) == ("mean", Decimal("85.08"), Decimal(10), 3)
    assert came_to(settled("80", "80.25", "80.25", "80.25")) == ("mean", Decimal("80.19"), Decimal("0.25"), 4)


def test_rule_15_a_spread_above_15_gives_no_total_until_consensus_or_a_fourth_evaluator() -> None:
    assert came_to(settled("60", "75", "75.25")) == ("consensus-required", None, Decimal("15.25"), 3)
    assert came_to(settled("60", "75", "75")) == ("mean", Decimal("70.00"), Decimal(15), 3)
    assert came_to(settled("60", "75", "75.25", consensus="72")) == ("consensus", Decimal(72), Decimal("15.25"), 3)
    assert came_to(settled("60", "75", "75.25", "70")) == ("trimmed-mean", Decimal("72.50"), Decimal("15.25"), 4)


def test_gate_g5_who_withdrew_leaves_the_panel_clean_and_who_hid_a_conflict_does_not() -> None:
    clean, hidden = settled("80", "81", "82", declared=1), settled("80", "81", "82", "100", conflicts=("E3",))
    assert clean is not None
    assert hidden is not None
    assert (clean.coi_clean, clean.declared, clean.appraisals) == (True, 1, 3)
    assert (hidden.coi_clean, hidden.conflicted, hidden.total) == (False, 1, Decimal("81.00"))
    assert settled("80", "81", conflicts=(), declared=2) is None
    assert settled("80", "81", "82", conflicts=("E0",)) is None


def test_rule_06_a_panel_from_inside_the_region_only_is_not_clean() -> None:
    result = settle(scores("80", "81", "82"), conflicts=(), consensus=None, all_inside=True)
    assert result is not None
    assert not result.coi_clean


@pytest.mark.parametrize(
    ("score", "items", "cited", "rules"),
    [
        ("100.25", {}, False, ["score-range"]),
        ("80.1", {}, False, ["score-step"]),
        ("80", {}, False, []),
        ("60", {"a": "9", "b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, False, []),
        ("61", {"a": "9", "b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, False, ["items-do-not-add-up"]),
        ("60.25", {"a": "9.25", "b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, False, ["item-step"]),
        ("54", {"b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, False, ["items-incomplete"]),
        ("66", {"a": "15", "b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, False, ["evidence-missing"]),
        ("66", {"a": "15", "b": "18", "c": "12", "d": "9", "e": "6", "f": "6"}, True, []),
    ],
)
def test_scores_keep_to_the_rubric(score: str, items: dict[str, str], cited: bool, rules: list[str]) -> None:
    faults = score_faults(Decimal(score), {id: Decimal(points) for id, points in items.items()}, cited=cited)
    assert [fault.rule for fault in faults] == rules


class Panel:
    """The handlers on a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.facts = MongoKeptFacts(self.log.database)
        rows = {name: self.log.rows(name) for name in ("known_parties", "known_issues", "claims", "imports")}
        self.hearing = Hearing(
            known_parties=rows["known_parties"],
            known_issues=rows["known_issues"],
            claims=rows["claims"],
            facts=self.facts,
        )
        self.handlers = Assessments(
            assessments=self.log.documents("assessments", Assessment),
            cards=self.log.documents("scorecards", Scorecard), imports=rows["imports"],
            known_parties=rows["known_parties"], facts=self.facts, ledger=self,
        )  # type: ignore[arg-type]  # fmt: skip
        self._uploads = itertools.count()

    async def fact_id(self, stream: str, version: int) -> str | None:
        """The one question these handlers ask of the ledger."""
        events = [event for event in self.log.events if event["stream"] == stream]
        return next((event["id"] for event in events if event["version"] == version), None)

    async def import_(self, rows: list[PanelRow], at: datetime = AT) -> dict[str, Any]:
        """Previews and applies; answers what the preview said."""
        import_id = f"PI-{next(self._uploads)}"
        answer = await self.log.execute(lambda: self.handlers.preview(import_id, rows, columns=COLUMNS, at=at))
        for chunk in range(await self.handlers.chunks(import_id)):
            await self.log.execute(lambda chunk=chunk: self.handlers.apply(import_id, chunk, at=at))  # type: ignore[misc]
        await self.log.execute(lambda: self.handlers.finish(import_id))
        return answer.details


def row(number: int, subject: str, org: str, score: str, **more: Any) -> PanelRow:
    given = {
        "kind": SubjectKind.ENTERPRISE, "cycle": "2026", "evaluator": f"EV-{number}", "declared": False,
        "items": {}, "consensus": None, "evidence": "",
    }  # fmt: skip
    return PanelRow(number=number, subject=subject, org=org, score=Decimal(score), **(given | more))


async def test_rule_19_the_same_workbook_changes_nothing_and_changed_scores_supersede(
    uscc: Callable[[int], str],
) -> None:
    panel, subject = Panel(), uscc(1)
    rows = [row(n, subject, uscc(50 + n), "80") for n in (1, 2, 3)]

    first = await panel.import_(rows)
    again = await panel.import_(rows)
    changed = await panel.import_([*rows[:2], row(3, subject, uscc(53), "86")])

    assert [(d["new"], d["changed"], d["unchanged"]) for d in (first, again, changed)] == [
        (1, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
    ]
    totals = [fact.total for fact in panel.log.facts if isinstance(fact, AssessmentFinalised)]
    assert totals == [Decimal("80.00"), Decimal("82.00")]
    assert panel.log.events[1]["supersedes"] == panel.log.events[0]["id"]


async def test_an_affiliate_by_group_on_the_day_is_a_conflict(uscc: Callable[[int], str]) -> None:
    panel, subject, affiliate = Panel(), uscc(1), uscc(51)
    for party in (subject, affiliate):
        await panel.log.hear(
            panel.hearing.on_figure_fact, PartyAffiliationChanged(uscc=party, group_id="G"),
            effective_at=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
    rows = [row(n, subject, uscc(50 + n), score) for n, score in ((1, "100"), (2, "80"), (3, "80"), (4, "80"))]

    await panel.import_(rows)

    [fact] = [fact for fact in panel.log.facts if isinstance(fact, AssessmentFinalised)]
    assert (fact.total, fact.appraisals, fact.conflicted, fact.coi_clean) == (Decimal("80.00"), 3, 1, False)
    earlier = Panel()
    await earlier.import_(rows[1:], at=datetime(2025, 1, 1, tzinfo=UTC))
    assert isinstance(earlier.log.facts[0], AssessmentFinalised)
    assert earlier.log.facts[0].coi_clean


async def test_scores_too_far_apart_record_that_consensus_is_required_and_a_fourth_score_settles_it(
    uscc: Callable[[int], str],
) -> None:
    panel, subject = Panel(), uscc(1)
    rows = [row(n, subject, uscc(50 + n), score) for n, score in ((1, "60"), (2, "80"), (3, "82"))]
    await panel.import_(rows)
    assert [type(fact) for fact in panel.log.facts] == [ConsensusRequired]
    await panel.import_([*rows, row(4, subject, uscc(54), "78")])
    fact = panel.log.facts[-1]
    assert isinstance(fact, AssessmentFinalised)
    assert (fact.method, fact.total) == ("trimmed-mean", Decimal("79.00"))
    assert panel.log.events[-1]["supersedes"] == panel.log.events[0]["id"]


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"subject": "91340100MA2T00015H"}, "subject", "uscc-check"),
        ({"kind": SubjectKind.REGION, "subject": "340100"}, "subject", "not-a-province"),
        ({"kind": SubjectKind.REGION, "subject": "349999"}, "subject", "division-unknown"),
        ({"evaluator": "11010519491231002X"}, "evaluator", "personal-number"),
        ({"evaluator": "张三"}, "evaluator", "evaluator-format"),
        ({"cycle": "2026/27"}, "cycle", "cycle-format"),
        ({"score": None}, "score", "missing"),
        ({"score": Decimal("80.1")}, "score", "score-step"),
        ({"evaluator": "EV-2"}, "evaluator", "evaluator-twice"),
        ({"declared": True}, "subject", "fewer-than-3-valid"),
    ],
)
async def test_a_faulty_workbook_names_row_column_and_rule_and_writes_nothing(
    uscc: Callable[[int], str], change: dict[str, Any], field: str, rule: str
) -> None:
    panel = Panel()
    rows = [row(n, uscc(1), uscc(50 + n), "80") for n in (2, 3)]
    first = {**{name: getattr(row(1, uscc(1), uscc(51), "80"), name) for name in PanelRow.__slots__}, **change}

    with pytest.raises(InvalidInput) as refused:
        await panel.import_([*rows, PanelRow(**first)])

    assert [error.rule for error in refused.value.errors] == [rule]
    assert refused.value.errors[0].field.endswith(f".{field}")
    assert panel.log.facts == []
