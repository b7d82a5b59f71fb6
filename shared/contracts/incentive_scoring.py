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
    """The external base score of one candidate, on the award's own scale; `replaces` is the score it corrects.

    `accepted_at` is the start of the day of formal acceptance (受理); ties are broken by it.
    """

    subject: str
    base: Decimal
    region: str
    accepted_at: datetime | None = None
    name: str = ""
    replaces: Decimal | None = None


class AwardDocketClosed(AwardDocketFact):
    """The decision cut: no base score is taken from here on, and the inputs of every candidate are pinned (rule 21).

    `pins_hash` is the SHA-256 over the pinned scorecard revisions, panel results, vetoes and earlier decisions.
    """

    cut_at: datetime
    candidates: int
    policy_hash: str
    pins_hash: str


class RankedPlace(Value):
    """One line of a ranking: total = base + tilt; ties are broken by the rule named."""

    rank: int
    subject: str
    base: Decimal
    tilt: Decimal
    total: Decimal
    decided_by: str
    in_places: bool
    region: str = ""
    ineligible: bool = False
    tilt_decided: bool = False


class ReleasedPlace(Value):
    """A place the concentration guard took from a tilt-decided candidate of a province and gave to the next by base."""

    province: str
    subject: str
    given_to: str
    tilt_decided: int
    limit: int


class RankingComputed(AwardDocketFact):
    """The ranking of a docket from its base scores and the tilts decided; `reason` is `decided` or `veto:<id>`.

    `tilt_decided` of a place says that base scores alone would not have given it. A long ranking comes in numbered
    parts under the SHA-256 over the whole (`root_hash`); `released` stands in the last part.
    """

    ranking: tuple[RankedPlace, ...]
    policy_version: str
    reason: str
    released: tuple[ReleasedPlace, ...] = ()
    part: int = 1
    parts: int = 1
    root_hash: str = ""


class AwardRevocationProposed(AwardDocketFact):
    """A veto reaches an award: who loses the place, who moves, and whether the ranking was recomputed (rule 14)."""

    subject: str
    veto_id: str
    displaced: tuple[str, ...]
    promoted: tuple[str, ...]
    reranked: bool


class TiltComponent(Value):
    """One leaf of the explanation and the evidence behind it.

    `numerator` ÷ `denominator` is the figure read, `value` what the formula makes of it (0 to 1), points = weight ×
    value; `exact` is the points as a fraction, the decimals beside it carry 28 digits. `withheld` says why a leaf is 0
    although there is evidence: `target-not-set`, `no-effect`, or `used:<earlier decision>`.
    """

    name: str
    indicator: str
    weight: Decimal
    value: Decimal
    points: Decimal
    no_evidence: bool
    evidence: tuple[str, ...]
    numerator: Decimal = Decimal(0)
    denominator: Decimal = Decimal(0)
    formula: str = ""
    exact: str = "0"
    withheld: str = ""


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
    base: Decimal = Decimal(0)
    policy_hash: str = ""
    assessment_fact: str = ""
    vetoes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()


class TiltWithheld(TiltDecisionFact):
    """No tilt, with every reason (the gates that do not hold); the components show what it would have been made of."""

    docket_id: str
    subject_kind: SubjectKind
    subject: str
    policy_version: str
    gates: tuple[Gate, ...]
    reasons: tuple[str, ...]
    scorecard_id: str
    scorecard_revision: int
    components: tuple[TiltComponent, ...] = ()
    raw: Decimal = Decimal(0)
    cap: Decimal = Decimal(0)
    scorecard_hash: str = ""
    inputs: tuple[InputRange, ...] = ()
    explanation_hash: str = ""
    decided_at: datetime | None = None
    base: Decimal = Decimal(0)
    policy_hash: str = ""
    assessment_fact: str = ""
    vetoes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()


class TiltReversed(TiltDecisionFact):
    """A decided tilt is taken back because of a veto whose ground was effective by the decision date."""

    veto_id: str
    final: Decimal
    ground: str = ""


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


class VetoEscalated(VetoFact):
    """Nobody has confirmed or lifted the veto within 20 working days: the upper office is told (rule 14)."""

    raised_at: datetime


class VetoLifted(VetoFact):
    """The veto ends; a closed round is not restored by it."""

    reason: str
