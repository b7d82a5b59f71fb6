"""GB/T 8170, checked against exact integer arithmetic."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codes.rounding import half_even


@pytest.mark.parametrize(
    ("value", "places", "rounded"),
    [
        ("2.345", 2, "2.34"),
        ("2.355", 2, "2.36"),
        ("2.3450000001", 2, "2.35"),
        ("-2.345", 2, "-2.34"),
        ("12.5", 0, "12"),
        ("13.5", 0, "14"),
        ("30", 2, "30.00"),
        ("1250", -2, "1.2E+3"),
        ("-0.001", 2, "0.00"),
    ],
)
def test_a_half_goes_to_the_even_neighbour(value: str, places: int, rounded: str) -> None:
    assert str(half_even(Decimal(value), places)) == rounded


@given(st.integers(-(10**40), 10**40), st.integers(0, 12), st.integers(0, 8))
def test_agrees_with_exact_fractions_for_any_length_of_figure(units: int, scale: int, places: int) -> None:
    value = Decimal(f"{units}E-{scale}")
    expected = round(Fraction(units, 10**scale), places)  # Fraction.__round__ is half-even by definition
    assert Fraction(half_even(value, places)) == expected


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**9), max_value=10**9))
def test_rounding_a_rounded_figure_to_the_same_place_changes_nothing(value: Decimal) -> None:
    once = half_even(value)
    assert str(half_even(once)) == str(once)


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_figure_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="no figure"):
        half_even(Decimal(value))
