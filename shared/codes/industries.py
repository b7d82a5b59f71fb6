"""Industries (国民经济行业分类, GB/T 4754-2017): 20 sections A–T and 97 divisions 01–97, as data in `industries.csv`.

Groups and classes (third and fourth digit, 473 and some 1 380 of them) are not in the file: a code of three or four
digits is checked down to its division and otherwise taken as written.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

_CODE = re.compile(r"([A-Z]?)([0-9]{2,4})")


@dataclass(frozen=True, slots=True)
class Industry:
    """A section (`division` empty) or a division of the classification."""

    section: str
    division: str
    name_zh: str
    name_en: str


class InvalidIndustry(ValueError):
    """Not an industry code: `rule` is format, unknown or section."""

    def __init__(self, *, rule: str, zh: str, en: str) -> None:
        super().__init__(en)
        self.rule, self.zh, self.en = rule, zh, en


def _read() -> tuple[Industry, ...]:
    with Path(__file__).with_suffix(".csv").open(encoding="utf-8") as file:
        return tuple(
            Industry(line["section"], line["division"], line["zh"], line["en"]) for line in csv.DictReader(file)
        )


INDUSTRIES = _read()
"""Every section, each followed by its divisions."""

_SECTIONS = {industry.section: industry for industry in INDUSTRIES if not industry.division}
_DIVISIONS = {industry.division: industry for industry in INDUSTRIES if industry.division}


def industry(code: str) -> Industry | None:
    """The division of a code (`36`, `367`, `3670`), the section of a letter (`C`), or None."""
    return _SECTIONS.get(code) or _DIVISIONS.get(code[:2])


def checked_industry(text: str) -> str:
    """The code's 2 to 4 digits without the section letter, or InvalidIndustry with the rule it breaks.

    `C36`, `36` and `3670` are all accepted; a letter, if given, must be the right one.
    """
    found = _CODE.fullmatch(unicodedata.normalize("NFKC", text).strip().upper())
    if found is None:
        raise InvalidIndustry(
            rule="format",
            zh="行业代码应为 2 至 4 位数字,可带门类字母(GB/T 4754-2017),如 C36 或 3670",
            en="An industry code has 2 to 4 digits, with or without its section letter (GB/T 4754-2017): C36 or 3670",
        )
    letter, digits = found.groups()
    known = _DIVISIONS.get(digits[:2])
    if known is None:
        raise InvalidIndustry(
            rule="unknown",
            zh=f"国民经济行业分类没有大类 {digits[:2]}(01 至 97)",
            en=f"The classification has no division {digits[:2]} (01 to 97)",
        )
    if letter and letter != known.section:
        raise InvalidIndustry(
            rule="section",
            zh=f"大类 {known.division}({known.name_zh})属于门类 {known.section},不属于 {letter}",
            en=f"Division {known.division} ({known.name_en}) belongs to section {known.section}, not {letter}",
        )
    return digits
