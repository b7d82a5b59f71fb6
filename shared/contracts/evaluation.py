"""The facts evaluation publishes: verified closures, finalised assessments, scorecards and their publications."""

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
    """A panel's result on the 100-point scale, and whether the panel is COI-clean (gate G5).

    `appraisals` counts the valid ones, `declared` the evaluators who withdrew by declaration, `conflicted` those left
    out for a conflict they did not declare. `method` is mean, trimmed-mean or consensus (rule 15). The revision and
    content hash of the scorecard that lay before the panel are pinned (rule 21); 0 and empty when there was none.
    """

    subject_kind: SubjectKind
    subject: str
    cycle: str
    appraisals: int
    total: Decimal
    spread: Decimal
    coi_clean: bool
    method: str = "mean"
    declared: int = 0
    conflicted: int = 0
    scorecard_revision: int = 0
    scorecard_hash: str = ""


class ConsensusRequired(AssessmentFact):
    """The scores of a panel lie too far apart for a total: consensus or one more evaluator is needed (rule 15)."""

    subject_kind: SubjectKind
    subject: str
    cycle: str
    appraisals: int
    spread: Decimal


class IndicatorValue(Value):
    """One figure of a scorecard, exact; both parts 0 with `no_evidence` means 无证据 and weighs 0.

    `evidence` lists the ids of the facts counted, at most 600 of them in order; `evidence_hash` is the SHA-256 over all
    of them, one a line. `excluded` says how many records were left out (the record list says why).
    """

    indicator: str
    formula_version: str
    numerator: Decimal
    denominator: Decimal
    no_evidence: bool
    records: int
    excluded: int
    evidence: tuple[str, ...]
    evidence_hash: str = ""


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
    """Figures effective up to `effective`, known up to `inputs`; hashed, and linked to the revision before.

    `known` is the position in evaluation's own log that `inputs` follow from. `figures_hash` covers what the figures
    are (subject, cycle, window, values, completeness), `content_hash` the whole revision with `previous_hash`. Facts
    count when effective in (`window_start`, `window_end`] and not after `effective`.
    """

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
    window_start: datetime | None = None
    window_end: datetime | None = None
    figures_hash: str = ""


class ScorecardSuperseded(ScorecardFact):
    """A published revision is replaced by the next one because of a later fact, which is named.

    `further_facts` counts later facts about the same subject that came in the same round.
    """

    revision: int
    causing_fact: str
    causing_type: str
    further_facts: int = 0


class PublicationFact(Fact, topic=Topic("evaluation.publications", partitions=1), key="publication_id"):
    """About the publication of a cycle's scorecards; its id is the cycle."""

    publication_id: str


class PublicationOpened(PublicationFact):
    """Somebody asked for the scorecards of a window; the place of this fact in the log is what they pin as `known`."""

    run: int
    window_start: datetime
    window_end: datetime
    kinds: tuple[SubjectKind, ...]


class PublicationClosed(PublicationFact):
    """Every subject has its revision, or is said to be unchanged or withheld (it has facts that lie parked)."""

    run: int
    known: int
    published: int
    unchanged: int
    withheld: tuple[str, ...]


class RevisionFact(Fact, topic=Topic("evaluation.revisions", partitions=1), key="revision_id"):
    """About the rounds in which published scorecards follow later facts; there is one stream of them."""

    revision_id: str


class RevisionOpened(RevisionFact):
    """Later facts wait; the place of this fact in the log is what the new revisions pin as `known`."""

    round: int


class RevisionClosed(RevisionFact):
    """The round is done: how many facts it looked at, which cards it superseded, which it had to withhold."""

    round: int
    known: int
    facts: int
    superseded: int
    unchanged: int
    withheld: tuple[str, ...]
