"""How much a tilt is: gates, components over exact fractions, the cap, and one half-even rounding to 0.01."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Context, Decimal
from fractions import Fraction

from services.incentive_scoring.domain import AwardDocket, Candidate, Decided, PinnedInput, digest
from services.incentive_scoring.policies.explaining import explanation
from services.incentive_scoring.policies.rules import PolicyComponent, PolicyDocument
from shared.contracts.evaluation import InputRange, SubjectKind
from shared.contracts.incentive_scoring import Gate, TiltComponent, TiltDecided, TiltWithheld

_SHOWN = Context(prec=28)
NO_EVIDENCE = "无证据 no evidence"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a scorecard, as published."""

    numerator: Decimal
    denominator: Decimal
    no_evidence: bool
    evidence: tuple[str, ...] = ()

    @property
    def value(self) -> Fraction:
        """The figure as an exact fraction; 0 without evidence."""
        return Fraction(self.numerator) / Fraction(self.denominator) if not self.no_evidence else Fraction(0)


@dataclass(frozen=True, slots=True)
class Card:
    """A revision of a scorecard as this service knows it."""

    scorecard_id: str
    revision: int
    content_hash: str
    figures: Mapping[str, Figure]
    completeness: tuple[int, int]
    inputs: tuple[InputRange, ...] = ()
    window_start: datetime | None = None
    window_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class PanelResult:
    """A finalised assessment: the fact, how many valid appraisals, and whether the panel is free of conflicts."""

    fact: str
    appraisals: int
    coi_clean: bool
    input: InputRange | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """Everything one decision reads besides the candidate and the policy; what is pinned at the decision cut."""

    card: Card | None = None
    panel: PanelResult | None = None
    vetoes: tuple[tuple[str, str], ...] = ()
    """Active confirmed vetoes as (id, ground)."""
    used: Mapping[str, str] | None = None
    """Facts that support an earlier decided tilt of this subject and level: fact → decision."""


@dataclass(frozen=True, slots=True)
class Tilt:
    """A tilt worked out: leaves, exact sum, cap, result, gates, and every reason to withhold it."""

    components: tuple[TiltComponent, ...]
    raw: Fraction
    cap: Decimal
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...]
    ineligible: bool

    @property
    def capped(self) -> Fraction:
        """The sum within the cap."""
        return min(self.raw, Fraction(self.cap))

    @property
    def points(self) -> Decimal:
        """The one rounding, as if all gates held."""
        return rounded(self.capped)

    @property
    def final(self) -> Decimal:
        """What counts: 0 when a gate does not hold."""
        return Decimal(0) if self.reasons else self.points


def rounded(value: Fraction) -> Decimal:
    """The exact fraction at 0.01, a half to even (GB/T 8170)."""
    return Decimal(round(value * 100)).scaleb(-2)


def decimal(value: Fraction) -> Decimal:
    """The fraction in 28 digits, for reading."""
    return plain(_SHOWN.divide(Decimal(value.numerator), Decimal(value.denominator)))


def plain(value: Decimal) -> Decimal:
    """One spelling per number: no trailing zeros, no exponent."""
    return Decimal(format(value.normalize(), "f")) if value else Decimal(0)


def tilt(policy: PolicyDocument, docket: AwardDocket, candidate: Candidate, known: Known) -> Tilt:
    """Works a tilt out. Nothing but these values goes in, so that it can be done again at any time."""
    kind = docket.subject_kind
    card = known.card if known.card is not None and _window_fits(policy, docket, known.card) else None
    effects = _effects(policy, card)
    leaves = [
        _leaf(part, card, target=policy.targets.get(_target_region(candidate), {}).get(part.indicator),
              effect=effects >= policy.gates.effect.facts_min, used=known.used or {})
        for part in policy.kinds[kind].components
    ]  # fmt: skip
    gates = _gates(policy, docket, candidate, replace(known, card=card), effects, stale=card is not known.card)
    return Tilt(
        components=tuple(leaf for leaf, _points in leaves),
        raw=sum((points for _leaf, points in leaves), Fraction(0)),
        cap=policy.kinds[kind].cap,
        gates=gates,
        reasons=tuple(gate.gate for gate in gates if not gate.held),
        ineligible=any(policy.vetoes[ground].ineligible for _id, ground in known.vetoes),  # type: ignore[index]
    )


