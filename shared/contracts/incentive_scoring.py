"""The facts incentive_scoring publishes: policies, award dockets, tilt decisions, vetoes."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from shared.contracts.evaluation import InputRange, SubjectKind
from shared.contracts.fact import Fact, Topic, Value


class TiltPolicyFact(Fact, topic=Topic("incentive-scoring.policies", partitions=1), key="policy_version"):
    """About one version of the tilt policy."""

    policy_version: str


class TiltPolicyApproved(TiltPolicyFact):
    """A policy version came into force; `content_hash` covers its canonical form, `replaces` names the one retired."""

    content_hash: str
    author: str
    replaces: str


class AwardDocketFact(Fact, topic=Topic("incentive-scoring.award-dockets"), key="docket_id"):
    """About one docket (奖励档案): the candidates of one award, subject kind and cycle."""

    docket_id: str


class AwardDocketOpened(AwardDocketFact):
    """A docket was opened for an award in a cycle, under a policy version; places is how many can be awarded."""

    award: str
    level: str
    subject_kind: SubjectKind
    cycle: str
    policy_version: str
    places: int
    cycle_start: datetime
    cycle_end: datetime


class BaseScoreReceived(AwardDocketFact):
    """The external base score of one candidate, on the award's own scale."""

    subject: str
    base: Decimal
    region: str
    accepted_at: datetime | None = None


class RankedPlace(Value):
    """One line of a ranking: total = base + tilt; ties are broken by the rule named."""

    rank: int
    subject: str
    base: Decimal
    tilt: Decimal
    total: Decimal
    decided_by: str
    in_places: bool


class RankingComputed(AwardDocketFact):
    """The ranking of a docket from its base scores and the tilts decided."""

    ranking: tuple[RankedPlace, ...]
    policy_version: str
    reason: str


class AwardRevocationProposed(AwardDocketFact):
    """A veto reaches an award: who loses the place, who moves, and whether the ranking was recomputed (rule 14)."""

    subject: str
    veto_id: str
    displaced: tuple[str, ...]
    promoted: tuple[str, ...]
    reranked: bool


class TiltComponent(Value):
    """One leaf of the explanation: full-precision value and the evidence behind it."""

    name: str
    indicator: str
    weight: Decimal
    value: Decimal
    points: Decimal
    no_evidence: bool
    evidence: tuple[str, ...]


class Gate(Value):
    """One gate of the policy and whether it holds, with the figure it looked at."""

    gate: str
    held: bool
    figure: str


class TiltDecisionFact(Fact, topic=Topic("incentive-scoring.tilt-decisions"), key="decision_id"):
    """About one tilt decision (倾斜决定); its id is `<docket>:<subject>`."""

    decision_id: str


class TiltDecided(TiltDecisionFact):
    """A tilt was decided: components, sum, cap, one half-even rounding to 0.01, gates, and the scorecard it reads."""

    docket_id: str
    subject_kind: SubjectKind
    subject: str
    policy_version: str
    components: tuple[TiltComponent, ...]
    raw: Decimal
    cap: Decimal
    capped: Decimal
    final: Decimal
    gates: tuple[Gate, ...]
    scorecard_id: str
    scorecard_revision: int
    scorecard_hash: str
    inputs: tuple[InputRange, ...]
    explanation_hash: str
    decided_at: datetime


class TiltWithheld(TiltDecisionFact):
    """No tilt, with every reason (the gates that do not hold)."""

    docket_id: str
    subject_kind: SubjectKind
    subject: str
    policy_version: str
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...]
    scorecard_id: str
    scorecard_revision: int


class TiltReversed(TiltDecisionFact):
    """A decided tilt is taken back because of a veto whose ground was effective by the decision date."""

    veto_id: str
    final: Decimal


class VetoFact(Fact, topic=Topic("incentive-scoring.vetoes"), key="veto_id"):
    """About one veto (一票否决)."""

    veto_id: str


class VetoRaised(VetoFact):
    """Somebody raised a veto with its ground (V1–V7), evidence, and from when the ground is effective."""

    ground: str
    subject_kind: SubjectKind
    subject: str
    effective_from: datetime
    effective_until: datetime | None
    reason: str


class VetoConfirmed(VetoFact):
    """A second person confirmed the veto; only now it acts."""

    confirmed_by: str


class VetoLifted(VetoFact):
    """The veto ends; a closed round is not restored by it."""

    reason: str
