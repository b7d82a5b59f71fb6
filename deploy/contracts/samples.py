"""Golden samples: what a fact looked like on the wire when it was new, kept for ever and read by every later model.

A sample is written once, when a fact (or a field of it) is new, and never rewritten: `PilotDrafted.2.json` stands
beside `PilotDrafted.1.json`. `python -m deploy.contracts` adds what is missing; the values are plausible and can be
edited before the first commit.
"""

from __future__ import annotations

import json
import types
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from deploy.contracts.schemas import facts, text
from shared.contracts import Fact
from shared.kernel import microseconds
from shared.log.wire import encode
from shared.log.writes import canonical

FOLDER = "tests/contracts/samples"
LOG_ID = "sample"
_AT = datetime(2026, 3, 2, 1, 30, 0, 125_000, UTC)
_TEXT = {
    "uscc": "91340100MA2T00015G",
    "owner": "91340100MA2T00023B",
    "applicant": "12340100MB1A0001XJ",
    "leader": "91340100MA2T00015G",
    "institution": "12320500MB1C00011D",
    "claimant_org": "91340100MA2T00023B",
    "verifier_org": "12320500MB1C00011D",
    "subject": "91340100MA2T00015G",
    "displaced": "91340100MA2T00015G",
    "promoted": "91340100MA2T00023B",
    "claimed_by": "quality-manager-07",
    "confirmed_by": "office-340000",
    "author": "policy-author-1",
    "name": "合肥示例新能源汽车有限公司",
    "ChainRegistered.name": "新能源汽车产业链",
    "Measure.name": "焊缝气孔率",
    "TiltComponent.name": "closure",
    "TiltComponent.withheld": "target-not-set",
    "exact": "3/8",
    "formula": "8 * clamp((I06 - 0.5) / 0.5)",
    "province": "340000",
    "given_to": "91340100MA2T00023B",
    "earlier": "AD-2025-0001:91340100MA2T00015G",
    "vetoes": "V-2026-0001",
    "title": "动力电池壳体焊缝气孔率偏高",
    "PilotDrafted.title": "合肥市新能源汽车产业链供应链质量联动提升试点",
    "KeyProjectListed.title": "动力电池壳体激光焊接质量攻关",
    "reason": "复验数据不足,请补充检测报告",
    "reasons": "质量图谱未覆盖检测环节",
    "missing_documents": "立项书",
    "milestones": "完成焊接工艺评定",
    "milestone": "完成焊接工艺评定",
    "award": "安徽省人民政府质量奖",
    "pilot_id": "PL-2026-0001",
    "issue_id": "PL-2026-0001:Q:12",
    "project_id": "PL-2026-0001:K:3",
    "number": "12",
    "code": "LD-34-2026-001",
    "quota_bucket": "2026-1",
    "call": "2026-1",
    "objection_id": "PL-2026-0001:O:1",
    "objector": "91340100MA2T00023B",
    "run_id": "run-2026-1",
    "notice_id": "PL-2026-0001:N:1",
    "chain_id": "nev",
    "group_id": "G-0007",
    "assessment_id": "enterprise:91340100MA2T00015G:2026",
    "scorecard_id": "enterprise:91340100MA2T00015G:2026",
    "publication_id": "2026",
    "revision_id": "revisions",
    "withheld": "enterprise:91340100MA2T00015G:2026",
    "docket_id": "AD-2026-0001",
    "decision_id": "AD-2026-0001:91340100MA2T00015G",
    "veto_id": "V-2026-0001",
    "cycle": "2026",
    "method": "trimmed-mean",
    "indicator": "I06",
    "formula_version": "I06.1",
    "ground": "V3",
    "gate": "G2",
    "figure": "0.8333 >= 0.80",
    "decided_by": "base",
    "causing_type": "IssueReopened",
    "policy_version": "TP-2026.1",
    "replaces": "TP-2025.1",
    "level": "provincial",
    "calendar_version": "CN-2026-5b1f5a4f",
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "service": "pilot-registration",
    "topic": "pilot-registration.issues",
}
_ENDINGS = {
    "region": "340100",
    "division_code": "340104",
    "hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "fact": "019cac9d-8bbc-7000-8000-000000000007",
    "evidence": "019cac9d-8bbc-7000-8000-000000000007",
    "id": "019cac9d-8bbc-7000-8000-000000000009",
    "codes": "3670",
    "ids": "PL-2026-0001:Q:12",
}
_INTEGERS = {
    "grade": 2,
    "partition": 0,
    "seq": 4711,
    "known": 4711,
    "rank": 1,
    "working_days": 5,
    "places": 10,
    "n": 200,
}