def decide(
    policy: PolicyDocument, docket: AwardDocket, candidate: Candidate, pin: PinnedInput, known: Known
) -> Decided:
    """The fact of a decision from what was pinned at the cut; the same input gives the same bytes."""
    assert docket.cut_at is not None
    found = tilt(policy, docket, candidate, known)
    panel = (known.panel.input,) if known.panel and known.panel.input else ()
    about = {
        "decision_id": f"{docket.id}:{candidate.subject}",
        "docket_id": docket.id,
        "subject_kind": docket.subject_kind,
        "subject": candidate.subject,
        "policy_version": policy.version,
        "policy_hash": digest(policy.content()),
        "components": found.components,
        "raw": decimal(found.raw),
        "cap": found.cap,
        "gates": found.gates,
        "scorecard_id": pin.scorecard_id,
        "scorecard_revision": pin.scorecard_revision,
        "scorecard_hash": pin.scorecard_hash,
        "inputs": (*(known.card.inputs if known.card else ()), *panel),
        "base": candidate.base,
        "assessment_fact": pin.assessment_fact,
        "vetoes": pin.vetoes,
        "earlier": pin.earlier,
        "explanation_hash": "",
        "decided_at": docket.cut_at,
    }
    fact: Decided
    if found.reasons:
        fact = TiltWithheld.model_validate(about | {"reasons": found.reasons})
    else:
        fact = TiltDecided.model_validate(about | {"capped": decimal(found.capped), "final": found.final})
    return fact.model_copy(update={"explanation_hash": digest(explanation(fact, policy))})


def without(card: Card, evidence: str) -> Card:
    """The card as if one fact had not been; only figures that rest on it change (rule 12).

    A count loses one. A ratio does not say how much of it a fact carries: without the fact it is not proven, so 0.
    """
    figures = {
        name: _count_less(figure, evidence) if evidence in figure.evidence else figure
        for name, figure in card.figures.items()
    }
    return replace(card, figures=figures)


def used_by(decisions: Iterable[tuple[str, frozenset[str]]]) -> dict[str, str]:
    """Fact → the first decision, by id, that it supports."""
    used: dict[str, str] = {}
    for decision, facts in sorted(decisions):
        for fact in facts:
            used.setdefault(fact, decision)
    return used


def _count_less(figure: Figure, evidence: str) -> Figure:
    left = tuple(fact for fact in figure.evidence if fact != evidence)
    if figure.denominator == 1 and figure.numerator == len(figure.evidence) and left:
        return Figure(figure.numerator - 1, figure.denominator, False, left)
    return Figure(Decimal(0), Decimal(0), True)


def _window_fits(policy: PolicyDocument, docket: AwardDocket, card: Card) -> bool:
    assert docket.cycle_start is not None
    assert docket.cycle_end is not None
    begins = card.window_start is None or card.window_start >= policy.window(docket.cycle_start)
    return begins and (card.window_end is None or card.window_end <= docket.cycle_end)


def _target_region(candidate: Candidate) -> str:
    return candidate.region


def _effects(policy: PolicyDocument, card: Card | None) -> int:
    if card is None:
        return 0
    figures = (card.figures.get(indicator) for indicator in policy.gates.effect.indicators)
    return sum(1 for figure in figures if figure is not None and not figure.no_evidence and figure.numerator > 0)


