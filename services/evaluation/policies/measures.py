"""Whether a measured improvement is more than chance, and how large it is; exact arithmetic without roots.

Source of the bound: A. Agresti, B. Caffo, "Simple and effective confidence intervals for proportions and differences of
proportions result from adding two successes and two failures", The American Statistician 54 (2000) 280–288: Wald's
interval for a difference of two proportions after one success and one failure are added to each sample. It keeps its
level at shares near 0 and 1, where Wald's plain interval (and its variance of zero) does not, and it is rational: the
one-sided 90 % bound lies on the side of improvement if and only if difference > 0 and difference² > z² · variance.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from shared.codes.rounding import half_even

Z_ONE_SIDED_90 = Decimal("1.2816")
"""The 0.90 quantile of the standard normal distribution at four decimals."""

SAMPLE_MIN = 30
WEIGHT_MAX = 500
_PLACES = 6


def improvement(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Decimal, int] | str:
    """(d, weight) of one measure, or the reason why it does not count (indicator I09).

    d = (p0−p1)/p0 for a defect-like measure, (p1−p0)/(1−p0) for a pass-like one, within [−1, 1], at six decimals half
    to even; weight = min(n0, n1, 500). A worsened measure counts with its sign; an improved one only beyond chance.
    """
    if before["direction"] != after["direction"] or before["name"] != after["name"]:
        return "different-measures"
    p0, p1 = Fraction(str(before["value"])), Fraction(str(after["value"]))
    n0, n1 = int(before["n"]), int(after["n"])
    if not (0 <= p0 <= 1 and 0 <= p1 <= 1):
        return "not-a-fraction"
    if n0 < SAMPLE_MIN or n1 < SAMPLE_MIN:
        return "sample-below-30"
    lower_is_better = before["direction"] == "lower"
    room = p0 if lower_is_better else 1 - p0
    if room == 0:
        return "no-room-to-improve"
    gain = p0 - p1 if lower_is_better else p1 - p0
    if gain >= 0 and not beyond_chance(p0, n0, p1, n1, lower_is_better=lower_is_better):
        return "within-chance"
    d = max(Fraction(-1), min(Fraction(1), gain / room))
    return half_even(_decimal(d), _PLACES), min(n0, n1, WEIGHT_MAX)


def beyond_chance(p0: Fraction, n0: int, p1: Fraction, n1: int, *, lower_is_better: bool) -> bool:
    """Whether the one-sided 90 % bound of the improvement (Agresti–Caffo) lies above zero."""
    a, b = (p0 * n0 + 1) / (n0 + 2), (p1 * n1 + 1) / (n1 + 2)
    gain = a - b if lower_is_better else b - a
    variance = a * (1 - a) / (n0 + 2) + b * (1 - b) / (n1 + 2)
    return gain > 0 and gain * gain > Fraction(Z_ONE_SIDED_90) ** 2 * variance


def _decimal(value: Fraction) -> Decimal:
    """Enough digits to round once: a tie at six decimals ends within them or is no tie."""
    scaled = 10 ** (_PLACES * 3)
    whole, rest = divmod(value.numerator * scaled, value.denominator)
    sticky = 5 if rest else 0  # anything left over lies above the tie, never on it
    return Decimal(whole * 10 + sticky).scaleb(-_PLACES * 3 - 1)
