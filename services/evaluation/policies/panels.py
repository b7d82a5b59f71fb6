"""What a panel's scores come to: valid appraisals, conflicts of interest, spread, consensus (rules 6 and 15).

The rubric and its thresholds are ours [J]: data of the default acceptance rubric, on a 100-point scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.evaluation.domain import Appraisal, PanelResult
from shared.codes.rounding import half_even

APPRAISALS_MIN = 3
SPREAD_MAX = Decimal(15)
FULL = Decimal(100)
STEP = Decimal("0.05")
HIGH, LOW = Decimal("0.80"), Decimal("0.30")


@dataclass(frozen=True, slots=True)
class RubricItem:
    """One item of the rubric and its points."""

    id: str
    zh: str
    en: str
    points: int


RUBRIC = (
    RubricItem("a", "图谱与清单", "map and lists", 15),
    RubricItem("b", "攻关成效", "breakthroughs", 30),
    RubricItem("c", "全链联动", "linkage along the chain", 20),
    RubricItem("d", "帮扶与培训", "assistance and training", 15),
    RubricItem("e", "底线", "bottom line", 10),
    RubricItem("f", "机制与推广", "mechanisms and dissemination", 10),
)
SCORE_STEP = Decimal("0.25")
"""Scores in 5 % steps of each item add up to multiples of this."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A field that breaks a rule."""

    field: str
    rule: str
    zh: str
    en: str


def score_faults(score: Decimal, items: Mapping[str, Decimal], *, cited: bool) -> list[Fault]:
    """Whether one evaluator's score fits the rubric: 5 % steps, items that add up, evidence for extreme items."""
    if not 0 <= score <= FULL:
        return [Fault("score", "score-range", "得分应在 0 至 100 之间", "A score lies between 0 and 100")]
    if score % SCORE_STEP:
        return [Fault("score", "score-step", "得分应为 0.25 的整数倍(各项按 5 % 计分)", "Scores are multiples of 0.25")]
    if not items:
        return []
    faults: list[Fault] = []
    for item in RUBRIC:
        given = items.get(item.id)
        if given is None:
            zh, en = f"分项得分应填全:缺 {item.zh}", f"All items or none: {item.en} is missing"
            faults.append(Fault(f"item_{item.id}", "items-incomplete", zh, en))
        elif not 0 <= given <= item.points or given % (item.points * STEP):
            zh = f"{item.zh}满分 {item.points},按 5 % 计分"
            en = f"{item.en} has {item.points} points, in steps of 5 %"
            faults.append(Fault(f"item_{item.id}", "item-step", zh, en))
        elif not cited and (given >= item.points * HIGH or given <= item.points * LOW):
            zh = f"{item.zh}得分不低于 80 % 或不高于 30 % 时须引用证据编号"
            en = f"{item.en}: a score of at least 80 % or at most 30 % needs a cited evidence id"
            faults.append(Fault("evidence", "evidence-missing", zh, en))
    if not faults and sum(items.values()) != score:
        faults.append(
            Fault("score", "items-do-not-add-up", "分项得分之和与得分不符", "The items do not add up to the score")
        )
    return faults


def conflicted(
    subject: str, appraisals: Iterable[Appraisal], affiliated: Callable[[str, str], bool]
) -> tuple[str, ...]:
    """The evaluators whose organisation is the subject or its affiliate and who did not declare it, in order."""
    return tuple(
        sorted(
            appraisal.evaluator
            for appraisal in appraisals
            if not appraisal.declared and affiliated(appraisal.org, subject)
        )
    )


def settle(
    appraisals: Sequence[Appraisal], *, conflicts: Sequence[str], consensus: Decimal | None, all_inside: bool = False
) -> PanelResult | None:
    """What the valid appraisals come to; None when there are fewer than three.

    Who declared a conflict has withdrawn in time: left out, and the panel stays clean. An undeclared conflict is left
    out too, but the panel is not clean (gate G5, veto ground V6); nor is one whose evaluators all come from inside the
    region assessed. A spread above 15 gives no total until consensus is reached or a fourth evaluator has scored; then
    the highest and the lowest are dropped. One half-even rounding to 0.01.
    """
    valid = sorted(
        appraisal.score for appraisal in appraisals if not appraisal.declared and appraisal.evaluator not in conflicts
    )
    if len(valid) < APPRAISALS_MIN:
        return None
    spread = valid[-1] - valid[0]
    clean = not conflicts and not all_inside
    declared = sum(appraisal.declared for appraisal in appraisals)

    def result(method: str, total: Decimal | None) -> PanelResult:
        return PanelResult.model_validate(
            {
                "method": method, "total": total, "spread": spread, "appraisals": len(valid), "declared": declared,
                "conflicted": len(conflicts), "coi_clean": clean,
            }
        )  # fmt: skip

    if consensus is not None:
        return result("consensus", consensus)
    if spread <= SPREAD_MAX:
        return result("mean", _mean(valid))
    if len(valid) > APPRAISALS_MIN:
        return result("trimmed-mean", _mean(valid[1:-1]))
    return result("consensus-required", None)


def _mean(scores: Sequence[Decimal]) -> Decimal:
    # Scores are multiples of 0.25, so 28 digits decide every rounding to 0.01 of a mean of fewer than 10^20 of them.
    return half_even(sum(scores, Decimal(0)) / len(scores))
