"""What incentive_scoring keeps: approved policies, dockets, decisions, vetoes; each changes only with a fact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.evaluation import SubjectKind
from shared.contracts.fact import Evidence
from shared.contracts.incentive_scoring import (
    AwardDocketClosed,
    AwardDocketOpened,
    AwardRevocationProposed,
    BaseScoreReceived,
    RankedPlace,
    RankingComputed,
    ReleasedPlace,
    TiltDecided,
    TiltPolicyApproved,
    TiltReversed,
    TiltWithheld,
    VetoConfirmed,
    VetoEscalated,
    VetoLifted,
    VetoRaised,
)
from shared.kernel import Aggregate, DomainError

PLACES_PER_PART = 800
"""Lines of a ranking in one fact: about 200 bytes each stay below the 256 KiB of a fact (rule 8 of the protocol)."""

Decided = TiltDecided | TiltWithheld


def digest(content: Any) -> str:
    """SHA-256 over canonical JSON: sorted keys, no blanks, UTF-8."""
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class PolicyAlreadyApproved(DomainError):
    """A version is approved once."""

    code = "tilt-policy-already-approved"
    zh = "倾斜政策 {version} 已批准"
    en = "Tilt policy {version} is approved already"


class PolicyOwn(DomainError):
    """Whoever wrote a policy cannot approve it."""

    code = "tilt-policy-own"
    status = 403
    zh = "不能批准自己起草的政策 {version}"
    en = "Who wrote policy {version} cannot approve it"


class TiltPolicy(Aggregate):
    """An approved version with its whole content, so that it stays reproducible whatever becomes of its file."""

    content: dict[str, Any] = Field(default_factory=dict)
    content_hash: str = ""
    author: str = ""
    replaces: str = ""
    approved_by: str = ""
    approved_at: datetime | None = None

    @classmethod
    def approve(
        cls, *, version: str, content: dict[str, Any], author: str, replaces: str, by: str, at: datetime
    ) -> TiltPolicy:
        """Brings a version into force; the approver is not its author."""
        if by == author:
            raise PolicyOwn(version=version)
        policy = cls(
            id=version, content=content, content_hash=digest(content), author=author, replaces=replaces,
            approved_by=by, approved_at=at,
        )  # fmt: skip
        policy.record(
            TiltPolicyApproved(
                policy_version=version, content_hash=policy.content_hash, author=author, replaces=replaces
            ),
            effective_at=at,
        )
        return policy


# --- dockets ---


class DocketAlreadyOpened(DomainError):
    """A docket's number is used once."""

    code = "award-docket-already-opened"
    zh = "奖励档案 {docket} 已存在"
    en = "Award docket {docket} is there already"


class DocketClosed(DomainError):
    """After the decision cut a docket takes nothing more (rule 21); later changes are listed as would-change."""

    code = "award-docket-closed"
    zh = "奖励档案 {docket} 已于 {cut} 截止决定,不再接受变更;之后的变化见“将会变化”清单"
    en = "Award docket {docket} was cut for decision at {cut} and takes no change; see its would-change list"


class DocketEmpty(DomainError):
    """There is nobody to decide about."""

    code = "award-docket-empty"
    zh = "奖励档案 {docket} 还没有基础得分,不能决定"
    en = "Award docket {docket} has no base scores yet: nothing can be decided"


class DocketNotDecided(DomainError):
    """What was asked for exists only after the decision."""

    code = "award-docket-not-decided"
    zh = "奖励档案 {docket} 尚未完成决定"
    en = "Award docket {docket} is not decided yet"


class Candidate(BaseModel):
    """A subject in a docket with its external base score; `accepted_at` (受理) breaks ties."""

    model_config = ConfigDict(frozen=True)

    subject: str
    name: str
    region: str
    base: Decimal
    accepted_at: datetime | None = None


class PinnedInput(BaseModel):
    """What a candidate's decision reads, fixed at the decision cut; revision 0 and an empty fact mean there is none.

    `earlier` are decided tilts of the same subject and award level, whose facts cannot be used again.
    """

    model_config = ConfigDict(frozen=True)

    scorecard_id: str
    scorecard_revision: int = 0
    scorecard_hash: str = ""
    assessment_fact: str = ""
    vetoes: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()


class RevocationProposal(BaseModel):
    """That a veto reaches an award of this docket; somebody revokes or maintains it later."""

    model_config = ConfigDict(frozen=True)

    subject: str
    veto_id: str
    displaced: tuple[str, ...]
    promoted: tuple[str, ...]
    reranked: bool
    proposed_at: datetime


