"""Closures, assessments, scorecards and their publication: what may happen to them, and what is recorded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, Field

from shared.contracts.evaluation import (
    AssessmentFinalised,
    ConsensusRequired,
    IndicatorValue,
    InputRange,
    IssueClosureRejected,
    IssueClosureVerified,
    PublicationClosed,
    PublicationOpened,
    RevisionClosed,
    RevisionOpened,
    ScorecardPublished,
    ScorecardSuperseded,
    SubjectKind,
)
from shared.contracts.fact import Evidence
from shared.kernel import Aggregate, DomainError

# --- closures ---


class ClosureAlreadyDecided(DomainError):
    """A claim is verified or rejected once."""

    code = "closure-already-decided"
    zh = "该销号声明已有结论:{verdict}"
    en = "This closure claim has been decided already: {verdict}"


class ClosureWithoutEvidence(DomainError):
    """A claim without a document behind it cannot be verified; it can be rejected."""

    code = "closure-without-evidence"
    status = 422
    zh = "该销号声明没有附证据材料,不能核验通过;可以驳回并说明理由"
    en = "No document stands behind this claim: it cannot be verified; reject it with a reason"


class Closure(Aggregate):
    """The decisions about the closure claims of one issue; its id is the issue's."""

    decided: dict[str, Literal["verified", "rejected"]] = Field(default_factory=dict)

    def verify(self, *, claim_fact: str, verifier_org: str, evidence: Sequence[Evidence], at: datetime) -> None:
        """Somebody else confirms the claim, on the documents that came with it."""
        self._undecided(claim_fact)
        if not evidence:
            raise ClosureWithoutEvidence
        self.decided = self.decided | {claim_fact: "verified"}
        fact = IssueClosureVerified(issue_id=self.id, claim_fact=claim_fact, verifier_org=verifier_org)
        self.record(fact, effective_at=at, evidence=evidence)

    def reject(self, *, claim_fact: str, verifier_org: str, reason: str, at: datetime) -> None:
        """Somebody else refuses the claim, for a reason; the owner works on."""
        self._undecided(claim_fact)
        self.decided = self.decided | {claim_fact: "rejected"}
        fact = IssueClosureRejected(issue_id=self.id, claim_fact=claim_fact, verifier_org=verifier_org, reason=reason)
        self.record(fact, effective_at=at)

    def _undecided(self, claim_fact: str) -> None:
        if claim_fact in self.decided:
            raise ClosureAlreadyDecided(verdict=self.decided[claim_fact])


# --- assessments ---


class Appraisal(BaseModel):
    """One evaluator's score of a subject on the 100-point scale; the evaluator is a code, never a name."""

    evaluator: str
    org: str
    declared: bool
    score: Decimal
    items: dict[str, Decimal] = Field(default_factory=dict)
    evidence: str = ""


class PanelResult(BaseModel):
    """What a panel comes to: a total by a method, or `consensus-required` and none."""

    method: Literal["mean", "trimmed-mean", "consensus", "consensus-required"]
    total: Decimal | None
    spread: Decimal
    appraisals: int
    declared: int
    conflicted: int
    coi_clean: bool


class Assessment(Aggregate):
    """The panel's assessment of one subject in one cycle; its id is `<kind>:<subject>:<cycle>`."""

    subject_kind: SubjectKind
    subject: str
    cycle: str
    scores_hash: str = ""
    result: PanelResult | None = None
    decided_at: datetime | None = None

    def conclude(
        self, result: PanelResult, *, scores_hash: str, supersedes: str | None, card: tuple[int, str], at: datetime
    ) -> bool:
        """Takes a panel's result; the same scores change nothing. Says whether anything was recorded.

        `supersedes` is the id of the fact that the new scores correct, `card` the revision and content hash of the
        scorecard that lay before the panel.
        """
        if scores_hash == self.scores_hash:
            return False
        self.scores_hash, self.result, self.decided_at = scores_hash, result, at
        about = {
            "assessment_id": self.id, "subject_kind": self.subject_kind, "subject": self.subject, "cycle": self.cycle,
            "appraisals": result.appraisals, "spread": result.spread,
        }  # fmt: skip
        if result.total is None:
            self.record(ConsensusRequired.model_validate(about), effective_at=at, supersedes=supersedes)
            return True
        more = {
            "total": result.total, "coi_clean": result.coi_clean, "method": result.method, "declared": result.declared,
            "conflicted": result.conflicted, "scorecard_revision": card[0], "scorecard_hash": card[1],
        }  # fmt: skip
        self.record(AssessmentFinalised.model_validate(about | more), effective_at=at, supersedes=supersedes)
        return True


# --- scorecards ---


