"""GB 11643, checked against python-stdnum as the second opinion. Numbers are synthetic or the standard's samples.

Its validate() is no oracle: it looks the county up at the year of birth and refuses samples of the standard itself.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric as oracle

from shared.codes.resident_ids import InvalidResidentId, check_character, checked_resident_id

VALID = (
    "11010519491231002X 34052419800101001X 340104198503120019 340104198806070020 320505199001010038 "
    "330106197911230045 310115198310050054"
).split()
ALL_CHECKS = "0123456789X"


@pytest.mark.parametrize("number", VALID)
def test_accepts_valid_numbers_in_any_width_and_case(number: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) for character in number.lower())
    assert checked_resident_id(f" {wide}\u3000") == number
    assert oracle.calc_check_digit(number) == number[-1]


def test_rule_01_lower_case_x_equals_capital_x() -> None:
    assert checked_resident_id("11010519491231002x") == checked_resident_id("11010519491231002X")


@pytest.mark.parametrize("number", VALID)
def test_rule_01_a_wrong_check_is_refused_without_repeating_the_number_or_teaching_the_right_one(number: str) -> None:
    messages = set()
    for wrong in ALL_CHECKS.replace(number[-1], ""):
        with pytest.raises(InvalidResidentId) as refused:
            checked_resident_id(number[:-1] + wrong)
        assert refused.value.rule == "check"
        said = f"{refused.value} {refused.value.zh} {refused.value.en} {refused.value!r} {vars(refused.value)}"
        assert not any(number[start : start + 6] in said for start in range(12))
        messages.add(said)
    assert len(messages) == 1, "the message depends on nothing in the number"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "length"),
        ("340104850312001", "length"),
        ("3401041985031200190", "length"),
        ("X40104198503120019", "characters"),
        ("34010419850312 019", "characters"),
        ("34010419850312001A", "characters"),
        ("990104198503120019", "place"),
        ("660104198503120019", "place"),
        ("340104198502300019", "birth-date"),
        ("340104198513010019", "birth-date"),
        ("340104000003010019", "birth-date"),
    ],
)
def test_a_wrong_number_is_refused_by_rule_in_both_languages_and_not_repeated(text: str, rule: str) -> None:
    with pytest.raises(InvalidResidentId) as refused:
        checked_resident_id(text)
    assert refused.value.rule == rule
    assert refused.value.zh
    assert str(refused.value) == refused.value.en
    assert not text or text not in refused.value.zh + refused.value.en


@given(st.from_regex(r"[0-9]{17}", fullmatch=True))
def test_agrees_with_the_second_opinion_on_every_check_character(seventeen: str) -> None:
    assert check_character(seventeen) == oracle.calc_check_digit(seventeen + "0")


@given(st.sampled_from(VALID), st.integers(0, 16), st.integers(1, 9))
def test_one_wrong_digit_never_passes(number: str, place: int, shift: int) -> None:
    changed = number[:place] + str((int(number[place]) + shift) % 10) + number[place + 1 :]
    with pytest.raises(InvalidResidentId):
        checked_resident_id(changed)


@given(st.sampled_from(VALID), st.integers(0, 15))
def test_two_swapped_neighbours_never_pass(number: str, place: int) -> None:
    swapped = number[:place] + number[place + 1] + number[place] + number[place + 2 :]
    if swapped != number:
        with pytest.raises(InvalidResidentId):
            checked_resident_id(swapped)


@given(st.text("0123456789Xx０Ｘ ", max_size=20))
def test_any_text_is_either_a_number_or_refused(text: str) -> None:
    with suppress(InvalidResidentId):
        assert len(checked_resident_id(text)) == 18
