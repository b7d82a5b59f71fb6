"""Resident identity numbers (公民身份号码, GB 11643-1999): six digits of place, birth date, sequence, check character.

Every refusal is silent about the number itself and about the check character it should have: an error message must
neither spread a person's id nor teach how to forge one (rule 1 of the domain).
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

from shared.codes.divisions import DIVISIONS

_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECK = "10X98765432"
LENGTH = 18

# The place is where the number was first issued, decades ago: only its province is checked, and it has no date.
# 66 is a code of ours; 81 to 83 stand on the residence permits of Hong Kong, Macao and Taiwan residents (since 2018).
_PROVINCES = frozenset(known.code[:2] for known in DIVISIONS if known.level == "province") - {"66"} | {"83"}


class InvalidResidentId(ValueError):
    """Not a valid number: `rule` is length, characters, place, birth-date or check. Never says what the number is."""

    def __init__(self, *, rule: str, zh: str, en: str) -> None:
        super().__init__(en)
        self.rule, self.zh, self.en = rule, zh, en


def checked_resident_id(text: str) -> str:
    """The number in half width with a capital X, or InvalidResidentId with the rule it breaks."""
    number = unicodedata.normalize("NFKC", text).strip().upper()
    if len(number) != LENGTH:
        raise InvalidResidentId(
            rule="length", zh="公民身份号码应为 18 位", en="A resident identity number has 18 characters"
        )
    if not re.fullmatch(r"[0-9]{17}[0-9X]", number):
        raise InvalidResidentId(
            rule="characters",
            zh="公民身份号码前 17 位应为数字,末位为数字或 X",
            en="A resident identity number has 17 digits, then a digit or X",
        )
    if number[:2] not in _PROVINCES:
        raise InvalidResidentId(
            rule="place", zh="公民身份号码的地区代码不存在", en="The number begins with no known province"
        )
    if not _is_date(number[6:14]):
        raise InvalidResidentId(
            rule="birth-date", zh="公民身份号码中的出生日期不存在", en="The birth date in the number does not exist"
        )
    if check_character(number[:-1]) != number[-1]:
        raise InvalidResidentId(
            rule="check",
            zh="公民身份号码校验不通过,请核对原件",
            en="The check of the number fails; compare it with the document",
        )
    return number


def check_character(seventeen: str) -> str:
    """The 18th character of 17 digits (MOD 11-2 of ISO 7064). Not to be shown for a person's number."""
    return _CHECK[sum(weight * int(digit) for weight, digit in zip(_WEIGHTS, seventeen, strict=True)) % 11]


def _is_date(digits: str) -> bool:
    try:
        return date.fromisoformat(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}").year >= 1800
    except ValueError:
        return False
