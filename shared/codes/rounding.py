"""Rounding of figures as GB/T 8170-2008 has it (四舍六入五成双): a half goes to the even neighbour."""

from __future__ import annotations

from decimal import MAX_PREC, ROUND_HALF_EVEN, Context, Decimal

# The default context would refuse a figure of more than 28 digits instead of rounding it.
_EXACT = Context(prec=MAX_PREC, rounding=ROUND_HALF_EVEN)


def half_even(value: Decimal, places: int = 2) -> Decimal:
    """The value at `places` decimals (negative for tens, hundreds …), a half to even; never prints −0.

    Round once, at the end: rounding a rounded figure again is wrong under any rule (GB/T 8170, 3.3).
    """
    if not value.is_finite():
        raise ValueError(f"{value} is no figure")
    rounded = _EXACT.quantize(value, Decimal(1).scaleb(-places))
    return rounded.copy_abs() if rounded.is_zero() else rounded
