"""Award dockets: opened, scored from workbooks, cut, decided candidate by candidate, ranked."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from services.incentive_scoring.domain import (
    AwardDocket,
    Candidate,
    DocketAlreadyOpened,
    DocketNotDecided,
    TiltDecision,
    digest,
)
from services.incentive_scoring.handlers.knowledge import Knowledge
from services.incentive_scoring.handlers.ports import Aggregates, KnownRows, every
from services.incentive_scoring.policies.ranking import rank, standing
from services.incentive_scoring.policies.rules import LEVEL_NAMES, PolicyDocument
from services.incentive_scoring.policies.tilting import decide, plain
from shared.codes.divisions import InvalidDivision, checked_division
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.contracts.evaluation import SubjectKind
from shared.kernel import CIVIL, NATIONAL, Aggregate, DomainError, FieldError, InvalidInput, NotFound, Outcome
from shared.kernel import RowError as Fault

SHEET = "基础得分"
CANDIDATES_MAX = 5_000
CANDIDATES_PER_CHUNK = 25
SCORES_PER_CHUNK = 500
_CENT = Decimal("0.01")


class PolicyNotInForce(DomainError):
    """A docket is opened under an approved version that no other has replaced."""

    code = "tilt-policy-not-in-force"
    zh = "倾斜政策 {version} 未批准或已被取代,不能据此设立奖励档案"
    en = "Tilt policy {version} is not approved or has been replaced: no docket can be opened under it"


class OtherDocketOpen(DomainError):
    """Two dockets of one level and kind are decided one after the other, since a fact supports one tilt of a level."""

    code = "other-award-docket-open"
    zh = "奖励档案 {docket} 正在决定中:请先完成它(用原 Idempotency-Key 重试 decide)"
    en = "Award docket {docket} is being decided: finish it first (repeat its decide command)"


class DecisionPending(DomainError):
    """Some candidates are not decided yet; the same command goes on where it stopped."""

    code = "decision-pending"
    status = 503
    zh = "奖励档案 {docket} 还有 {left} 个候选待决定:请用同一个 Idempotency-Key 重试"
    en = "{left} candidates of award docket {docket} are still to be decided: repeat with the same Idempotency-Key"


@dataclass(frozen=True, slots=True)
class OpenAwardDocket:
    """Open a docket for an award of a level, for one kind of subject and a cycle."""

    docket_id: str
    award: str
    level: str
    subject_kind: SubjectKind
    cycle: str
    policy_version: str
    places: int
    cycle_start: datetime
    cycle_end: datetime


@dataclass(frozen=True, slots=True)
class BaseScoreRow:
    """One line of an uploaded sheet, typed but not yet judged; `number` as Excel counts."""

    number: int
    subject: str
    name: str
    region: str
    base: Decimal
    accepted_on: date


class BaseScoreImport(Aggregate):
    """What an upload is known by; the preview itself is a row, for nothing has happened yet."""


@dataclass(frozen=True, slots=True)
class AwardDockets:
    """One method per use case; `decide` is `close`, then `decide_slice` as often as needed, then `finish`."""

    dockets: Aggregates[AwardDocket]
    decisions: Aggregates[TiltDecision]
    imports: KnownRows
    deciding: KnownRows
    known_parties: KnownRows
    knowledge: Knowledge

    async def open(self, command: OpenAwardDocket, *, at: datetime) -> AwardDocket:
        """Opens a docket under a policy in force that covers its level."""
        if await self.dockets.find_one(command.docket_id) is not None:
            raise DocketAlreadyOpened(docket=command.docket_id)
        if command.policy_version not in await self.knowledge.in_force():
            raise PolicyNotInForce(version=command.policy_version)
        policy = await self.knowledge.policy(command.policy_version)
        errors = []
        if command.level not in policy.levels:
            known = "、".join(LEVEL_NAMES[level] for level in policy.levels)
            errors.append(
                FieldError("level", "level", f"该政策只适用于:{known}", f"The policy covers {', '.join(policy.levels)}")
            )
        if command.cycle_end <= command.cycle_start:
            errors.append(FieldError("cycle_end", "order", "周期结束须晚于开始", "The cycle must end after it starts"))
        if errors:
            raise InvalidInput(errors=errors)
        docket = AwardDocket.open(
            docket_id=command.docket_id, award=command.award, level=command.level, subject_kind=command.subject_kind,
            cycle=command.cycle, policy_version=command.policy_version, places=command.places,
            cycle_start=command.cycle_start, cycle_end=command.cycle_end, at=at,
        )  # fmt: skip
        self.dockets.save(docket)
        return docket

    # --- base scores ---

    async def preview(self, docket_id: str, rows: Sequence[BaseScoreRow], *, at: datetime) -> Outcome:
        """Judges every row and says what applying would do; nothing but the preview is written."""
        docket = await self._docket(docket_id)
        docket.must_take()
        policy = await self.knowledge.policy(docket.policy_version)
        candidates = await self._judged(docket, policy, rows, at=at)
        new = [c.subject for c in candidates if c.subject not in docket.candidates]
        changed = [
            c.subject for c in candidates if c.subject in docket.candidates and docket.candidates[c.subject] != c
        ]
        given = {c.subject for c in candidates}
        absent = sorted(docket.candidates.keys() - given)
        if len(docket.candidates.keys() | given) > CANDIDATES_MAX:
            raise InvalidInput(
                errors=[
                    Fault(
                        SHEET,
                        0,
                        "",
                        "too-many",
                        f"候选至多 {CANDIDATES_MAX} 个",
                        f"At most {CANDIDATES_MAX} candidates",
                    )
                ]
            )
        kept = [candidate.model_dump(mode="json") for candidate in candidates]
        import_id = f"IMP-{digest([docket_id, docket.version, kept])[:20]}"
        counts = {
            "new": len(new), "changed": len(changed), "unchanged": len(candidates) - len(new) - len(changed),
            "absent": len(absent),
        }  # fmt: skip
        details: dict[str, Any] = counts | {"rows": {"new": new, "changed": changed, "absent": absent}}
        self.imports.set(
            import_id,
            {
                "docket_id": docket_id, "state": "previewed", "done": 0, "total": len(candidates),
                "candidates": kept, "preview": details,
            },
        )  # fmt: skip
        return Outcome(BaseScoreImport(id=import_id), {SHEET: details, **counts, "applicable": True})

    async def apply(self, docket_id: str, import_id: str, chunk: int, *, at: datetime) -> AwardDocket:
        """Takes one chunk of a previewed upload; what has not changed leaves no trace."""
        docket, found = await self._docket(docket_id), await self._import(docket_id, import_id)
        start = chunk * SCORES_PER_CHUNK
        part = [Candidate.model_validate(c) for c in found["candidates"][start : start + SCORES_PER_CHUNK]]
        if docket.receive(part, at=at):
            self.dockets.save(docket)
            self.imports.set(import_id, {"state": "applying", "done": start + len(part)})
        return docket

    async def applied(self, docket_id: str, import_id: str) -> Outcome:
        """Says that the upload is in."""
        docket, found = await self._docket(docket_id), await self._import(docket_id, import_id)
        self.imports.set(import_id, {"state": "applied", "done": found["total"]})
        counts = {name: found["preview"][name] for name in ("new", "changed", "unchanged", "absent")}
        return Outcome(docket, counts | {"docket_version": docket.version, "import_id": import_id})

    # --- the decision ---

    async def close(self, docket_id: str, *, at: datetime) -> AwardDocket:
        """The decision cut: pins what every decision reads. A docket already cut goes on."""
        docket = await self._docket(docket_id)
        if docket.state == "closed":
            return docket
        docket.must_take()
        where = {"level": docket.level, "subject_kind": docket.subject_kind.value}
        for other in await every(self.dockets, NATIONAL, where | {"state": "closed"}):
            raise OtherDocketOpen(docket=other.id)
        policy = await self.knowledge.policy(docket.policy_version)
        # A veto confirmed while this commits would be missed by both sides: each guards what the other changes.
        for veto in await self.knowledge.standing_vetoes(docket, docket.candidates, "raised", "confirmed"):
            self.knowledge.vetoes.guard(veto)
        docket.close(await self.knowledge.pins(docket, policy, at=at), policy_hash=digest(policy.content()), at=at)
        ranked = len(await every(self.dockets, NATIONAL, where | {"state": "ranked"}))
        self.deciding.insert(f"{docket.level}:{docket.subject_kind}:{ranked}", {"docket": docket_id})
        self.dockets.save(docket)
        return docket

    async def decide_slice(self, docket_id: str, chunk: int) -> AwardDocket:
        """Decides one slice of the candidates from their pins; those decided already stay as they are."""
        docket = await self._docket(docket_id)
        subjects = sorted(docket.candidates)[chunk * CANDIDATES_PER_CHUNK : (chunk + 1) * CANDIDATES_PER_CHUNK]
        open_ = [s for s in subjects if await self.decisions.find_one(f"{docket_id}:{s}") is None]
        policy = await self.knowledge.policy(docket.policy_version)
        known = await self.knowledge.known(docket, {subject: docket.pins[subject] for subject in open_})
        for subject in open_:
            candidate, pin = docket.candidates[subject], docket.pins[subject]
            fact = decide(policy, docket, candidate, pin, known[subject])
            assert docket.cut_at is not None
            self.decisions.save(
                TiltDecision.take(
                    fact, name=candidate.name, region=candidate.region, level=docket.level, at=docket.cut_at
                )
            )
        return docket

    async def finish(self, docket_id: str, *, at: datetime) -> Outcome:
        """Ranks when everybody is decided."""
        docket = await self._docket(docket_id)
        if docket.state == "ranked":
            docket.must_take()
        decisions = await self.decided(docket_id)
        if left := len(docket.candidates.keys() - decisions.keys()):
            raise DecisionPending(docket=docket_id, left=left)
        policy = await self.knowledge.policy(docket.policy_version)
        barred = await self._barred(docket, policy)
        ranking = rank(policy, docket.places, standing(policy, docket, decisions, vetoed=barred))
        docket.rank(ranking.places, ranking.released, reason="decided", at=at)
        self.dockets.save(docket)
        states = [decision.state for decision in decisions.values()]
        return Outcome(
            docket,
            {
                "decided": states.count("decided"), "withheld": states.count("withheld"),
                "winners": list(ranking.winners), "released": len(ranking.released),
            },
        )  # fmt: skip

    async def decided(self, docket_id: str) -> dict[str, TiltDecision]:
        """Every decision of a docket by subject."""
        return {d.subject: d for d in await every(self.decisions, NATIONAL, {"docket_id": docket_id})}

    async def recomputed(self, decision: TiltDecision) -> str:
        """The explanation hash that the pinned inputs give now; equal to the stored one or something was edited."""
        docket = await self.dockets.read(decision.docket_id, NATIONAL)
        policy = await self.knowledge.policy(docket.policy_version)
        pin = docket.pins[decision.subject]
        known = await self.knowledge.known(docket, {decision.subject: pin})
        return decide(
            policy, docket, docket.candidates[decision.subject], pin, known[decision.subject]
        ).explanation_hash

    async def _barred(self, docket: AwardDocket, policy: PolicyDocument) -> set[str]:
        pinned = {id for pin in docket.pins.values() for id in pin.vetoes}
        barred = set()
        for id in pinned:
            veto = await self.knowledge.vetoes.read(id, NATIONAL)
            if policy.vetoes[veto.ground].ineligible:  # type: ignore[index]  # grounds are checked when raised
                barred.add(veto.subject)
        return barred

    async def _docket(self, docket_id: str) -> AwardDocket:
        return await self.dockets.get(docket_id, NATIONAL)

    async def _import(self, docket_id: str, import_id: str) -> dict[str, Any]:
        found = await self.imports.get(import_id)
        if found is None or found["docket_id"] != docket_id:
            raise NotFound
        return found

    async def _judged(
        self, docket: AwardDocket, policy: PolicyDocument, rows: Sequence[BaseScoreRow], *, at: datetime
    ) -> list[Candidate]:
        kind = docket.subject_kind
        scale = policy.kinds[kind].scale
        today = at.astimezone(CIVIL).date()
        known = await self.known_parties.find_many(row.subject for row in rows)
        faults: list[Fault] = []
        seen: dict[str, int] = {}
        candidates = []
        for row in rows:
            subject, region = _subject(kind, row, today, faults), _region(kind, row, today, faults)
            party = known.get(subject)
            if party and kind in (SubjectKind.ENTERPRISE, SubjectKind.INSTITUTION) and party["kind"] != kind.value:
                faults.append(
                    _fault(row, "评价对象代码", "kind", "登记的主体类型与本档案不符",
                           "The party is registered as another kind than this docket is for", row.subject)
                )  # fmt: skip
            if subject in seen:
                faults.append(
                    _fault(row, "评价对象代码", "duplicate", f"与第 {seen[subject]} 行重复",
                           f"The same subject stands in row {seen[subject]}", row.subject)
                )  # fmt: skip
            seen.setdefault(subject, row.number)
            if not 0 <= row.base <= scale:
                faults.append(
                    _fault(
                        row,
                        "基础得分",
                        "range",
                        f"应在 0 至 {scale} 之间",
                        f"It must lie between 0 and {scale}",
                        str(row.base),
                    )
                )
            elif row.base != row.base.quantize(_CENT):
                faults.append(
                    _fault(row, "基础得分", "decimals", "至多两位小数", "At most two decimals", str(row.base))
                )
            if row.accepted_on > today:
                faults.append(
                    _fault(
                        row, "受理日期", "future", "不能晚于今天", "It cannot lie in the future", str(row.accepted_on)
                    )
                )
            candidates.append(
                Candidate(
                    subject=subject, name=row.name, region=region, base=plain(row.base),
                    accepted_at=datetime.combine(row.accepted_on, time(), CIVIL),
                )
            )  # fmt: skip
        if not rows:
            faults.append(Fault(SHEET, 0, "", "empty", "表中没有数据行", "The sheet has no rows"))
        if faults:
            raise InvalidInput(errors=faults)
        return candidates


def _subject(kind: SubjectKind, row: BaseScoreRow, today: date, faults: list[Fault]) -> str:
    text = unicodedata.normalize("NFKC", row.subject).strip()
    try:
        if kind is SubjectKind.REGION:
            return checked_division(text, today)
        if kind is not SubjectKind.INDIVIDUAL:
            return checked_uscc(text)
    except (InvalidDivision, InvalidUscc) as wrong:
        name = "division" if kind is SubjectKind.REGION else "uscc"
        faults.append(_fault(row, "评价对象代码", f"{name}-{wrong.rule}", wrong.zh, wrong.en, row.subject))
        return text
    # A person is an opaque token here; anything that could be an id number must not come in (rule 17).
    if not text.replace("-", "").isalnum() or sum(character.isdigit() for character in text) >= 15:
        faults.append(
            _fault(row, "评价对象代码", "token", "个人须用系统代号,不得填写证件号码",
                   "A person is named by an opaque token, never by an id number")
        )  # fmt: skip
    return text


def _region(kind: SubjectKind, row: BaseScoreRow, today: date, faults: list[Fault]) -> str:
    try:
        region = checked_division(row.region, today)
    except InvalidDivision as wrong:
        faults.append(_fault(row, "所在地区", f"division-{wrong.rule}", wrong.zh, wrong.en, row.region))
        return row.region
    if kind is SubjectKind.REGION and region != row.subject.strip():
        faults.append(
            _fault(
                row,
                "所在地区",
                "same",
                "地区档案中须与评价对象代码相同",
                "For a region it equals the subject's code",
                row.region,
            )
        )
    return region


def _fault(  # noqa: PLR0917 - the order in which people read a fault
    row: BaseScoreRow, column: str, rule: str, zh: str, en: str, value: str | None = None
) -> Fault:
    return Fault(SHEET, row.number, column, rule, zh, en, value)


def docket_number(command: dict[str, Any]) -> str:
    """A number for a docket opened without one: the same request gets the same number."""
    return f"AD-{hashlib.sha256(repr(sorted(command.items())).encode()).hexdigest()[:12]}"


__all__ = ["AwardDockets", "BaseScoreRow", "DocketNotDecided", "OpenAwardDocket", "docket_number"]