@dataclass(frozen=True, slots=True)
class Figures:
    """What one subject's figures come to at given positions: the content of a revision."""

    values: tuple[IndicatorValue, ...]
    completeness: tuple[int, int]
    effective: datetime
    known: int
    inputs: tuple[InputRange, ...]
    figures_hash: str


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a revision follows another: the fact that led to it, and how many more came with it."""

    fact: str
    type: str
    further: int = 0


class Scorecard(Aggregate):
    """The published figures of one subject in one cycle, newest revision; its id is `<kind>:<subject>:<cycle>`."""

    subject_kind: SubjectKind
    subject: str
    cycle: str
    window_start: datetime
    window_end: datetime
    revision: int = 0
    run: int = 0
    published: ScorecardPublished | None = None

    def publish(self, figures: Figures, *, cause: Cause | None, at: datetime) -> bool:
        """Publishes a revision when the figures differ from the newest one's; says whether it did (rule 9)."""
        before = self.published
        if before is not None and before.figures_hash == figures.figures_hash:
            return False
        if before is not None:
            assert cause is not None, "a revision follows another for a reason"
            superseded = ScorecardSuperseded(
                scorecard_id=self.id, revision=self.revision, causing_fact=cause.fact, causing_type=cause.type,
                further_facts=cause.further,
            )  # fmt: skip
            self.record(superseded, effective_at=at)
        self.revision += 1
        revision = ScorecardPublished(
            scorecard_id=self.id,
            revision=self.revision,
            subject_kind=self.subject_kind,
            subject=self.subject,
            cycle=self.cycle,
            effective=figures.effective,
            known=figures.known,
            values=figures.values,
            completeness_numerator=figures.completeness[0],
            completeness_denominator=figures.completeness[1],
            inputs=figures.inputs,
            content_hash="",
            previous_hash=before.content_hash if before else "",
            window_start=self.window_start,
            window_end=self.window_end,
            figures_hash=figures.figures_hash,
        )
        self.published = revision.model_copy(update={"content_hash": content_hash(revision)})
        self.record(self.published, effective_at=figures.effective)
        return True


def content_hash(revision: ScorecardPublished) -> str:
    """SHA-256 over the canonical JSON of a revision without this field; it covers the hash of the one before."""
    return digest(revision.model_dump(mode="json", exclude={"content_hash"}))


def digest(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """SHA-256 over canonical JSON: sorted keys, no blanks, UTF-8."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --- publications and rounds ---


class Publication(Aggregate):
    """The publication of a cycle's scorecards; its id is the cycle. `opened_as` is the version of the opening fact."""

    run: int = 0
    opened_as: int = 0
    window_start: datetime | None = None
    window_end: datetime | None = None
    kinds: tuple[SubjectKind, ...] = ()
    open: bool = False

    def start(
        self, *, window_start: datetime, window_end: datetime, kinds: tuple[SubjectKind, ...], at: datetime
    ) -> None:
        """Opens a run; one that was left half way (its caller never came back) is taken over by the new one."""
        self.run, self.open = self.run + 1, True
        self.opened_as = self.version + 1
        self.window_start, self.window_end, self.kinds = window_start, window_end, kinds
        fact = PublicationOpened(
            publication_id=self.id, run=self.run, window_start=window_start, window_end=window_end, kinds=kinds
        )
        self.record(fact, effective_at=at)

    def close(self, *, known: int, published: int, unchanged: int, withheld: tuple[str, ...], at: datetime) -> None:
        """Every subject has had its turn."""
        self.open = False
        fact = PublicationClosed(
            publication_id=self.id, run=self.run, known=known, published=published, unchanged=unchanged,
            withheld=withheld,
        )  # fmt: skip
        self.record(fact, effective_at=at)


class RevisionRound(Aggregate):
    """The rounds in which published scorecards follow later facts; there is one, with the id `scorecards`."""

    round: int = 0
    opened_as: int = 0
    open: bool = False

    def start(self, *, at: datetime) -> None:
        """Opens the next round."""
        self.round, self.open = self.round + 1, True
        self.opened_as = self.version + 1
        self.record(RevisionOpened(revision_id=self.id, round=self.round), effective_at=at)

    def close(  # what came of it
        self, *, known: int, facts: int, superseded: int, unchanged: int, withheld: tuple[str, ...], at: datetime
    ) -> None:
        """Every card that the facts reach has been looked at."""
        self.open = False
        fact = RevisionClosed(
            revision_id=self.id, round=self.round, known=known, facts=facts, superseded=superseded,
            unchanged=unchanged, withheld=withheld,
        )  # fmt: skip
        self.record(fact, effective_at=at)
