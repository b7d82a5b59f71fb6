"""A pilot (联动提升试点 / 质量强链重大标志性项目) from its draft to its acceptance."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pydantic import Field

from services.pilot_registration.domain.applications import (
    ListVersion,
    MapVersion,
    Missing,
    NotComplete,
    PilotDocument,
    RoleHolder,
    missing,
)
from services.pilot_registration.domain.lifecycle import PILOT_TRANSITIONS, PilotState, allow
from services.pilot_registration.domain.notices import Notice, NoticeOver, Objection
from services.pilot_registration.domain.shares import (
    LeadRegionOnly,
    SeparationOfDuties,
    checked_shares,
    civil_day,
    moment_of,
    not_after_today,
)
from shared.contracts.fact import Evidence
from shared.contracts.pilot_registration import (
    ChainRoleAssigned,
    ChainRoleEnded,
    Level,
    ListKind,
    ListPublished,
    NoticeClosed,
    NoticeOpened,
    ObjectionDecided,
    ObjectionFiled,
    PilotAcceptanceRequested,
    PilotAccepted,
    PilotAdmitted,
    PilotApproved,
    PilotChanged,
    PilotDrafted,
    PilotFact,
    PilotNotSelected,
    PilotRecalled,
    PilotRefused,
    PilotReturned,
    PilotSelected,
    PilotShareConfirmed,
    PilotSharesChanged,
    PilotStarted,
    PilotSubmitted,
    PilotWithdrawn,
    Programme,
    QualityMapPublished,
    Share,
)
from shared.kernel import Actor, Aggregate, FieldError, InvalidInput, NotFound

RETURNS_MAX = 3


class Pilot(Aggregate):
    """A pilot with lead and participant regions; `regions` are those with a share, all of which see it."""

    title: str = ""
    programme: Programme = Programme.PILOT
    level: Level = Level.NATIONAL
    chain_id: str = ""
    applicant: str = ""
    lead_region: str = ""
    shares: tuple[Share, ...] = ()
    confirmed: tuple[str, ...] = ()
    state: PilotState = PilotState.DRAFT
    since: date | None = None
    submission: int = 0
    returns: int = 0
    reasons: tuple[str, ...] = ()
    missing_documents: tuple[str, ...] = ()
    documents: tuple[PilotDocument, ...] = ()
    lists: dict[ListKind, ListVersion] = Field(default_factory=dict)
    quality_map: MapVersion | None = None
    roles: tuple[RoleHolder, ...] = ()
    quota_bucket: str = ""
    run_id: str = ""
    notice: Notice | None = None
    objections: tuple[Objection, ...] = ()
    code: str = ""
    due_on: date | None = None
    started_on: date | None = None
    accepted_on: date | None = None
    steps: dict[str, str] = Field(default_factory=dict)
    """Who took which step last (opaque ids), for the separation of duties."""

    # --- before submission ---

    @classmethod
    def draft(
        cls, *, pilot_id: str, title: str, programme: Programme, level: Level, chain_id: str, applicant: str,
        lead_region: str, shares: Sequence[Share], by: Actor, at: datetime,
    ) -> Pilot:  # fmt: skip
        """Opens a pilot; whoever drafts it confirms the lead region's share by that."""
        agreed = checked_shares(shares, lead_region)
        pilot = cls(
            id=pilot_id, title=title, programme=programme, level=level, chain_id=chain_id, applicant=applicant,
            lead_region=lead_region, shares=agreed, confirmed=(lead_region,), regions=_regions(agreed),
            since=civil_day(at), steps={"draft": by.id},
        )  # fmt: skip
        fact = PilotDrafted(
            pilot_id=pilot_id, title=title, programme=programme, level=level, chain_id=chain_id, applicant=applicant,
            lead_region=lead_region, shares=agreed,
        )  # fmt: skip
        pilot.record(fact, effective_at=at)
        return pilot

    def change(
        self, *, title: str, programme: Programme, level: Level, chain_id: str, applicant: str, lead_region: str,
        shares: Sequence[Share], at: datetime,
    ) -> bool:  # fmt: skip
        """Changes the draft; False when nothing differs. All but the title is material and voids confirmations."""
        self._allow("change")
        agreed = checked_shares(shares, lead_region)
        material = (programme, level, chain_id, applicant, lead_region, agreed)
        voids = material != (
            self.programme, self.level, self.chain_id, self.applicant, self.lead_region, self.shares,
        )  # fmt: skip
        if not voids and title == self.title:
            return False
        self.title, self.programme, self.level, self.chain_id, self.applicant = (
            title, programme, level, chain_id, applicant,
        )  # fmt: skip
        self.lead_region, self.shares, self.regions = lead_region, agreed, _regions(agreed)
        if voids:
            self.confirmed = (lead_region,)
        fact = PilotChanged(
            pilot_id=self.id, title=title, programme=programme, level=level, chain_id=chain_id, applicant=applicant,
            lead_region=lead_region, shares=agreed, voids=voids,
        )  # fmt: skip
        self.record(fact, effective_at=at)
        return True

    def confirm_share(self, region: str, *, at: datetime) -> bool:
        """A region agrees to its share; False when it has agreed already."""
        if region not in self.regions:
            zh, en = f"{region} 在本试点没有份额", f"{region} has no share in this pilot"
            raise InvalidInput(errors=[FieldError("region", "share-region", zh, en, region)])
        if region in self.confirmed:
            return False
        self._allow("confirm-share")
        self.confirmed = (*self.confirmed, region)
        self.record(PilotShareConfirmed(pilot_id=self.id, region=region), effective_at=at)
        return True

    def publish_lists(
        self,
        *,
        lists: dict[ListKind, tuple[int, str]],
        quality_map: tuple[int, int, int, str] | None,
        roles: Sequence[RoleHolder] | None,
        at: datetime,
    ) -> None:
        """New versions of the lists given as (rows, hash), of the map as (nodes, edges, covered, hash), and the roles.

        What has the content it had keeps its version; nothing is recorded for it.
        """
        self._allow("import")
        for kind, (rows, content_hash) in lists.items():
            before = self.lists.get(kind)
            if before is not None and before.content_hash == content_hash:
                continue
            version = 1 if before is None else before.version + 1
            self.lists = {**self.lists, kind: ListVersion(version=version, rows=rows, content_hash=content_hash)}
            self.record(
                ListPublished(
                    pilot_id=self.id, list_kind=kind, list_version=version, rows=rows, content_hash=content_hash
                ),
                effective_at=at,
            )
        if roles is not None:
            self._change_roles(roles, at)
        if quality_map is not None:
            self._publish_map(*quality_map, at)

    def _change_roles(self, roles: Sequence[RoleHolder], at: datetime) -> None:
        today = civil_day(at)
        before = {(holder.role, holder.uscc) for holder in self.roles}
        after = {(holder.role, holder.uscc) for holder in roles}
        for role, uscc in sorted(before - after):
            self.record(ChainRoleEnded(pilot_id=self.id, role=role, uscc=uscc, until=today), effective_at=at)
        for role, uscc in sorted(after - before):
            self.record(ChainRoleAssigned(pilot_id=self.id, role=role, uscc=uscc, since=today), effective_at=at)
        self.roles = tuple(RoleHolder(role=role, uscc=uscc) for role, uscc in sorted(after))

    def _publish_map(self, nodes: int, edges: int, covered: int, content_hash: str, at: datetime) -> None:
        if self.quality_map is not None and self.quality_map.content_hash == content_hash:
            return
        version = 1 if self.quality_map is None else self.quality_map.version + 1
        self.quality_map = MapVersion(
            version=version, nodes=nodes, edges=edges, nodes_covered=covered, content_hash=content_hash
        )
        fact = QualityMapPublished(
            pilot_id=self.id, map_version=version, nodes=nodes, edges=edges, nodes_covered=covered,
            content_hash=content_hash,
        )  # fmt: skip
        self.record(fact, effective_at=at)

    # --- submission ---

    def missing_for_submission(self, documents: Sequence[PilotDocument] = ()) -> list[Missing]:
        """What the application still lacks besides the documents given here."""
        return missing(
            shares=self.shares, confirmed=self.confirmed, documents=(*self.documents, *documents), lists=self.lists,
            quality_map=self.quality_map, roles=self.roles,
        )  # fmt: skip

    def submit(self, documents: Sequence[PilotDocument], *, by: Actor, at: datetime) -> None:
        """Hands the application in; everything must be there, and its hash covers all of it."""
        self._allow("submit")
        lacks = self.missing_for_submission(documents)
        if lacks:
            faults = [
                FieldError(lack.what, "missing", f"{lack.zh}({lack.by})", f"{lack.en} ({lack.by})") for lack in lacks
            ]
            raise NotComplete(count=len(lacks), errors=faults)
        kept = {document.kind: document for document in (*self.documents, *documents)}
        self.documents = tuple(kept[kind] for kind in sorted(kept))
        self.submission += 1
        self.reasons = self.missing_documents = ()
        fact = PilotSubmitted(pilot_id=self.id, application_hash=self.application_hash(), submission=self.submission)
        evidence = [Evidence(uri=f"/attachments/{d.attachment_id}", sha256=d.sha256) for d in self.documents]
        self._enter(PilotState.SUBMITTED, fact, "submit", by, at, evidence=evidence)

    def application_hash(self) -> str:
        """SHA-256 over what was submitted: the form, shares, documents, and the versions of lists, map and roles."""
        content = self.model_dump(
            mode="json",
            include={
                "id", "title", "programme", "level", "chain_id", "applicant", "lead_region", "shares", "documents",
                "lists", "quality_map", "roles",
            },
        )  # fmt: skip
        return hashlib.sha256(json.dumps(content, ensure_ascii=False, sort_keys=True).encode()).hexdigest()

    def recall(self, reason: str, *, by: Actor, at: datetime) -> None:
        """The applicant takes the submission back to work on it."""
        self._allow("recall")
        self._enter(PilotState.DRAFT, PilotRecalled(pilot_id=self.id, reason=reason), "recall", by, at)

    def send_back(self, reasons: Sequence[str], missing_documents: Sequence[str], *, by: Actor, at: datetime) -> None:
        """退回: with reasons and the documents that are missing; after three returns the application is refused."""
        self._allow("return")
        self.reasons, self.missing_documents = tuple(reasons), tuple(missing_documents)
        if self.returns >= RETURNS_MAX:
            self._enter(PilotState.REFUSED, PilotRefused(pilot_id=self.id, reasons=self.reasons), "return", by, at)
            return
        self.returns += 1
        self.documents = tuple(document for document in self.documents if document.kind not in missing_documents)
        fact = PilotReturned(pilot_id=self.id, reasons=self.reasons, missing_documents=self.missing_documents)
        self._enter(PilotState.RETURNED, fact, "return", by, at)

    def admit(self, quota_bucket: str, *, by: Actor, at: datetime) -> None:
        """受理: the form check is passed."""
        self._allow("admit")
        self._another("submit", by, ("提交", "受理"), ("submitted it", "admit it"))
        self.quota_bucket = quota_bucket
        self._enter(PilotState.ADMITTED, PilotAdmitted(pilot_id=self.id, quota_bucket=quota_bucket), "admit", by, at)

    # --- selection and notice ---

    def select(self, run_id: str, reason: str, *, by: Actor, at: datetime) -> None:
        """入选 in a run."""
        self._allow("select")
        self._another("admit", by, ("受理", "遴选"), ("admitted it", "select it"))
        self.run_id = run_id
        self._enter(
            PilotState.SELECTED, PilotSelected(pilot_id=self.id, run_id=run_id, reason=reason), "select", by, at
        )

    def decline(self, run_id: str, reason: str, *, by: Actor, at: datetime) -> None:
        """未入选 in a run, for a reason."""
        self._allow("decline")
        self.run_id = run_id
        fact = PilotNotSelected(pilot_id=self.id, run_id=run_id, reason=reason)
        self._enter(PilotState.NOT_SELECTED, fact, "decline", by, at)

    def open_notice(self, working_days: int, *, by: Actor, at: datetime) -> Notice:
        """公示 opens today and closes at the end of the n-th working day after (rule 2)."""
        self._allow("open-notice")
        self.notice = Notice.open(self.id, working_days, at=at)
        fact = NoticeOpened(
            pilot_id=self.id, notice_id=self.notice.notice_id, opened_on=self.notice.opened_on,
            closes_at=self.notice.closes_at, working_days=working_days, calendar_version=self.notice.calendar_version,
        )  # fmt: skip
        self._enter(PilotState.IN_NOTICE, fact, "open-notice", by, at)
        return self.notice

    def object(self, *, objection_id: str, reason: str, evidence: Sequence[Evidence], by: Actor, at: datetime) -> None:
        """An objection with evidence, before the close; the notice's clock stands still from now on."""
        self._allow("object")
        notice = self._open_notice(at)
        objector = by.org or by.id
        self.objections = (
            *self.objections,
            Objection(objection_id=objection_id, objector=objector, objector_id=by.id, reason=reason, filed_at=at,
                      evidence=tuple(evidence)),
        )  # fmt: skip
        self.notice = notice.held(at)
        fact = ObjectionFiled(
            pilot_id=self.id, notice_id=notice.notice_id, objection_id=objection_id, objector=objector, reason=reason
        )
        self._enter(PilotState.OBJECTION_HOLD, fact, "object", by, at, evidence=evidence)

    def decide_objection(self, objection_id: str, *, sustained: bool, reason: str, by: Actor, at: datetime) -> None:
        """Sustained disqualifies; not sustained changes nothing but that the clock goes on when no other is open."""
        self._allow("decide-objection")
        open_ones = [objection for objection in self.objections if objection.sustained is None]
        chosen = next((objection for objection in open_ones if objection.objection_id == objection_id), None)
        if chosen is None or self.notice is None:
            raise NotFound
        if chosen.objector_id == by.id:
            raise SeparationOfDuties(
                zh_first="提出异议", zh_second="裁定异议", en_first="objected", en_second="decide the objection"
            )
        decided = chosen.model_copy(update={"sustained": sustained, "decision": reason})
        self.objections = tuple(decided if o.objection_id == objection_id else o for o in self.objections)
        last = len(open_ones) == 1
        if last and not sustained:
            self.notice = self.notice.resumed(at)
        fact = ObjectionDecided(
            pilot_id=self.id, notice_id=self.notice.notice_id, objection_id=objection_id, sustained=sustained,
            reason=reason, closes_at=self.notice.closes_at if last and not sustained else None,
            calendar_version=self.notice.calendar_version,
        )  # fmt: skip
        going_on = PilotState.IN_NOTICE if last else PilotState.OBJECTION_HOLD
        self._enter(PilotState.DISQUALIFIED if sustained else going_on, fact, "decide-objection", by, at)

    def close_notice(self, *, by: Actor, at: datetime) -> None:
        """The notice's time is over; effective at the very end of its last working day."""
        self._allow("close-notice")
        assert self.notice is not None
        if at < self.notice.closes_at:
            raise NoticeOver(zh="尚未到期", en="is not over yet", closes_at=self.notice.closes_at.isoformat())
        fact = NoticeClosed(pilot_id=self.id, notice_id=self.notice.notice_id)
        self._enter(PilotState.NOTICE_CLOSED, fact, "close-notice", by, at, effective_at=self.notice.closes_at)

    # --- approval and after ---

    def approve(self, code: str, due_on: date, *, by: Actor, at: datetime) -> None:
        """立项, only after the notice has closed; by another person than who selected it."""
        self._allow("approve")
        self._another("select", by, ("遴选", "立项批准"), ("selected it", "approve it"))
        if due_on <= civil_day(at):
            zh, en = "验收期限应在今天之后", "The due day must lie after today"
            raise InvalidInput(errors=[FieldError("due_on", "date-in-past", zh, en, str(due_on))])
        self.code, self.due_on = code, due_on
        fact = PilotApproved(pilot_id=self.id, code=code, approved_on=civil_day(at), due_on=due_on)
        self._enter(PilotState.APPROVED, fact, "approve", by, at)

    def change_shares(
        self, lead_region: str, shares: Sequence[Share], *, effective_on: date, reason: str, at: datetime
    ) -> None:
        """The office's decision on other shares from a day on; earlier facts keep the earlier shares (rule 4)."""
        self._allow("change-shares")
        agreed = checked_shares(shares, lead_region)
        self.lead_region, self.shares, self.confirmed = lead_region, agreed, tuple(share.region for share in agreed)
        # A region that leaves still sees the pilot it had a share in.
        self.regions = tuple(dict.fromkeys((*_regions(agreed), *self.regions)))
        fact = PilotSharesChanged(
            pilot_id=self.id, lead_region=lead_region, shares=agreed, effective_on=effective_on, reason=reason
        )
        self.record(fact, effective_at=moment_of(effective_on, at))

    def start(self, *, by: Actor, at: datetime) -> None:
        """开展: what target T13 counts, with the shares credited from now on."""
        self._allow("start")
        assert self.due_on is not None
        self.started_on = civil_day(at)
        fact = PilotStarted(
            pilot_id=self.id, level=self.level, lead_region=self.lead_region, shares=self.shares,
            started_on=self.started_on, due_on=self.due_on,
        )  # fmt: skip
        self._enter(PilotState.RUNNING, fact, "start", by, at)

    def request_acceptance(self, *, by: Actor, at: datetime) -> None:
        """The region asks for acceptance."""
        self._allow("request-acceptance")
        fact = PilotAcceptanceRequested(pilot_id=self.id, requested_on=civil_day(at))
        self._enter(PilotState.ACCEPTANCE_REQUESTED, fact, "request-acceptance", by, at)

    def accept(self, accepted_on: date, *, by: Actor, at: datetime) -> None:
        """验收通过 on a day that has come, not before the start; by another person than who asked."""
        self._allow("accept")
        self._another("request-acceptance", by, ("申请验收", "验收"), ("asked for acceptance", "accept it"))
        not_after_today("accepted_on", accepted_on, at)
        if self.started_on is not None and accepted_on < self.started_on:
            zh, en = f"早于启动日 {self.started_on}", f"It lies before the start on {self.started_on}"
            raise InvalidInput(errors=[FieldError("accepted_on", "date-before-start", zh, en, str(accepted_on))])
        self.accepted_on = accepted_on
        fact = PilotAccepted(pilot_id=self.id, accepted_on=accepted_on)
        self._enter(PilotState.ACCEPTED, fact, "accept", by, at, effective_at=moment_of(accepted_on, at))

    def withdraw(self, reason: str, *, by: Actor, at: datetime) -> None:
        """The applicant takes the pilot back before approval."""
        self._allow("withdraw")
        self._enter(PilotState.WITHDRAWN, PilotWithdrawn(pilot_id=self.id, reason=reason), "withdraw", by, at)

    # --- who ---

    def led_by(self, by: Actor) -> None:
        """Raises LeadRegionOnly unless the caller acts for the lead region (or the nation)."""
        if not by.scope.covers(self.lead_region):
            raise LeadRegionOnly(lead_region=self.lead_region)

    @property
    def in_public(self) -> bool:
        """Whether it is in public notice, where anybody may look and object."""
        return self.state in (PilotState.IN_NOTICE, PilotState.OBJECTION_HOLD)

    @property
    def possible(self) -> tuple[str, ...]:
        """The verbs that are possible now."""
        return PILOT_TRANSITIONS[self.state]

    def _open_notice(self, at: datetime) -> Notice:
        assert self.notice is not None
        if self.state is PilotState.IN_NOTICE and at >= self.notice.closes_at:
            raise NoticeOver(zh="已期满", en="is over", closes_at=self.notice.closes_at.isoformat())
        return self.notice

    def _allow(self, verb: str) -> None:
        allow(self.id, self.state, verb, transitions=PILOT_TRANSITIONS)

    def _another(self, step: str, by: Actor, zh: tuple[str, str], en: tuple[str, str]) -> None:
        if self.steps.get(step) == by.id:
            raise SeparationOfDuties(zh_first=zh[0], zh_second=zh[1], en_first=en[0], en_second=en[1])

    def _enter(self, state: PilotState, fact: PilotFact, step: str, by: Actor, at: datetime, **more: Any) -> None:
        self.state, self.since = state, civil_day(at)
        self.steps = {**self.steps, step: by.id}
        self.record(fact, **({"effective_at": at} | more))


def share_of(pilot: Pilot, region: str) -> Decimal:
    """A region's share of a pilot, 0 without one."""
    return next((share.share for share in pilot.shares if share.region == region), Decimal(0))


def _regions(shares: Sequence[Share]) -> tuple[str, ...]:
    return tuple(share.region for share in shares)