def _leaf(
    part: PolicyComponent, card: Card | None, *, target: Decimal | None, effect: bool, used: Mapping[str, str]
) -> tuple[TiltComponent, Fraction]:
    figure = card.figures.get(part.indicator) if card else None
    missing = figure is None or figure.no_evidence
    earlier = next((used[fact] for fact in figure.evidence if fact in used), "") if figure and not missing else ""
    withheld = ""
    if part.shape == "share_of_target" and target is None:
        withheld = "target-not-set"
    elif part.needs_effect and not effect:
        withheld = "no-effect"
    elif earlier:
        withheld = f"used:{earlier}"
    value = Fraction(0) if figure is None or missing or withheld else _shaped(part, figure.value, target)
    points = Fraction(part.weight) * value
    leaf = TiltComponent(
        name=part.name,
        indicator=part.indicator,
        weight=part.weight,
        value=decimal(value),
        points=decimal(points),
        no_evidence=missing,
        evidence=figure.evidence if figure and not missing else (),
        numerator=figure.numerator if figure and not missing else Decimal(0),
        denominator=figure.denominator if figure and not missing else Decimal(0),
        formula=part.formula if target is None else part.formula.replace("target", str(target)),
        exact=str(points),
        withheld=withheld,
    )
    return leaf, points


def _shaped(part: PolicyComponent, x: Fraction, target: Decimal | None) -> Fraction:
    if part.shape == "clamp":
        x = (x - Fraction(part.start or 0)) / Fraction(part.span or 1)
    elif part.shape == "falling":
        x = (Fraction(part.start or 0) - x) / Fraction(part.span or 1)
    elif part.shape == "share":
        x = x / Fraction(part.full or 1)
    elif part.shape == "share_of_target":
        x = x / Fraction(target or 1)
    return max(Fraction(0), min(Fraction(1), x))


def _gates(  # noqa: PLR0917 - what the five gates look at
    policy: PolicyDocument, docket: AwardDocket, candidate: Candidate, known: Known, effects: int, stale: bool
) -> tuple[Gate, ...]:
    floor = plain(policy.floor(docket.subject_kind))
    done, of = known.card.completeness if known.card else (0, 0)
    enough = of > 0 and Fraction(done, of) >= Fraction(policy.gates.completeness_floor)
    if known.card is None:
        completeness = "记分卡窗口不在政策窗口内 scorecard outside the window" if stale else "无记分卡 no scorecard"
    else:
        completeness = f"{done}/{of}" if of else NO_EVIDENCE
    panel = known.panel
    clean = panel is not None and panel.coi_clean and panel.appraisals >= policy.gates.appraisals_min
    conflict = "" if panel is None or panel.coi_clean else ", 有未回避的利害关系 conflict of interest"
    seen = f"{panel.appraisals} appraisals{conflict}" if panel else "无评审结果 no panel result"
    vetoes = ", ".join(f"{id} ({ground})" for id, ground in known.vetoes) or "0"
    reached = effects >= policy.gates.effect.facts_min
    indicators = ", ".join(policy.gates.effect.indicators)
    compared = f"{completeness} {_sign(enough)} {policy.gates.completeness_floor}" if of else completeness
    return (
        Gate(
            gate="G1",
            held=candidate.base >= floor,
            figure=f"{plain(candidate.base)} {_sign(candidate.base >= floor)} {floor}",
        ),
        Gate(gate="G2", held=enough, figure=compared),
        Gate(
            gate="G3",
            held=reached,
            figure=f"{effects} {_sign(reached)} {policy.gates.effect.facts_min} ({indicators})",
        ),
        Gate(gate="G4", held=not known.vetoes, figure=vetoes),
        Gate(gate="G5", held=clean, figure=seen),
    )


def _sign(reached: bool) -> str:
    return "≥" if reached else "<"


def scorecard_id(kind: SubjectKind, subject: str, cycle: str) -> str:
    """The id evaluation gives a subject's scorecard of a cycle."""
    return f"{kind}:{subject}:{cycle}"
