"""Who ranks where: total = base + tilt, ties by named rules, a bound on what a province gains by tilts (rule 13)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from services.incentive_scoring.domain import AwardDocket, Candidate, TiltDecision
from services.incentive_scoring.policies.rules import PolicyDocument
from shared.contracts.incentive_scoring import RankedPlace, ReleasedPlace

_LAST = datetime.max.replace(tzinfo=UTC)
FIRST = "first"


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate with the points that count, and whether a veto keeps it from any place."""

    candidate: Candidate
    tilt: Decimal
    ineligible: bool = False


@dataclass(frozen=True, slots=True)
class Ranking:
    """The order, and the places the concentration guard moved."""

    places: tuple[RankedPlace, ...]
    released: tuple[ReleasedPlace, ...]

    @property
    def winners(self) -> tuple[str, ...]:
        """Who holds a place, in order."""
        return tuple(place.subject for place in self.places if place.in_places)


def rank(policy: PolicyDocument, places: int, entries: Iterable[RankedCandidate]) -> Ranking:
    """Orders and gives the places; equal totals → higher base → earlier acceptance → code."""
    keys = _keys(policy)
    order = sorted(entries, key=lambda entry: [key(entry) for _name, key in keys])
    by_base = sorted(order, key=lambda entry: [key(entry) for name, key in keys if name not in ("total", "tilt")])
    chosen = [entry for entry in order if not entry.ineligible][:places]
    untilted = [entry for entry in by_base if not entry.ineligible][:places]
    winners, gained = {e.candidate.subject for e in chosen}, {e.candidate.subject for e in chosen}
    gained -= {entry.candidate.subject for entry in untilted}
    released = _guard(policy, chosen, untilted, gained)
    winners -= {moved.subject for moved in released}
    winners |= {moved.given_to for moved in released}
    lines = tuple(
        RankedPlace(
            rank=number,
            subject=entry.candidate.subject,
            base=entry.candidate.base,
            tilt=entry.tilt,
            total=_total(policy, entry),
            decided_by=_decided_by(keys, order[number - 2], entry) if number > 1 else FIRST,
            in_places=entry.candidate.subject in winners,
            region=entry.candidate.region,
            ineligible=entry.ineligible,
            tilt_decided=entry.candidate.subject in gained,
        )
        for number, entry in enumerate(order, 1)
    )
    return Ranking(lines, released)


def standing(
    policy: PolicyDocument, docket: AwardDocket, decisions: Mapping[str, TiltDecision], *, vetoed: Iterable[str] = ()
) -> list[RankedCandidate]:
    """A docket's candidates with the tilts that stand; `vetoed` are further subjects that a veto bars."""
    barred = set(vetoed) | {place.subject for place in docket.ranking if place.ineligible}
    return [
        RankedCandidate(candidate, decisions[subject].tilt, subject in barred)
        for subject, candidate in sorted(docket.candidates.items())
    ]


def difference(before: Sequence[RankedPlace], after: Sequence[RankedPlace]) -> list[dict[str, Any]]:
    """Whose rank, total or place differs, with both."""
    earlier = {place.subject: place for place in before}
    moved = []
    for place in after:
        was = earlier.get(place.subject)
        if was is None or (was.rank, was.total, was.in_places) != (place.rank, place.total, place.in_places):
            moved.append(
                {
                    "subject": place.subject,
                    "rank": [was.rank if was else None, place.rank],
                    "total": [str(was.total) if was else None, str(place.total)],
                    "tilt": [str(was.tilt) if was else None, str(place.tilt)],
                    "in_places": [was.in_places if was else None, place.in_places],
                }
            )
    return moved


Key = Callable[[RankedCandidate], Any]


def _keys(policy: PolicyDocument) -> list[tuple[str, Key]]:
    keys: list[tuple[str, Key]] = [
        ("total", lambda entry: -_total(policy, entry)),
        ("base", lambda entry: -entry.candidate.base),
    ]
    if policy.instruments.tie_break_priority:
        keys.append(("tilt", lambda entry: -entry.tilt))
    return [
        *keys,
        ("acceptance", lambda entry: entry.candidate.accepted_at or _LAST),
        ("code", lambda entry: entry.candidate.subject),
    ]


def _total(policy: PolicyDocument, entry: RankedCandidate) -> Decimal:
    return entry.candidate.base + (entry.tilt if policy.instruments.points else Decimal(0))


def _decided_by(keys: list[tuple[str, Key]], above: RankedCandidate, entry: RankedCandidate) -> str:
    """The first rule by which this candidate stands below the one above it."""
    return next(name for name, key in keys if key(above) != key(entry))


def _guard(
    policy: PolicyDocument, chosen: Sequence[RankedCandidate], untilted: Sequence[RankedCandidate], gained: set[str]
) -> tuple[ReleasedPlace, ...]:
    limit = max(policy.guard.minimum, int(policy.guard.share * len(gained)))
    by_province: dict[str, list[str]] = defaultdict(list)
    for entry in chosen:
        if entry.candidate.subject in gained:
            by_province[entry.candidate.region[:2] + "0000"].append(entry.candidate.subject)
    holders = {entry.candidate.subject for entry in chosen}
    waiting = [entry.candidate.subject for entry in untilted if entry.candidate.subject not in holders]
    over = [(subject, province) for province, held in by_province.items() for subject in held[limit:]]
    order = {entry.candidate.subject: number for number, entry in enumerate(chosen)}
    return tuple(
        ReleasedPlace(
            province=province, subject=subject, given_to=next_one, tilt_decided=len(by_province[province]), limit=limit
        )
        for (subject, province), next_one in zip(sorted(over, key=lambda pair: order[pair[0]]), waiting, strict=False)
    )
