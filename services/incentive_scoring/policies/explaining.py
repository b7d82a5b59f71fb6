"""The explanation of a decision, line by line, from the decision itself: it always adds up (rule 12)."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Any

from services.incentive_scoring.domain import Decided
from services.incentive_scoring.policies.rules import PolicyDocument
from shared.contracts.incentive_scoring import Gate, TiltComponent, TiltDecided

_FOUR = Decimal("0.0001")

GATE_TEXTS: dict[str, tuple[str, str, str, str]] = {
    "G1": ("基础得分达到门槛", "the base score reaches the floor", "基础得分低于门槛",
           "the base score is below the floor"),
    "G2": (
        "证据完备度(I34)达到门槛", "evidence completeness (I34) reaches the floor",
        "证据完备度(I34)不足或没有记分卡", "evidence completeness (I34) is too low, or there is no scorecard",
    ),
    "G3": (
        "窗口期内有经核验的成效", "a verified effect in the window",
        "窗口期内没有经核验的成效", "no verified effect in the window",
    ),
    "G4": ("没有有效的一票否决", "no active confirmed veto", "有已确认的一票否决", "there is an active confirmed veto"),
    "G5": (
        "评审组已定稿且无利害关系", "a finalised panel free of conflicts of interest",
        "没有定稿的评审结果,或评审组存在利害关系", "no finalised panel result, or a panel with a conflict of interest",
    ),
}  # fmt: skip
"""Gate → what holds in Chinese and English, what does not hold in Chinese and English."""


def explanation(fact: Decided, policy: PolicyDocument) -> dict[str, Any]:
    """What a subject, the secretariat and an auditor read; the fact's `explanation_hash` is the hash of this."""
    names = {part.name: part for part in policy.kinds[fact.subject_kind].components}
    decided = fact if isinstance(fact, TiltDecided) else None
    leaves = [_leaf(leaf, names[leaf.name].zh, names[leaf.name].en) for leaf in fact.components]
    assert fact.decided_at is not None
    return {
        "decision_id": fact.decision_id,
        "docket_id": fact.docket_id,
        "subject_kind": fact.subject_kind.value,
        "subject": fact.subject,
        "outcome": "decided" if decided else "withheld",
        "policy": {
            "version": policy.version, "hash": fact.policy_hash, "zh": policy.title["zh"], "en": policy.title["en"],
        },
        "base": str(fact.base),
        "gates": [_gate(gate) for gate in fact.gates],
        "reasons": [] if decided else [_reason(gate) for gate in fact.gates if not gate.held],
        "components": leaves,
        "reconciliation": reconciliation(fact),
        "final": str(decided.final) if decided else "0",
        "scorecard": {
            "id": fact.scorecard_id, "revision": fact.scorecard_revision, "hash": fact.scorecard_hash,
            "inputs": [part.model_dump(mode="json") for part in fact.inputs],
        },
        "assessment_fact": fact.assessment_fact,
        "vetoes": list(fact.vetoes),
        "earlier_decisions": list(fact.earlier),
        "decided_at": fact.decided_at.isoformat(),
    }  # fmt: skip


def reconciliation(fact: Decided) -> dict[str, Any]:
    """Adds the printed leaves up to the result; every difference of printing, capping and rounding is its own term."""
    printed = sum((four(leaf.points) for leaf in fact.components), Decimal("0.0000"))
    raw = four(fact.raw)
    capped = four(min(fact.raw, fact.cap))
    result = fact.final if isinstance(fact, TiltDecided) else Decimal("0.00")
    withheld = Decimal("0.0000") if isinstance(fact, TiltDecided) else -capped
    terms = {
        "printed": printed,
        "printing": raw - printed,
        "cap": capped - raw,
        "withheld": withheld,
        "rounding": result - capped - withheld,
        "result": result,
    }
    line = (
        f"Σ {printed} {_signed(terms['printing'])} (四位小数显示 4-decimal printing)"
        f" {_signed(terms['cap'])} (上限 cap {fact.cap}) {_signed(terms['withheld'])} (门槛 gates)"
        f" {_signed(terms['rounding'])} (五成双修约 half-even to 0.01) = {result}"
    )
    return {name: str(value) for name, value in terms.items()} | {"line": line}


def exact_sum(fact: Decided) -> Fraction:
    """The sum of the leaves as a fraction, for whoever recomputes."""
    return sum((Fraction(leaf.exact) for leaf in fact.components), Fraction(0))


def four(value: Decimal) -> Decimal:
    """At four decimals, as printed; never −0."""
    shown = value.quantize(_FOUR, ROUND_HALF_EVEN)
    return shown.copy_abs() if shown.is_zero() else shown


def _leaf(leaf: TiltComponent, zh: str, en: str) -> dict[str, Any]:
    return {
        "name": leaf.name,
        "zh": zh,
        "en": en,
        "indicator": leaf.indicator,
        "formula": leaf.formula,
        "figure": "无证据 no evidence" if leaf.no_evidence else f"{leaf.numerator}/{leaf.denominator}",
        "weight": str(leaf.weight),
        "value": str(four(leaf.value)),
        "points": str(four(leaf.points)),
        "exact": leaf.exact,
        "no_evidence": leaf.no_evidence,
        "note": _note(leaf),
        "evidence": list(leaf.evidence),
    }


def _note(leaf: TiltComponent) -> dict[str, str]:
    if leaf.withheld == "target-not-set":
        return {"zh": "政策未给该地区设定目标,此项不计", "en": "the policy sets no target for this region: withheld"}
    if leaf.withheld == "no-effect":
        return {"zh": "没有经核验的成效,此项不计", "en": "no verified effect: withheld"}
    if leaf.withheld.startswith("used:"):
        earlier = leaf.withheld.removeprefix("used:")
        return {
            "zh": f"证据已支持同级别的另一倾斜决定 {earlier},此项不计",
            "en": f"its facts support another tilt of this level already, {earlier}: withheld",
        }
    if leaf.no_evidence:
        return {"zh": "无证据,计 0", "en": "no evidence, counts 0"}
    return {"zh": "", "en": ""}


def _gate(gate: Gate) -> dict[str, Any]:
    zh, en = GATE_TEXTS[gate.gate][:2]
    return {"gate": gate.gate, "held": gate.held, "figure": gate.figure, "zh": zh, "en": en}


def _reason(gate: Gate) -> dict[str, Any]:
    zh, en = GATE_TEXTS[gate.gate][2:]
    return {"gate": gate.gate, "zh": f"{zh}({gate.figure})", "en": f"{en} ({gate.figure})"}


def _signed(value: Decimal) -> str:
    return f"− {-value}" if value < 0 else f"+ {value}"
