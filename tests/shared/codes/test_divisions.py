"""GB/T 2260, checked against python-stdnum's list as the second opinion on codes and years (its names are not used)."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from contextlib import suppress
from datetime import date
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.codes.divisions import (
    CORPS,
    DIVISIONS,
    Division,
    InvalidDivision,
    checked_division,
    covers,
    division,
    province_of,
    provinces,
)

TODAY = date(2026, 11, 25)
BEFORE_2021, AFTER_2021 = date(2021, 4, 8), date(2021, 4, 9)
UNKNOWN_TO_THEM = {CORPS, "330113", "330114"}  # stdnum 2.2 ends Hangzhou's old districts in 2021 but lacks the new ones
CODES = [known.code for known in DIVISIONS]


@cache
def second_opinion() -> tuple[tuple[str, int | None, int | None], ...]:
    """Code, first and last year of every row of stdnum's list (a code may have several)."""
    province, rows = "", []
    for line in (files("stdnum") / "cn/loc.dat").read_text("utf-8").splitlines():
        if head := re.match(r"(\d\d) province=", line):
            province = head[1]
        elif row := re.match(r'  (\d{4}) county="(.*)"', line):
            for span in row[2].split(","):
                years = re.match(r"\[(\d*)-(\d*)\]", span)
                first, last = years.groups() if years else ("", "")
                rows.append((province + row[1], int(first) if first else None, int(last) if last else None))
    return tuple(rows)


def test_the_34_provinces_and_the_corps_are_there() -> None:
    everybody = provinces(TODAY, beyond=True)
    assert len(everybody) == 35
    assert {known.code for known in everybody} - {CORPS} == {
        code for code, _, last in second_opinion() if code.endswith("0000") and last is None
    }
    mine = provinces(TODAY)
    assert len(mine) == 32, "31 provinces and, apart from them, the Corps"
    assert [known.code for known in mine] == sorted(known.code for known in mine)
    assert {known.name_zh for known in everybody} - {known.name_zh for known in mine} == {
        "台湾省",
        "香港特别行政区",
        "澳门特别行政区",
    }


def test_every_prefecture_in_use_is_there_and_no_other() -> None:
    mine = {known.code for known in DIVISIONS if known.level == "prefecture" and known.valid(TODAY)}
    theirs = {
        code for code, _, last in second_opinion() if code.endswith("00") and not code.endswith("0000") and last is None
    }
    assert theirs - mine == {"422900"}, "stdnum still lists 神农架's old heading, dissolved into 429000"
    assert mine - theirs == set()
    assert UNKNOWN_TO_THEM.isdisjoint(code for code, _, _ in second_opinion())
    # 293 cities, 7 prefectures, 30 autonomous prefectures, 3 leagues (333), and the headings GB/T 2260 gives
    # to what has none: districts of the four municipalities, Chongqing's counties, four directly administered groups.
    names = Counter(known.name_zh[-1] for known in DIVISIONS if known.code in mine and "辖" not in known.name_zh)
    assert (names["市"], names["州"], names["区"], names["盟"]) == (293, 30, 7, 3)
    assert len(mine) == 333 + 4 + 1 + 4


def test_the_years_of_every_row_agree_with_the_second_opinion() -> None:
    spans: dict[str, list[tuple[int | None, int | None]]] = defaultdict(list)
    for code, first, last in second_opinion():
        spans[code].append((first, last))

    def agrees(known: Division) -> bool:
        # theirs gives the year of the change as last; mine the last day in use, which may be in the year before
        return any(
            (known.valid_from is None or first == known.valid_from.year)
            and (last is None if known.valid_to is None else last in (known.valid_to.year, known.valid_to.year + 1))
            for first, last in spans[known.code]
        )

    assert [known for known in DIVISIONS if known.code not in UNKNOWN_TO_THEM and not agrees(known)] == []


def test_rows_of_one_code_never_overlap_and_successors_take_over_the_next_day() -> None:
    for known in DIVISIONS:
        assert (known.valid_to is None) == (known.successors == ())
        for successor in known.successors:
            assert division(successor, date.fromordinal(known.valid_to.toordinal() + 1)), (known, successor)
        others = [other for other in DIVISIONS if other.code == known.code and other is not known]
        assert all(not other.valid(known.valid_from or date.min) for other in others)


