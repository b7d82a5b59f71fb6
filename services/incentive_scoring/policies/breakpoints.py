"""Where a ranking changes when one number of the policy moves: exact values, and who wins in between (rule 13).

Base scores have two decimals at most (checked on entry) and tilts are rounded to two, so that totals live on a grid of
0.01 and a moving cap changes them only where its own rounding steps: at values ending in 5 at the third decimal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

from services.incentive_scoring.domain import Candidate
from services.incentive_scoring.policies.ranking import RankedCandidate, Ranking, rank
from services.incentive_scoring.policies.rules import PolicyDocument
from services.incentive_scoring.policies.tilting import rounded

_STEP = Fraction(1, 100)


@dataclass(frozen=True, slots=True)
class OpenTilt:
    """A candidate whose tilt is not fixed yet: exact sum, whether every gate that does not move holds, its figures."""

    candidate: Candidate
    raw: Fraction
    held: bool
    completeness: Fraction
    ineligible: bool = False


@dataclass(frozen=True, slots=True, order=True)
class _Cut:
    """A value where something changes. With `after`, the value itself still belongs to what lies below it."""

    at: Fraction
    after: bool


def by_cap(policy: PolicyDocument, places: int, tilts: Sequence[OpenTilt], low: Fraction, high: Fraction) -> list[Any]:
    """Intervals of the cap between `low` and `high`."""

    def order(cap: Fraction) -> Ranking:
        return _ranked(policy, places, tilts, lambda one: rounded(min(one.raw, cap)) if one.held else Decimal(0))

    return _intervals(sorted(set(_cap_cuts(tilts, low, high))), order, low, high)


def by_base_floor(  # noqa: PLR0917 - as by_cap, and the cap
    policy: PolicyDocument, places: int, tilts: Sequence[OpenTilt], cap: Decimal, low: Fraction, high: Fraction
) -> list[Any]:
    """Intervals of gate G1 in points; at its own base a candidate still passes."""
    return _by_floor(policy, places, tilts, cap, low, high, lambda one: Fraction(one.candidate.base))


def by_completeness_floor(  # noqa: PLR0917 - as by_cap, and the cap
    policy: PolicyDocument, places: int, tilts: Sequence[OpenTilt], cap: Decimal, low: Fraction, high: Fraction
) -> list[Any]:
    """Intervals of gate G2 as a fraction."""
    return _by_floor(policy, places, tilts, cap, low, high, lambda one: one.completeness)


def _by_floor(  # noqa: PLR0917 - a floor and the figure it looks at
    policy: PolicyDocument,
    places: int,
    tilts: Sequence[OpenTilt],
    cap: Decimal,
    low: Fraction,
    high: Fraction,
    figure: Callable[[OpenTilt], Fraction],
) -> list[Any]:
    def order(floor: Fraction) -> Ranking:
        def points(one: OpenTilt) -> Decimal:
            return rounded(min(one.raw, Fraction(cap))) if one.held and figure(one) >= floor else Decimal(0)

        return _ranked(policy, places, tilts, points)

    cuts = {_Cut(figure(one), True) for one in tilts if one.held and one.raw > 0 and low <= figure(one) < high}
    return _intervals(sorted(cuts), order, low, high)


def _ranked(
    policy: PolicyDocument, places: int, tilts: Iterable[OpenTilt], points: Callable[[OpenTilt], Decimal]
) -> Ranking:
    return rank(policy, places, [RankedCandidate(one.candidate, points(one), one.ineligible) for one in tilts])


def _cap_cuts(tilts: Sequence[OpenTilt], low: Fraction, high: Fraction) -> Iterable[_Cut]:
    """Every cap where some pair swaps: one whose tilt still grows passes the total of one whose tilt does not.

    At equal totals the one that grows has the larger tilt, so the smaller base, and stays behind: it passes 0.01 later.
    Two that both grow keep their order. All in hundredths, as whole numbers.
    """
    bases = [int(one.candidate.base * 100) for one in tilts]
    ends = [int(rounded(one.raw) * 100) if one.held else 0 for one in tilts]
    top = int(rounded(high) * 100)
    steps = set()
    for base, end in zip(bases, ends, strict=True):
        for other, fixed in zip(bases, ends, strict=True):
            step = other + fixed - base + 1
            if fixed < step <= min(end, top):
                steps.add(step)
    cuts = (_step_to(Fraction(step, 100)) for step in steps)
    return (cut for cut in cuts if low <= cut.at < high)


def _step_to(tilt: Fraction) -> _Cut:
    """The cap from which rounding gives at least this tilt; itself included where the last digit is even."""
    hundredths = tilt / _STEP
    return _Cut(tilt - _STEP / 2, after=int(hundredths) % 2 == 1)


def _intervals(
    cuts: Sequence[_Cut], order: Callable[[Fraction], Ranking], low: Fraction, high: Fraction
) -> list[dict[str, Any]]:
    """Joins neighbours with equal order; every boundary that stays swaps at least one adjacent pair."""
    edges = [_Cut(low, False), *(cut for cut in cuts if cut != _Cut(low, False)), _Cut(high, True)]
    found: list[dict[str, Any]] = []
    last: Ranking | None = None
    for begin, end in pairwise(edges):
        ranking = order(_inside(begin, end))
        subjects = [place.subject for place in ranking.places]
        if (
            last is not None
            and subjects == [place.subject for place in last.places]
            and ranking.winners == last.winners
        ):
            found[-1] |= {"to": _text(end.at), "to_included": end.after}
            continue
        found.append(
            {
                "from": _text(begin.at),
                "from_included": not begin.after,
                "to": _text(end.at),
                "to_included": end.after,
                "winners": list(ranking.winners),
                "swaps": _swaps(last, ranking) if last is not None else [],
            }
        )
        last = ranking
    return found


def _inside(begin: _Cut, end: _Cut) -> Fraction:
    """A value that lies between two cuts, on a boundary when nothing else does."""
    if begin.at == end.at or not begin.after:
        return begin.at
    return end.at if end.after else (begin.at + end.at) / 2


def _swaps(before: Ranking, after: Ranking) -> list[list[str]]:
    """The pairs that stood one after the other and now stand the other way round."""
    now = {place.subject: place.rank for place in after.places}
    return [[a.subject, b.subject] for a, b in pairwise(before.places) if now[a.subject] > now[b.subject]]


def _text(value: Fraction) -> str:
    """As a decimal where it ends, else as a fraction."""
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return str(value)
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    return str(Decimal(int(value * 10**digits)).scaleb(-digits)) if digits else str(int(value))
