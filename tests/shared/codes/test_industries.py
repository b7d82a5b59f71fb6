"""GB/T 4754-2017: the shape of the classification, and what is accepted and refused on entry."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codes.industries import INDUSTRIES, InvalidIndustry, checked_industry, industry

SECTIONS = [known for known in INDUSTRIES if not known.division]
DIVISIONS = [known for known in INDUSTRIES if known.division]

# First and last division of every section, from the standard's table of contents.
RANGES = (
    "A 01 05 B 06 12 C 13 43 D 44 46 E 47 50 F 51 52 G 53 60 H 61 62 I 63 65 J 66 69 K 70 70 L 71 72 M 73 75 N 76 79 "
    "O 80 82 P 83 83 Q 84 85 R 86 90 S 91 96 T 97 97"
).split()


def test_the_classification_has_20_sections_and_97_divisions_without_a_gap() -> None:
    assert "".join(known.section for known in SECTIONS) == "ABCDEFGHIJKLMNOPQRST"
    assert [known.division for known in DIVISIONS] == [f"{number:02}" for number in range(1, 98)]
    assert all(known.name_zh and known.name_en.isascii() for known in INDUSTRIES)


@pytest.mark.parametrize(("section", "first", "last"), zip(RANGES[::3], RANGES[1::3], RANGES[2::3], strict=True))
def test_every_section_begins_and_ends_where_the_standard_says(section: str, first: str, last: str) -> None:
    mine = [known.division for known in DIVISIONS if known.section == section]
    assert (mine[0], mine[-1], len(mine)) == (first, last, int(last) - int(first) + 1)


def test_names_of_the_classes_of_a_car_chain() -> None:
    assert industry("C").name_zh == "制造业"
    assert industry("3670").name_zh == "汽车制造业"
    assert industry("99") is None


@pytest.mark.parametrize(
    ("text", "digits"),
    [("C36", "36"), ("36", "36"), ("c3670", "3670"), ("367", "367"), (" C3670\u3000", "3670"), ("A01", "01")],
)
def test_a_code_is_accepted_with_or_without_its_section(text: str, digits: str) -> None:
    assert checked_industry(text) == digits


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "format"),
        ("C", "format"),
        ("3", "format"),
        ("36701", "format"),
        ("36.7", "format"),
        ("CC36", "format"),
        ("00", "unknown"),
        ("98", "unknown"),
        ("U97", "section"),
        ("B36", "section"),
    ],
)
def test_a_wrong_code_is_refused_by_rule_in_both_languages(text: str, rule: str) -> None:
    with pytest.raises(InvalidIndustry) as refused:
        checked_industry(text)
    assert refused.value.rule == rule
    assert refused.value.zh
    assert str(refused.value) == refused.value.en


@given(st.sampled_from(DIVISIONS), st.from_regex(r"[0-9]{0,2}", fullmatch=True))
def test_the_section_letter_never_changes_the_code(known, rest: str) -> None:  # type: ignore[no-untyped-def]
    digits = known.division + rest
    assert checked_industry(known.section + digits) == checked_industry(digits) == digits


@given(st.text(max_size=6))
def test_any_text_is_either_a_code_or_refused(text: str) -> None:
    with suppress(InvalidIndustry):
        assert re.fullmatch(r"[0-9]{2,4}", checked_industry(text))
