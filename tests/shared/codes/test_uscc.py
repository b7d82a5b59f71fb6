"""GB 32100, checked against python-stdnum as the second opinion."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stdnum.cn import uscc as oracle

from shared.codes.uscc import InvalidUscc, check_character, checked_uscc

VALID = "91340100MA2T00015G 91340100MA2T00023B 91320500MA1X00017L 12340100MB1A0001XJ 12320500MB1C00011D".split()
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"


@pytest.mark.parametrize("code", VALID)
def test_accepts_valid_codes_in_any_width_and_case(code: str) -> None:
    wide = "".join(chr(ord(character) + 0xFEE0) for character in code.lower())
    assert checked_uscc(f" {wide} ") == code


def test_rule_01_names_the_expected_check_character() -> None:
    with pytest.raises(InvalidUscc) as refused:
        checked_uscc("91350100M000100Y4Z")
    assert refused.value.rule == "alphabet"
    with pytest.raises(InvalidUscc) as refused:
        checked_uscc("91350100M000100Y44")
    assert (refused.value.rule, refused.value.expected) == ("check", "3")
    assert "3" in refused.value.zh


def test_names_a_wrong_length() -> None:
    with pytest.raises(InvalidUscc, match="18 characters, this has 3"):
        checked_uscc("913")


def test_the_authority_s_division_must_be_digits() -> None:
    seventeen = "91A40100MA2T00015"
    with pytest.raises(InvalidUscc) as refused:
        checked_uscc(seventeen + check_character(seventeen))
    assert refused.value.rule == "division"
    rural = "N2340123MF0A0001X"  # a rural collective: the first part may be a letter
    assert checked_uscc(rural + check_character(rural)).startswith("N2")


@given(st.sampled_from(VALID), st.integers(0, 17), st.sampled_from(ALPHABET))
def test_accepts_a_changed_code_exactly_when_the_second_opinion_does(code: str, place: int, character: str) -> None:
    changed = code[:place] + character + code[place + 1 :]
    assume(place > 1 or character.isdecimal())  # stdnum knows no letters in the first part
    try:
        accepted = checked_uscc(changed) == changed
    except InvalidUscc:
        accepted = False
    assert accepted == oracle.is_valid(changed)


@given(st.text(ALPHABET, min_size=17, max_size=17))
def test_agrees_with_the_second_opinion_on_every_check_character(seventeen: str) -> None:
    assert check_character(seventeen) == oracle.calc_check_digit(seventeen)
