"""How dockets, decisions and vetoes look from outside, within what the caller may see."""

from typing import Any

from services.incentive_scoring.domain import AwardDocket, TiltDecision, Veto
from shared.contracts.evaluation import SubjectKind
from shared.kernel import Actor, RegionScope

_OWN_ONLY = frozenset({"enterprise", "institution"})


def docket(found: AwardDocket, scope: RegionScope) -> dict[str, Any]:
    """A docket without its candidates; a region sees the revocations proposed for its own."""
    decided = found.ranked_at.isoformat() if found.ranked_at else None
    return {
        "docket_id": found.id,
        "version": found.version,
        "state": found.state,
        "award": found.award,
        "level": found.level,
        "subject_kind": found.subject_kind.value,
        "cycle": found.cycle,
        "policy_version": found.policy_version,
        "places": found.places,
        "cycle_start": found.cycle_start.isoformat() if found.cycle_start else None,
        "cycle_end": found.cycle_end.isoformat() if found.cycle_end else None,
        "candidates": len(found.candidates),
        "cut_at": found.cut_at.isoformat() if found.cut_at else None,
        "ranked_at": decided,
        "ranked_because": found.ranked_because,
        "revocations": _revocations(found, scope),
        "missing": _missing(found),
    }


def candidates(found: AwardDocket, scope: RegionScope) -> list[dict[str, Any]]:
    """The candidates in scope with their base scores and, after the cut, what is pinned for them."""
    return [
        candidate.model_dump(mode="json")
        | {"pinned": found.pins[subject].model_dump(mode="json") if subject in found.pins else None}
        for subject, candidate in sorted(found.candidates.items())
        if scope.covers(candidate.region)
    ]


def ranking(found: AwardDocket, scope: RegionScope) -> dict[str, Any]:
    """The ranking in force; a region sees its own lines."""
    names = {subject: candidate.name for subject, candidate in found.candidates.items()}
    return {
        "docket_id": found.id,
        "state": found.state,
        "policy_version": found.policy_version,
        "places": found.places,
        "reason": found.ranked_because,
        "ranked_at": found.ranked_at.isoformat() if found.ranked_at else None,
        "ranking": [
            place.model_dump(mode="json") | {"name": names.get(place.subject, "")}
            for place in found.ranking
            if scope.covers(place.region)
        ],
        "released": [moved.model_dump(mode="json") for moved in found.released if scope.covers(moved.province)],
        "revocations": _revocations(found, scope),
    }


def simulation(answer: dict[str, Any], found: AwardDocket, scope: RegionScope) -> dict[str, Any]:
    """What a question comes to; a region sees its own lines, as in the ranking."""
    own = {subject for subject, candidate in found.candidates.items() if scope.covers(candidate.region)}
    lines = {
        name: [line for line in answer[name] if line["subject"] in own]
        for name in ("ranking", "released", "differs", "leaves")
    }
    if "breakpoints" in answer:
        intervals = [
            part
            | {
                "winners": [subject for subject in part["winners"] if subject in own],
                "swaps": [pair for pair in part["swaps"] if own.issuperset(pair)],
            }
            for part in answer["breakpoints"]["intervals"]
        ]
        lines["breakpoints"] = answer["breakpoints"] | {"intervals": intervals}
    return answer | lines


def decision(found: TiltDecision) -> dict[str, Any]:
    """A decision in one line."""
    fact = found.fact
    return {
        "id": found.id,
        "version": found.version,
        "docket_id": found.docket_id,
        "subject_kind": found.subject_kind.value,
        "subject": found.subject,
        "name": found.name,
        "region": found.regions[0],
        "level": found.level,
        "state": found.state,
        "base": str(fact.base),
        "raw": str(fact.raw),
        "final": str(found.decided.final) if found.decided else "0",
        "counts": str(found.tilt),
        "reasons": list(found.withheld.reasons) if found.withheld else [],
        "policy_version": fact.policy_version,
        "scorecard_id": fact.scorecard_id,
        "scorecard_revision": fact.scorecard_revision,
        "explanation_hash": fact.explanation_hash,
        "decided_at": fact.decided_at.isoformat() if fact.decided_at else None,
        "reversed_by": found.reversed_by,
        "reversed_at": found.reversed_at.isoformat() if found.reversed_at else None,
    }


def veto(found: Veto) -> dict[str, Any]:
    """A veto as it stands."""
    shown = found.model_dump(mode="json", exclude={"id", "at", "moved"})
    return {"veto_id": found.id} | shown | {"escalated": found.escalated_at is not None}


def may_read(actor: Actor, found: TiltDecision) -> bool:
    """A party reads its own decisions, a person nobody else's (rule 17); who decides or checks reads all in scope."""
    if found.subject_kind is SubjectKind.INDIVIDUAL:
        watchers = {"secretariat", "office", "supervision", "auditor"}
        return bool(actor.roles & watchers) or actor.id == found.subject
    return bool(actor.roles - _OWN_ONLY) or actor.org == found.subject


def own(actor: Actor) -> dict[str, Any]:
    """The part of a query that keeps a party to itself, and people's decisions to those who may see them."""
    if not actor.roles - _OWN_ONLY:
        return {"subject": {"$in": sorted({actor.org, actor.id} - {""})}}
    if not actor.roles & {"secretariat", "office", "supervision", "auditor"}:
        return {"subject_kind": {"$ne": SubjectKind.INDIVIDUAL.value}}
    return {}


def _revocations(found: AwardDocket, scope: RegionScope) -> list[dict[str, Any]]:
    return [
        proposal.model_dump(mode="json")
        for proposal in found.revocations
        if scope.covers(found.candidates[proposal.subject].region)
    ]


def _missing(found: AwardDocket) -> list[dict[str, str]]:
    """What the next step still needs."""
    if found.state == "opened":
        return [{"zh": "请导入基础得分", "en": "import the base scores"}]
    if found.state == "closed":
        return [{"zh": "决定未完成:请重试 decide", "en": "the decision is unfinished: repeat decide"}]
    return []