class AwardDocket(Aggregate):
    """The candidates of one award, subject kind and cycle: opened → scored → closed (the cut) → ranked."""

    state: Literal["opened", "scored", "closed", "ranked"] = "opened"
    award: str = ""
    level: str = ""
    subject_kind: SubjectKind = SubjectKind.ENTERPRISE
    cycle: str = ""
    policy_version: str = ""
    places: int = 0
    cycle_start: datetime | None = None
    cycle_end: datetime | None = None
    candidates: dict[str, Candidate] = Field(default_factory=dict)
    cut_at: datetime | None = None
    pins: dict[str, PinnedInput] = Field(default_factory=dict)
    ranking: tuple[RankedPlace, ...] = ()
    released: tuple[ReleasedPlace, ...] = ()
    ranked_because: str = ""
    ranked_at: datetime | None = None
    revocations: tuple[RevocationProposal, ...] = ()

    @classmethod
    def open(
        cls, *, docket_id: str, award: str, level: str, subject_kind: SubjectKind, cycle: str, policy_version: str,
        places: int, cycle_start: datetime, cycle_end: datetime, at: datetime,
    ) -> AwardDocket:  # fmt: skip
        """Opens a docket under a policy version."""
        about = {
            "award": award, "level": level, "subject_kind": subject_kind, "cycle": cycle,
            "policy_version": policy_version, "places": places, "cycle_start": cycle_start, "cycle_end": cycle_end,
        }  # fmt: skip
        docket = cls.model_validate({"id": docket_id} | about)
        docket.record(AwardDocketOpened.model_validate({"docket_id": docket_id} | about), effective_at=at)
        return docket

    def receive(self, candidates: Iterable[Candidate], *, at: datetime) -> int:
        """Takes new and changed base scores before the cut; returns how many there were."""
        self.must_take()
        taken = 0
        for candidate in candidates:
            before = self.candidates.get(candidate.subject)
            if before == candidate:
                continue
            self.candidates = self.candidates | {candidate.subject: candidate}
            self.state = "scored"
            taken += 1
            self.record(
                BaseScoreReceived(
                    docket_id=self.id, subject=candidate.subject, base=candidate.base, region=candidate.region,
                    accepted_at=candidate.accepted_at, name=candidate.name, replaces=before.base if before else None,
                ),
                effective_at=at,
            )  # fmt: skip
        return taken

    def must_take(self) -> None:
        """Raises DocketClosed after the decision cut."""
        if self.cut_at is not None:
            raise DocketClosed(docket=self.id, cut=self.cut_at.isoformat())

    def close(self, pins: dict[str, PinnedInput], *, policy_hash: str, at: datetime) -> None:
        """The decision cut: from now on these inputs and no others decide."""
        self.must_take()
        if not self.candidates:
            raise DocketEmpty(docket=self.id)
        self.state, self.cut_at, self.pins = "closed", at, pins
        pinned = digest({subject: pin.model_dump(mode="json") for subject, pin in pins.items()})
        self.record(
            AwardDocketClosed(
                docket_id=self.id, cut_at=at, candidates=len(self.candidates), policy_hash=policy_hash, pins_hash=pinned
            ),
            effective_at=at,
        )

    def rank(
        self, ranking: Sequence[RankedPlace], released: Sequence[ReleasedPlace], *, reason: str, at: datetime
    ) -> None:
        """Takes a ranking; a long one is said in numbered parts under one root hash."""
        self.state, self.ranking, self.released = "ranked", tuple(ranking), tuple(released)
        self.ranked_because, self.ranked_at = reason, at
        parts = [tuple(ranking[i : i + PLACES_PER_PART]) for i in range(0, len(ranking), PLACES_PER_PART)] or [()]
        root = digest([place.model_dump(mode="json") for place in ranking])
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            self.record(
                RankingComputed(
                    docket_id=self.id, ranking=part, policy_version=self.policy_version, reason=reason,
                    released=self.released if last else (), part=number, parts=len(parts), root_hash=root,
                ),
                effective_at=at,
            )  # fmt: skip

    def propose_revocation(self, proposal: RevocationProposal) -> None:
        """A veto reaches an award of this docket."""
        self.revocations = (*self.revocations, proposal)
        self.record(
            AwardRevocationProposed.model_validate(
                {"docket_id": self.id} | proposal.model_dump(exclude={"proposed_at"})
            ),
            effective_at=proposal.proposed_at,
        )

    def place_of(self, subject: str) -> RankedPlace | None:
        """The subject's line of the ranking in force."""
        return next((place for place in self.ranking if place.subject == subject), None)


# --- decisions ---


