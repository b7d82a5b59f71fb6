"""What a sheet is made of, declared once for reading, writing and templates."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from types import MappingProxyType
from typing import Literal

from shared.kernel import InvalidInput, RowError

Kind = Literal["text", "code", "integer", "decimal", "date", "choice"]
Value = str | int | Decimal | date | None

_MARKS = re.compile(r"[\s\u200b\ufeff]+|[*:]+$|\((?:必填|选填|必填项|选填项|required|optional)\)", re.IGNORECASE)
_BRACKETS = re.compile(r"[(\[【〔][^()\[\]【】〔〕]*[)\]】〕]")


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its header in Chinese, the field it fills, and what may stand in it.

    `code` is text that must not have gone through a number format: numeric cells are refused, because a spreadsheet
    drops leading zeros and rounds after 15 digits; a running number that people type belongs into `text` or `integer`.
    `decimal` takes percent text (`85.5%` is 0.855). `choices` maps the label people see to the value. `max_length` is
    in characters. `synonyms` are other headers it may stand under; `help` is shown in the template.
    """

    header: str
    field: str
    kind: Kind
    required: bool = True
    choices: Mapping[str, str] = dataclasses.field(default_factory=lambda: MappingProxyType({}))
    max_length: int = 200
    help: str = ""
    synonyms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet by name with its columns; a missing one that is not required reads as empty."""

    name: str
    columns: tuple[Column, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: its number as Excel shows it (from 1) and a value for every declared field."""

    number: int
    values: dict[str, Value]


@dataclass(slots=True)
class Workbook:
    """What was read. A row with a fault is left out of `rows` and named in `errors`; `warnings` refuse nothing.

    Services append their own findings to `errors` and call `check` before they write anything.
    """

    rows: dict[str, list[Row]] = dataclasses.field(default_factory=dict)
    errors: list[RowError] = dataclasses.field(default_factory=list)
    warnings: list[RowError] = dataclasses.field(default_factory=list)

    def check(self) -> None:
        """Raises InvalidInput (422) with every fault when there is one."""
        if self.errors:
            raise InvalidInput(errors=self.errors)


def plain(text: str) -> str:
    """A header or sheet name as it is compared: half-width, without blanks, trailing stars, colons or (必填)."""
    return _MARKS.sub("", _MARKS.sub("", unicodedata.normalize("NFKC", text))).casefold()


def bare(text: str) -> str:
    """As `plain`, and without what stands in brackets: a unit, a hint, an annex number."""
    return plain(_BRACKETS.sub("", unicodedata.normalize("NFKC", text)))
