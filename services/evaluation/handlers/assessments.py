"""Panels' results arrive as a workbook: looked at as a whole first, then recorded assessment by assessment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.evaluation.domain import Appraisal, Assessment, PanelResult, Scorecard, digest
from services.evaluation.handlers.closures import groups_of
from services.evaluation.handlers.ports import Documents, KeptFacts, Ledger, Rows
from services.evaluation.policies.cards import exact
from services.evaluation.policies.panels import APPRAISALS_MIN, Fault, conflicted, score_faults, settle
from shared.codes.divisions import CORPS, InvalidDivision, checked_division, covers, province_of
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.contracts.evaluation import SubjectKind
from shared.kernel import CIVIL, Aggregate, DomainError, InvalidInput, NotFound, Outcome, RowError, microseconds

SHEET = "专家评分"
PER_CHUNK = 20
_CYCLE = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,39}", re.ASCII)
_EVALUATOR = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,31}", re.ASCII)
_PERSONAL = re.compile(r"\d{17}[\dXx]|1\d{10}", re.ASCII)


class NothingToApply(DomainError):
    """The import was applied already; upload the workbook again to look for changes."""

    code = "import-already-applied"
    zh = "该导入已应用;如有修改,请重新上传工作簿"
    en = "This import has been applied; upload the workbook again if something changed"


class PanelImport(Aggregate):
    """The answer to an upload; what was read is kept as a row until it is applied."""


@dataclass(frozen=True, slots=True)
class PanelRow:
    """One row of the workbook: one evaluator's appraisal of one subject."""

    number: int
    kind: SubjectKind
    subject: str
    cycle: str
    evaluator: str
    org: str
    declared: bool
    score: Decimal | None
    items: dict[str, Decimal]
    consensus: Decimal | None
    evidence: str


