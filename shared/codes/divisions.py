"""Administrative divisions (GB/T 2260): what a six-digit code means on a day, and what lies inside what.

`divisions.csv` holds the 34 provinces, the Corps, every prefecture and, as far as counties go, Hangzhou. Names are the
official ones in simplified script, English as in GB/T 28039 or the customary form. `valid_from` and `valid_to` are the
first and last day of a code (empty: since before 2011, or still); a day is the State Council's approval, for Hangzhou's
2021 mergers the province's announcement. Years are checked against python-stdnum in the tests.

Two things are ours [J]. 新疆生产建设兵团 takes part as a region of its own (clause 十五) but has no code in GB/T 2260:
the customary `660000` stands for it. And counties change every year while pilots are led by provinces and prefectures,
so a county code needs only a valid prefecture above it, unless the file lists that prefecture's counties (Hangzhou), in
which case it must be one of them. Hong Kong, Macao and Taiwan have no codes below the province.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal

CORPS = "660000"
"""新疆生产建设兵团, a pseudo code [J]: GB/T 2260 has none."""

_FILE = Path(__file__).with_suffix(".csv")
_BEYOND = frozenset({"710000", "810000", "820000"})  # Taiwan, Hong Kong, Macao
DivisionLevel = Literal["province", "prefecture", "county"]


@dataclass(frozen=True, slots=True)
class Division:
    """One division while its code is valid: both days inclusive, None for open; successors took over its territory."""

    code: str
    name_zh: str
    name_en: str
    level: DivisionLevel
    valid_from: date | None
    valid_to: date | None
    successors: tuple[str, ...] = ()

    def valid(self, on: date) -> bool:
        """Whether the code is in use on a day."""
        return (self.valid_from is None or self.valid_from <= on) and (self.valid_to is None or on <= self.valid_to)


class InvalidDivision(ValueError):
    """Not a code in use on that day: `rule` is format, unknown, retired or not-yet; `successors` help with retired."""

    def __init__(self, *, rule: str, zh: str, en: str, successors: tuple[str, ...] = ()) -> None:
        super().__init__(en)
        self.rule, self.zh, self.en, self.successors = rule, zh, en, successors


def _read() -> tuple[Division, ...]:
    def day(text: str) -> date | None:
        return date.fromisoformat(text) if text else None

    levels: dict[str, DivisionLevel] = {"province": "province", "prefecture": "prefecture", "county": "county"}
    with _FILE.open(encoding="utf-8") as file:
        return tuple(
            Division(
                code=line["code"],
                name_zh=line["zh"],
                name_en=line["en"],
                level=levels[line["level"]],
                valid_from=day(line["valid_from"]),
                valid_to=day(line["valid_to"]),
                successors=tuple(line["successors"].split(";")) if line["successors"] else (),
            )
            for line in csv.DictReader(file)
        )


DIVISIONS = _read()
"""Every row of the file, in the order of the codes."""

_BY_CODE: dict[str, list[Division]] = defaultdict(list)
for _division in DIVISIONS:
    _BY_CODE[_division.code].append(_division)
_WITH_COUNTIES = frozenset(division.code[:4] for division in DIVISIONS if division.level == "county")


def division(code: str, on: date) -> Division | None:
    """The division a code means on a day, or None: unknown, not in use that day, or a county the file does not list."""
    return next((known for known in _BY_CODE.get(code, ()) if known.valid(on)), None)


def provinces(on: date, *, beyond: bool = False) -> tuple[Division, ...]:
    """The 31 provinces and the Corps; with `beyond`, Hong Kong, Macao and Taiwan as well."""
    return tuple(
        known
        for known in DIVISIONS
        if known.level == "province" and known.valid(on) and (beyond or known.code not in _BEYOND)
    )


def covers(region: str, division_code: str) -> bool:
    """Whether a division lies inside a region (or is it): `340000` covers `340104`, `340100` does not cover `340200`.

    Compares level by level: the region's trailing `00` pairs are stripped, what remains must be a prefix. The Corps is
    outside Xinjiang here as it is in the programme.
    """
    return division_code.startswith(prefix_of(region))


def prefix_of(region: str) -> str:
    """What the codes inside a region begin with: `340000` → `34`, `340100` → `3401`, `340104` → itself."""
    while len(region) > 2 and region.endswith("00"):
        region = region[:-2]
    return region


def province_of(code: str) -> str:
    """The province-level code above a code: `340100` → `340000`."""
    return f"{code[:2]}0000"


def checked_division(text: str, on: date) -> str:
    """The code in half-width digits, valid on a day, or InvalidDivision with the rule it breaks and what to use."""
    code = unicodedata.normalize("NFKC", text).strip()
    if not re.fullmatch(r"[0-9]{6}", code):
        raise InvalidDivision(
            rule="format",
            zh="行政区划代码应为 6 位数字(GB/T 2260),省级如 340000,地级如 340100",
            en="A division code has 6 digits (GB/T 2260), a province as 340000, a prefecture as 340100",
        )
    if division(code, on):
        return code
    if code in _BY_CODE:
        raise _out_of_use(_BY_CODE[code], on)
    prefecture = f"{code[:4]}00"
    if prefecture in (code, province_of(code)) or prefecture not in _BY_CODE or code[:4] in _WITH_COUNTIES:
        raise InvalidDivision(
            rule="unknown",
            zh=f"没有行政区划代码 {code}",
            en=f"There is no division with the code {code}",
        )
    if not division(prefecture, on):
        raise _out_of_use(_BY_CODE[prefecture], on)
    return code


def _out_of_use(rows: list[Division], on: date) -> InvalidDivision:
    """Why a known code is refused on a day: already retired (naming what took over) or not yet in force."""
    last = rows[-1]
    if last.valid_to is not None and last.valid_to < on:
        heirs = [_BY_CODE[code][-1] for code in last.successors]
        zh = "、".join(f"{heir.code} {heir.name_zh}" for heir in heirs)
        en = ", ".join(f"{heir.code} {heir.name_en}" for heir in heirs)
        return InvalidDivision(
            rule="retired",
            zh=f"{last.code}({last.name_zh})自 {last.valid_to} 后停用,现为 {zh}",
            en=f"{last.code} ({last.name_en}) was in use until {last.valid_to}; now {en}",
            successors=last.successors,
        )
    first = rows[0]
    return InvalidDivision(
        rule="not-yet",
        zh=f"{first.code}({first.name_zh})自 {first.valid_from} 起启用",
        en=f"{first.code} ({first.name_en}) is in use from {first.valid_from}",
    )
