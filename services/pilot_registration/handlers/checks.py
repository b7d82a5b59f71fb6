"""Codes checked on entry, each fault naming its field and rule (rule 1)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from shared.codes.divisions import InvalidDivision, checked_division
from shared.codes.industries import InvalidIndustry, checked_industry
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.kernel import FieldError, InvalidInput


class Faults:
    """Collects what is wrong with an input; `check` raises all of it at once."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def uscc(self, field: str, text: str) -> str:
        """The code in its normal form; a fault when it is none."""
        return self._checked(field, text, "uscc", checked_uscc)

    def division(self, field: str, text: str, on: date) -> str:
        """A division code in use on a day."""
        return self._checked(field, text, "division", lambda code: checked_division(code, on))

    def industry(self, field: str, text: str) -> str:
        """A GB/T 4754 code without its section letter."""
        return self._checked(field, text, "industry", checked_industry)

    def add(self, field: str, rule: str, zh: str, en: str, value: str | None = None) -> None:
        """One more fault."""
        self.found.append(FieldError(field, rule, zh, en, value))

    def check(self) -> None:
        """Raises InvalidInput when there is a fault."""
        if self.found:
            raise InvalidInput(errors=self.found)

    def _checked(self, field: str, text: str, kind: str, check: Callable[[str], str]) -> str:
        try:
            return check(text)
        except (InvalidUscc, InvalidDivision, InvalidIndustry) as fault:
            self.add(field, f"{kind}-{fault.rule}", fault.zh, fault.en, text)
            return text