@dataclass(frozen=True, slots=True)
class Assessments:
    """One method per step of an import."""

    assessments: Documents[Assessment]
    cards: Documents[Scorecard]
    imports: Rows
    known_parties: Rows
    facts: KeptFacts
    ledger: Ledger

    async def preview(
        self, import_id: str, rows: Sequence[PanelRow], *, columns: dict[str, str], at: datetime
    ) -> Outcome:
        """Says what the workbook would change, or every fault by row; `columns` are the headers by field."""
        errors = [
            RowError(SHEET, row.number, columns[fault.field], fault.rule, fault.zh, fault.en)
            for row in rows
            for fault in _faults(row, at)
        ]
        groups = grouped(rows)
        if not errors:
            for (kind, subject, _cycle), members in groups.items():
                errors += [
                    RowError(SHEET, row.number, columns[fault.field], fault.rule, fault.zh, fault.en)
                    for row, fault in await self._panel_faults(kind, subject, members, at)
                ]
        if errors:
            raise InvalidInput(errors=errors)
        planned = [
            await self._planned(kind, subject, cycle, members) for (kind, subject, cycle), members in groups.items()
        ]
        counts = {
            change: [plan["id"] for plan in planned if plan["change"] == change]
            for change in ("new", "changed", "unchanged")
        }
        state = {"state": "previewed", "total": len(planned), "done": 0, "assessments": planned, "counts": counts}
        self.imports.set(import_id, state | {"uploaded_at": microseconds(at)})
        return Outcome(PanelImport(id=import_id), _shown(state))

    async def apply(self, import_id: str, chunk: int, *, at: datetime) -> Outcome:
        """Records the results of one chunk of assessments; scores that have not changed record nothing."""
        stored = await self._import(import_id)
        if stored["state"] == "applied":
            raise NothingToApply
        start = chunk * PER_CHUNK
        part = stored["assessments"][start : start + PER_CHUNK]
        for plan in part:
            await self._conclude(plan, at)
        self.imports.set(import_id, {"state": "applying", "done": start + len(part)})
        return Outcome(PanelImport(id=import_id))

    async def finish(self, import_id: str) -> Outcome:
        """The whole workbook has been applied."""
        stored = await self._import(import_id)
        if stored["state"] == "applied":
            raise NothingToApply
        applied = {"state": "applied", "done": stored["total"]}
        self.imports.set(import_id, applied)
        return Outcome(PanelImport(id=import_id), _shown(stored | applied))

    async def chunks(self, import_id: str) -> int:
        """How many chunks an import is applied in."""
        return -(-len((await self._import(import_id))["assessments"]) // PER_CHUNK)

    async def read(self, import_id: str) -> dict[str, Any]:
        """The preview and the progress of an import."""
        return {"id": import_id} | _shown(await self._import(import_id))

    async def _import(self, import_id: str) -> dict[str, Any]:
        stored = await self.imports.get(import_id)
        if stored is None:
            raise NotFound
        return stored

    async def _conclude(self, plan: dict[str, Any], at: datetime) -> None:
        kind, appraisals = SubjectKind(plan["kind"]), [Appraisal.model_validate(given) for given in plan["appraisals"]]
        consensus = Decimal(plan["consensus"]) if plan["consensus"] is not None else None
        result = await self._result(kind, plan["subject"], appraisals, consensus, at)
        if result is None:  # an affiliation heard since the preview has made an appraisal invalid
            raise InvalidInput(errors=[RowError(SHEET, plan["row"], "", *_TOO_FEW)])
        stored = await self.assessments.find_one(plan["id"])
        supersedes = None
        if stored is not None and stored.version:
            supersedes = await self.ledger.fact_id(f"evaluation.assessments/{plan['id']}", stored.version)
        assessment = stored or Assessment(
            id=plan["id"], subject_kind=kind, subject=plan["subject"], cycle=plan["cycle"],
            regions=await self._regions(kind, plan["subject"]),
        )  # fmt: skip
        card = await self.cards.find_one(plan["id"])
        seen = (card.revision, card.published.content_hash) if card and card.published else (0, "")
        if assessment.conclude(result, scores_hash=plan["scores_hash"], supersedes=supersedes, card=seen, at=at):
            self.assessments.save(assessment)

    async def _planned(self, kind: SubjectKind, subject: str, cycle: str, rows: Sequence[PanelRow]) -> dict[str, Any]:
        id = f"{kind.value}:{subject}:{cycle}"
        appraisals = [appraisal_of(row).model_dump(mode="json") for row in sorted(rows, key=lambda row: row.evaluator)]
        consensus = next((row.consensus for row in rows if row.consensus is not None), None)
        scores_hash = digest([appraisals, None if consensus is None else str(exact(consensus))])
        stored = await self.assessments.find_one(id)
        change = "new" if stored is None else "unchanged" if stored.scores_hash == scores_hash else "changed"
        return {
            "id": id, "kind": kind.value, "subject": subject, "cycle": cycle, "row": rows[0].number, "change": change,
            "appraisals": appraisals, "consensus": None if consensus is None else str(consensus),
            "scores_hash": scores_hash,
        }  # fmt: skip

    async def _panel_faults(
        self, kind: SubjectKind, subject: str, rows: Sequence[PanelRow], at: datetime
    ) -> list[tuple[PanelRow, Fault]]:
        faults: list[tuple[PanelRow, Fault]] = []
        seen: set[str] = set()
        for row in rows:
            if row.evaluator in seen:
                zh, en = "同一评价员对同一对象只能有一行", "An evaluator appraises a subject in one row only"
                faults.append((row, Fault("evaluator", "evaluator-twice", zh, en)))
            seen.add(row.evaluator)
        agreed = {row.consensus for row in rows if row.consensus is not None}
        if len(agreed) > 1:
            zh, en = "同一对象的共识得分不一致", "The consensus scores of one subject differ"
            faults.append((rows[0], Fault("consensus", "consensus-differs", zh, en)))
        consensus = next(iter(agreed), None)
        if not faults and await self._result(kind, subject, [appraisal_of(row) for row in rows], consensus, at) is None:
            faults.append((rows[0], Fault("subject", *_TOO_FEW)))
        return faults

    async def _result(
        self, kind: SubjectKind, subject: str, appraisals: Sequence[Appraisal], consensus: Decimal | None, at: datetime
    ) -> PanelResult | None:
        orgs = {appraisal.org for appraisal in appraisals}
        groups, now = await groups_of(orgs | {subject}, self.facts, at=at), microseconds(at)
        conflicts = conflicted(subject, appraisals, lambda org, other: groups.affiliated(org, other, now))
        inside = False
        if kind is SubjectKind.REGION:
            rows = [await self.known_parties.get(org) for org in sorted(orgs)]
            inside = all(row is not None and covers(subject, row["regions"][0]) for row in rows)
        return settle(appraisals, conflicts=conflicts, consensus=consensus, all_inside=inside)

    async def _regions(self, kind: SubjectKind, subject: str) -> tuple[str, ...]:
        if kind is SubjectKind.REGION:
            return (subject,)
        party = await self.known_parties.get(subject)
        return tuple(party["regions"]) if party else ()


def grouped(rows: Iterable[PanelRow]) -> dict[tuple[SubjectKind, str, str], list[PanelRow]]:
    """The rows of each assessment, in the order of the workbook."""
    found: dict[tuple[SubjectKind, str, str], list[PanelRow]] = {}
    for row in rows:
        found.setdefault((row.kind, row.subject, row.cycle), []).append(row)
    return found


def appraisal_of(row: PanelRow) -> Appraisal:
    """The appraisal of a row; who withdrew has none that counts."""
    score = row.score if row.score is not None else Decimal(0)
    return Appraisal(
        evaluator=row.evaluator, org=row.org, declared=row.declared, score=exact(score),
        items={id: exact(points) for id, points in row.items.items()}, evidence=row.evidence,
    )  # fmt: skip


_TOO_FEW = (
    "fewer-than-3-valid",
    f"有效评价少于 {APPRAISALS_MIN} 份(申明回避和利益冲突的不计)",
    f"Fewer than {APPRAISALS_MIN} valid appraisals (declared and conflicted ones do not count)",
)


def _faults(row: PanelRow, at: datetime) -> list[Fault]:
    faults = [*_subject_faults(row, at), *_evaluator_faults(row)]
    if not _CYCLE.fullmatch(row.cycle):
        faults.append(
            Fault("cycle", "cycle-format", "评价周期只能用字母、数字和 . _ -", "Letters, digits and . _ - only")
        )
    if row.consensus is not None:
        faults += [Fault("consensus", f.rule, f.zh, f.en) for f in score_faults(row.consensus, {}, cited=True)]
    if row.declared:
        return faults
    if row.score is None:
        return [*faults, Fault("score", "missing", "未申明回避的评价员须有得分", "Who has not withdrawn gives a score")]
    return faults + score_faults(row.score, row.items, cited=bool(row.evidence))


def _subject_faults(row: PanelRow, at: datetime) -> list[Fault]:
    try:
        if row.kind is SubjectKind.REGION:
            code = checked_division(row.subject, at.astimezone(CIVIL).date())
            if code not in (province_of(code), CORPS):
                zh, en = "地区应为省级行政区划代码", "A region is a province-level division code"
                return [Fault("subject", "not-a-province", zh, en)]
        else:
            checked_uscc(row.subject)
    except InvalidDivision as fault:
        return [Fault("subject", f"division-{fault.rule}", fault.zh, fault.en)]
    except InvalidUscc as fault:
        return [Fault("subject", f"uscc-{fault.rule}", fault.zh, fault.en)]
    return []


def _evaluator_faults(row: PanelRow) -> list[Fault]:
    if _PERSONAL.fullmatch(row.evaluator):
        zh, en = "评价员编号不得使用身份证号或手机号", "An evaluator's number is no resident id and no phone number"
        return [Fault("evaluator", "personal-number", zh, en)]
    if not _EVALUATOR.fullmatch(row.evaluator):
        zh, en = "评价员编号为 1 至 32 位字母、数字或连字符", "1 to 32 letters, digits or hyphens"
        return [Fault("evaluator", "evaluator-format", zh, en)]
    try:
        checked_uscc(row.org)
    except InvalidUscc as fault:
        return [Fault("org", f"uscc-{fault.rule}", fault.zh, fault.en)]
    return []


def _shown(stored: dict[str, Any]) -> dict[str, Any]:
    counts = stored["counts"]
    return {
        "state": stored["state"],
        "total": stored["total"],
        "done": stored["done"],
        "applicable": stored["state"] != "applied",
        "new": len(counts["new"]),
        "changed": len(counts["changed"]),
        "unchanged": len(counts["unchanged"]),
        "assessments": {"new": counts["new"], "changed": counts["changed"]},
    }