class TiltDecision(Aggregate):
    """What was decided about one candidate; the fact itself is kept, and with it everything its explanation says."""

    state: Literal["decided", "withheld", "reversed"] = "withheld"
    docket_id: str = ""
    subject_kind: SubjectKind = SubjectKind.ENTERPRISE
    subject: str = ""
    name: str = ""
    level: str = ""
    decided: TiltDecided | None = None
    withheld: TiltWithheld | None = None
    reversed_by: str = ""
    reversed_at: datetime | None = None

    @classmethod
    def take(cls, fact: Decided, *, name: str, region: str, level: str, at: datetime) -> TiltDecision:
        """Records a decision."""
        decision = cls(
            id=fact.decision_id, docket_id=fact.docket_id, subject_kind=fact.subject_kind, subject=fact.subject,
            name=name, level=level, regions=(region,),
        )  # fmt: skip
        if isinstance(fact, TiltDecided):
            decision.state, decision.decided = "decided", fact
        else:
            decision.state, decision.withheld = "withheld", fact
        decision.record(fact, effective_at=at)
        return decision

    @property
    def fact(self) -> Decided:
        """What was decided, reversed or not."""
        found = self.decided or self.withheld
        assert found is not None
        return found

    @property
    def tilt(self) -> Decimal:
        """The points that count now: 0 when withheld or reversed."""
        return self.decided.final if self.state == "decided" and self.decided else Decimal(0)

    @property
    def evidence(self) -> frozenset[str]:
        """The facts that support this tilt; a leaf without points rests on none."""
        if self.state != "decided" or self.decided is None:
            return frozenset()
        return frozenset(fact for leaf in self.decided.components if leaf.points for fact in leaf.evidence)

    def reverse(self, *, veto_id: str, ground: str, at: datetime) -> None:
        """Takes a decided tilt back."""
        assert self.decided is not None
        self.state, self.reversed_by, self.reversed_at = "reversed", veto_id, at
        self.record(
            TiltReversed(decision_id=self.id, veto_id=veto_id, final=self.decided.final, ground=ground),
            effective_at=at,
        )


# --- vetoes ---


class VetoOwn(DomainError):
    """A veto is confirmed by another person than the one who raised it."""

    code = "veto-own"
    status = 403
    zh = "提出人不能确认自己提出的一票否决,须由另一人确认"
    en = "Who raised a veto cannot confirm it: another person must"


class VetoNotRaised(DomainError):
    """Only a raised veto can be confirmed."""

    code = "veto-not-open"
    zh = "一票否决 {veto} 的状态为 {state},不能进行此操作"
    en = "Veto {veto} is {state}: this cannot be done"


class Veto(Aggregate):
    """A ground that acts once another person has confirmed it: raised → confirmed → lifted, or raised → lifted."""

    state: Literal["raised", "confirmed", "lifted"] = "raised"
    ground: str = ""
    subject_kind: SubjectKind = SubjectKind.ENTERPRISE
    subject: str = ""
    effective_from: datetime | None = None
    effective_until: datetime | None = None
    reason: str = ""
    evidence: tuple[Evidence, ...] = ()
    raised_by: str = ""
    raised_at: datetime | None = None
    confirmed_by: str = ""
    confirmed_at: datetime | None = None
    escalated_at: datetime | None = None
    lifted_by: str = ""
    lifted_at: datetime | None = None
    lifted_because: str = ""
    moved: tuple[dict[str, Any], ...] = ()

    @classmethod
    def raise_(
        cls, *, veto_id: str, ground: str, subject_kind: SubjectKind, subject: str, effective_from: datetime,
        effective_until: datetime | None, reason: str, evidence: Sequence[Evidence], regions: tuple[str, ...],
        by: str, at: datetime,
    ) -> Veto:  # fmt: skip
        """Raises a veto with the documents behind it; it does nothing yet."""
        veto = cls(
            id=veto_id, ground=ground, subject_kind=subject_kind, subject=subject, effective_from=effective_from,
            effective_until=effective_until, reason=reason, evidence=tuple(evidence), regions=regions, raised_by=by,
            raised_at=at,
        )  # fmt: skip
        veto.record(
            VetoRaised(
                veto_id=veto_id, ground=ground, subject_kind=subject_kind, subject=subject,
                effective_from=effective_from, effective_until=effective_until, reason=reason,
            ),
            effective_at=at,
            evidence=evidence,
        )  # fmt: skip
        return veto

    def confirm(self, *, by: str, at: datetime, moved: tuple[dict[str, Any], ...]) -> None:
        """Lets the veto act from now on; `moved` says whom it moves."""
        if self.state != "raised":
            raise VetoNotRaised(veto=self.id, state=self.state)
        if by == self.raised_by:
            raise VetoOwn
        self.state, self.confirmed_by, self.confirmed_at, self.moved = "confirmed", by, at, moved
        self.record(VetoConfirmed(veto_id=self.id, confirmed_by=by), effective_at=at)

    def escalate(self, *, at: datetime) -> bool:
        """Tells the upper office that nobody has confirmed it; nothing happens to one that is settled."""
        if self.state != "raised" or self.escalated_at is not None:
            return False
        assert self.raised_at is not None
        self.escalated_at = at
        self.record(VetoEscalated(veto_id=self.id, raised_at=self.raised_at), effective_at=at)
        return True

    def lift(self, *, reason: str, by: str, at: datetime) -> None:
        """Ends the veto; a closed round is not restored by it."""
        if self.state == "lifted":
            raise VetoNotRaised(veto=self.id, state=self.state)
        self.state, self.lifted_by, self.lifted_at, self.lifted_because = "lifted", by, at, reason
        self.record(VetoLifted(veto_id=self.id, reason=reason), effective_at=at)
