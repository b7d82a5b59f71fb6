"""Unified social credit codes of legal persons and other organisations (统一社会信用代码, GB 32100-2015)."""

from __future__ import annotations

import unicodedata

_ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"  # no I, O, S, V, Z: they read like digits
_WEIGHTS = (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)
LENGTH = 18


class InvalidUscc(ValueError):
    """Not a valid code: `rule` is length, alphabet, division or check; the last one tells the `expected` character."""

    def __init__(self, *, rule: str, zh: str, en: str, expected: str | None = None) -> None:
        super().__init__(en)
        self.rule, self.zh, self.en, self.expected = rule, zh, en, expected


def checked_uscc(text: str) -> str:
    """The code in its normal form (half width, upper case), or InvalidUscc with the rule it breaks."""
    code = unicodedata.normalize("NFKC", text).strip().upper()
    if len(code) != LENGTH:
        raise InvalidUscc(
            rule="length",
            zh=f"统一社会信用代码应为 18 位,现为 {len(code)} 位",
            en=f"A unified social credit code has 18 characters, this has {len(code)}",
        )
    strange = next((character for character in code if character not in _ALPHABET), None)
    if strange is not None:
        raise InvalidUscc(
            rule="alphabet",
            zh=f"统一社会信用代码不使用字符“{strange}”(I、O、S、V、Z 均不使用)",
            en=f"A unified social credit code has no {strange!r} (nor I, O, S, V, Z)",
        )
    if not code[2:8].isdecimal():
        raise InvalidUscc(
            rule="division",
            zh="统一社会信用代码第 3 至 8 位是登记管理机关行政区划码,应为数字",
            en="Characters 3 to 8 are the division code of the registering authority and must be digits",
        )
    expected = check_character(code[:-1])
    if code[-1] != expected:
        raise InvalidUscc(
            rule="check",
            zh=f"统一社会信用代码校验位应为 {expected},现为 {code[-1]}",
            en=f"The check character must be {expected}, this is {code[-1]}",
            expected=expected,
        )
    return code


def check_character(seventeen: str) -> str:
    """The 18th character of 17 given ones: (31 − Σ weight × value mod 31) mod 31 (clause 6)."""
    total = sum(weight * _ALPHABET.index(character) for weight, character in zip(_WEIGHTS, seventeen, strict=True))
    return _ALPHABET[(31 - total % 31) % 31]