def missing(root: Path) -> dict[str, str]:
    """Path and text of a sample for every fact that has none, or whose newest lacks a field of today's model."""
    wanted: dict[str, str] = {}
    for fact in facts():
        kept = of(root, fact)
        if not kept or not complete(fact, kept[-1]["data"]):
            name = f"{FOLDER}/{fact.topic.service}/{fact.__name__}.{len(kept) + 1}.json"
            wanted[name] = text(sample_of(fact))
    return wanted


def of(root: Path, fact: type[Fact]) -> list[dict[str, Any]]:
    """The samples of a fact, the oldest first."""
    paths = (root / FOLDER / fact.topic.service).glob(f"{fact.__name__}.*.json")
    by_number = sorted(paths, key=lambda path: int(path.name.split(".")[1]))
    return [json.loads(path.read_text("utf-8")) for path in by_number]


def complete(fact: type[Fact], data: dict[str, Any]) -> bool:
    """Whether reading this data sets every field, nested ones included."""
    read = fact.model_validate_json(json.dumps(data))
    return read.model_dump(mode="json", exclude_unset=True) == read.model_dump(mode="json")


def sample_of(fact: type[Fact]) -> dict[str, Any]:
    """A fact of this kind with plausible values in every field, as key, headers and data on the wire."""
    built = _model(fact)
    assert isinstance(built, Fact)
    event = {
        "id": "019cac9d-8bbd-7000-8000-000000000001",
        "type": fact.__name__,
        "subject": built.aggregate_id,
        "at": microseconds(_AT),
        "effective_at": microseconds(_AT - timedelta(hours=16)),
        "prev": 41,
        "version": 3,
        "actor": {"id": "office-340000", "role": "province", "org": "12340100MB1A0001XJ"},
        "correlation_id": "6f1c3f0e-5f0a-4c0e-9a53-7b1f5a4f2d11",
        "causation_id": "019cac9d-8bbc-7000-8000-000000000007",
        "origin": "live",
        "evidence": [{"uri": "/attachments/65f0c0ffee0000000000abcd", "sha256": _TEXT["sha256"]}],
        "data": canonical(built),
    }
    key, value, headers = encode(event, service=fact.topic.service, log_id=LOG_ID, seq=42)
    return {
        "key": key.decode(),
        "headers": {name: content.decode() for name, content in headers},
        "data": json.loads(value),
    }


def _model(model: type[BaseModel]) -> BaseModel:
    return model(
        **{
            name: _value(f"{model.__name__}.{name}" if f"{model.__name__}.{name}" in _TEXT else name, spec.annotation)
            for name, spec in model.model_fields.items()
        }
    )


def _value(name: str, kind: Any) -> Any:
    if get_origin(kind) in (Union, types.UnionType):
        return _value(name, next(part for part in get_args(kind) if part is not type(None)))
    if get_origin(kind) is tuple:
        return (_value(name, get_args(kind)[0]),)
    if isinstance(kind, type):
        if issubclass(kind, BaseModel):
            return _model(kind)
        if issubclass(kind, Enum):
            return next(iter(kind))
    plain = {bool: True, datetime: _AT, date: _AT.date(), int: _INTEGERS.get(name, 3), Decimal: Decimal("0.375")}
    return plain[kind] if kind in plain else _text(name)


def _text(name: str) -> str:
    ending = next((value for end, value in _ENDINGS.items() if name.endswith(end)), f"示例 {name}")
    return _TEXT.get(name, ending)
