"""The facts evaluation publishes: verified closures, finalised assessments, scorecards."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from shared.contracts.fact import Fact, Topic, Value


class SubjectKind(StrEnum):
    """Who a figure is about."""

    REGION = "region"
    ENTERPRISE = "enterprise"
    INSTITUTION = "institution"
    INDIVIDUAL = "individual"


class ClosureFact(Fact, topic=Topic("evaluation.closures"), key="issue_id"):
    """About the verification of one issue's closure."""

    issue_id: str


class IssueClosureVerified(ClosureFact):
    """Somebody other than the claimant confirmed the closure; the only thing indicator I06 counts."""

    claim_fact: str
    verifier_org: str


class IssueClosureRejected(ClosureFact):
    """Somebody other than the claimant refused the closure, for a reason; the owner works on."""

    claim_fact: str
    verifier_org: str
    reason: str


class AssessmentFact(Fact, topic=Topic("evaluation.assessments"), key="assessment_id"):
    """About one assessment (评价任务) of a subject by a panel."""

    assessment_id: str


class AssessmentFinalised(AssessmentFact):
    """A panel's result on the 100-point scale, and whether the panel is COI-clean (gate G5)."""

    subject_kind: SubjectKind
    subject: str
    cycle: str
    appraisals: int
    total: Decimal
    spread: Decimal
    coi_clean: bool


class IndicatorValue(Value):
    """One figure of a scorecard, exact; both parts 0 with `no_evidence` means 无证据 and weighs 0.

    `evidence` lists the ids of the facts counted; `excluded` says how many were left out (the record list says why).
    """

    indicator: str
    formula_version: str
    numerator: Decimal
    denominator: Decimal
    no_evidence: bool
    records: int
    excluded: int
    evidence: tuple[str, ...]


class InputRange(Value):
    """How far into a publisher's log a figure looked: everything up to `seq` in this partition of this topic."""

    service: str
    log_id: str
    topic: str
    partition: int
    seq: int


class ScorecardFact(Fact, topic=Topic("evaluation.scorecards"), key="scorecard_id"):
    """About one scorecard; its id is `<kind>:<subject>:<cycle>`."""

    scorecard_id: str


class ScorecardPublished(ScorecardFact):
    """Figures effective up to `effective`, known up to `inputs`; hashed, and linked to the revision before."""

    revision: int
    subject_kind: SubjectKind
    subject: str
    cycle: str
    effective: datetime
    known: int
    values: tuple[IndicatorValue, ...]
    completeness_numerator: int
    completeness_denominator: int
    inputs: tuple[InputRange, ...]
    content_hash: str
    previous_hash: str


class ScorecardSuperseded(ScorecardFact):
    """A published revision is replaced by the next one because of a later fact, which is named."""

    revision: int
    causing_fact: str
    causing_type: str