def test_names_are_simplified_and_english_is_unique_inside_a_province() -> None:
    traditional = set("臺灣廣東黃關陽縣區門爾達蘇寧龍慶貴雲陝肅")
    assert [known.name_zh for known in DIVISIONS if traditional & set(known.name_zh)] == []
    pairs = Counter((known.code[:2], known.level, known.name_en) for known in DIVISIONS if known.valid(TODAY))
    assert [pair for pair, times in pairs.items() if times > 1] == []


def test_hangzhou_before_and_after_its_mergers_of_2021() -> None:
    for retired, heirs in (("330103", ("330105",)), ("330104", ("330102", "330114"))):
        assert checked_division(retired, BEFORE_2021) == retired
        with pytest.raises(InvalidDivision) as refused:
            checked_division(retired, AFTER_2021)
        assert (refused.value.rule, refused.value.successors) == ("retired", heirs)
        assert all(code in refused.value.zh and code in refused.value.en for code in heirs)
    with pytest.raises(InvalidDivision, match="from 2021-04-09") as refused:
        checked_division("330114", BEFORE_2021)
    assert refused.value.rule == "not-yet"
    assert division("330114", AFTER_2021).name_zh == "钱塘区"
    assert checked_division("330102", BEFORE_2021) == checked_division("330102", AFTER_2021)


def test_a_dissolved_prefecture_takes_its_counties_along() -> None:
    assert checked_division("371202", date(2018, 12, 25)) == "371202"
    with pytest.raises(InvalidDivision) as refused:
        checked_division("371202", date(2018, 12, 26))
    assert (refused.value.rule, refused.value.successors) == ("retired", ("370100",))
    assert "济南市" in refused.value.zh


@given(st.sampled_from([known.code for known in DIVISIONS if known.valid(TODAY)]))
def test_codes_are_accepted_in_any_width(code: str) -> None:
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in code)
    assert checked_division(code, TODAY) == checked_division(f"\u3000{wide}\u00a0", TODAY) == code


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("3401", "format"),
        ("34010A", "format"),
        ("", "format"),
        ("340000.0", "format"),
        ("²40000", "unknown"),
        ("999999", "unknown"),
        ("349900", "unknown"),
        ("349901", "unknown"),
        ("340001", "unknown"),
        ("330199", "unknown"),
        ("660100", "unknown"),
        ("810101", "unknown"),
    ],
)
def test_a_wrong_code_is_refused_by_rule_in_both_languages(text: str, rule: str) -> None:
    with pytest.raises(InvalidDivision) as refused:
        checked_division(text, TODAY)
    assert refused.value.rule == rule
    assert refused.value.zh
    assert str(refused.value) == refused.value.en


def test_regions_cover_what_lies_inside_them_on_level_boundaries() -> None:
    assert covers("340000", "340104")
    assert covers("340100", "340104")
    assert covers("340104", "340104")
    assert covers("34", "340104"), "a token's prefix is a region too"
    assert not covers("340100", "340200")
    assert not covers("340104", "340100")
    assert covers("341000", "341002"), "Huangshan: its 10 is no stripped zero"
    assert not covers("341000", "340100")
    assert not covers("650000", CORPS)


@given(st.sampled_from(CODES), st.sampled_from(CODES), st.sampled_from(CODES))
def test_covering_is_an_order_whose_tops_are_the_provinces(a: str, b: str, c: str) -> None:
    assert covers(a, a)
    assert covers(province_of(a), a)
    assert division(province_of(a), TODAY).level == "province"
    if covers(a, b) and covers(b, c):
        assert covers(a, c)
    if covers(a, b) and covers(b, a):
        assert a == b


@given(st.text(max_size=8))
def test_any_text_is_either_a_code_or_refused(text: str) -> None:
    with suppress(InvalidDivision):
        assert re.fullmatch(r"[0-9]{6}", checked_division(text, TODAY))
