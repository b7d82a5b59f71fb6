"""From what stands in a cell to an exact value, or to the rule it breaks; no float survives."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from datetime import date
from decimal import Decimal

from shared.doors.sheets.columns import Column, Kind, Value, plain

Cell = str | bool | Decimal | date | None
"""A raw cell: numbers come as the exact decimal of their shortest spelling."""

_DIGITS_EXCEL = 15
_DIGITS_MAX = 28
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BLANK = re.compile("[^\\S\n]+")
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?", re.ASCII)
_SCIENTIFIC = re.compile(r"\d(?:\.\d+)?E\+?\d+", re.ASCII | re.IGNORECASE)
_DATE = re.compile(
    r"(\d{4})(?:[-/.年](\d{1,2})[-/.月](\d{1,2})日?|(\d{2})(\d{2}))(?:[T ]?00?:00(?::00(?:\.0+)?)?)?", re.ASCII
)
_NOTHING = frozenset({"-", "--", "/", "无", "—", "——", "暂无", "n/a", "N/A"})
_DATE_YEARS = range(1900, 2101)


class Fault(Exception):
    """The rule a cell breaks, in both languages."""

    def __init__(self, rule: str, zh: str, en: str) -> None:
        super().__init__(rule)
        self.rule, self.zh, self.en = rule, zh, en


def value_of(column: Column, cell: Cell) -> Value:
    """The column's value of a cell, None when it is blank; raises Fault."""
    if column.kind == "text":
        value: Value = _text(column, cell)
    else:
        value = _READERS[column.kind](column, cell) if _filled(cell) else None
        if value is None and _filled(cell) and not column.required and _half_width(cell) in _NOTHING:
            return None
    if value in (None, "") and column.required:
        raise Fault("missing", "必填,不能为空", "This cell is required")
    return None if value == "" else value


def shown(cell: Cell) -> str:
    """A cell as text, for a message or a text column."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "TRUE" if cell else "FALSE"
    if isinstance(cell, Decimal):
        return format(_as_excel_shows(cell), "f")
    return cell.isoformat() if isinstance(cell, date) else cell


def tidy(text: str) -> str:
    """Text without what nobody sees: control and zero-width characters, blanks at the ends and in a row, CR LF."""
    if text.isprintable() and "  " not in text and text.strip() == text:
        return text  # nearly always: a fast way for 20 000 rows
    text = _CONTROL.sub("", _INVISIBLE.sub("", text.replace("\r\n", "\n").replace("\r", "\n")))
    return "\n".join(_BLANK.sub(" ", line).strip() for line in text.split("\n")).strip("\n")


def _filled(cell: Cell) -> bool:
    return cell is not None and (not isinstance(cell, str) or tidy(cell) != "")


def _half_width(cell: Cell) -> str:
    return unicodedata.normalize("NFKC", tidy(shown(cell))).strip()


def _text(column: Column, cell: Cell) -> str:
    if isinstance(cell, Decimal) and _digits(cell) > _DIGITS_EXCEL:
        raise _rounded()
    return _short_enough(column, tidy(shown(cell)))


def _code(column: Column, cell: Cell) -> str:
    if isinstance(cell, Decimal):
        if _digits(cell) > _DIGITS_EXCEL:
            raise _rounded()
        raise Fault(
            "numeric-code",
            "代码被存成了数字,前导零可能已丢失:请把该列设为“文本”格式后重新填写",
            "The code is stored as a number and may have lost leading zeros: format the column as text and retype it",
        )
    if not isinstance(cell, str):
        raise Fault("not-a-code", "这里应填写代码(文本)", "A code (text) is expected here")
    code = re.sub(r"\s+", "", _half_width(cell)).removeprefix("'")
    if _SCIENTIFIC.fullmatch(code):
        raise _rounded()
    return _short_enough(column, code)


def _integer(column: Column, cell: Cell) -> int | None:
    number = _decimal(column, cell)
    if number is None:
        return None
    if number != number.to_integral_value():
        raise Fault("not-an-integer", "应为整数", "A whole number is expected")
    return int(number)


def _decimal(column: Column, cell: Cell) -> Decimal | None:
    if isinstance(cell, Decimal):
        if _digits(cell) > _DIGITS_MAX:
            raise Fault("number-too-long", "数字过长", "The number is too long")
        return _as_excel_shows(cell)
    text = _half_width(cell).replace("−", "-") if isinstance(cell, str) else ""
    if text in _NOTHING and not column.required:
        return None
    number, percent = (text[:-1].rstrip(), True) if text.endswith("%") else (text, False)
    if not _NUMBER.fullmatch(number):
        raise Fault(
            "not-a-number",
            "应为数字:只写数字、小数点、负号或百分号,不带单位",
            "A number is expected: digits, point, minus or percent sign, without a unit",
        )
    if sum(character.isdigit() for character in number) > _DIGITS_MAX:
        raise Fault("number-too-long", "数字过长", "The number is too long")
    value = Decimal(number.replace(",", ""))
    return value.scaleb(-2) if percent else value


def _date(column: Column, cell: Cell) -> date | None:
    if isinstance(cell, date):
        found = cell
    else:
        text = re.sub(r"(?<=[-/.年月])\s+|\s+(?=[-/.年月日])", "", _half_width(cell))
        if text in _NOTHING and not column.required:
            return None
        match = _DATE.fullmatch(text)
        if match is None or isinstance(cell, bool):
            raise Fault(
                "not-a-date",
                "应为日期,例如 2025-03-05、2025.3.5 或 2025年3月5日",
                "A date is expected, for example 2025-03-05, 2025.3.5 or 2025年3月5日",
            )
        try:
            found = date(int(match[1]), int(match[2] or match[4]), int(match[3] or match[5]))
        except ValueError as error:
            raise Fault("no-such-date", "没有这一天", "There is no such day") from error
    if found.year not in _DATE_YEARS:
        raise Fault("date-out-of-range", "日期应在 1900 年至 2100 年之间", "The date must lie between 1900 and 2100")
    return found


def _choice(column: Column, cell: Cell) -> str | None:
    text = plain(shown(cell))
    by_label = {plain(label): value for label, value in column.choices.items()}
    by_value = {plain(value): value for value in column.choices.values()}
    if text in by_label or text in by_value:
        return by_label.get(text) or by_value[text]
    if text in _NOTHING and not column.required:
        return None
    allowed = "、".join(column.choices)
    raise Fault("not-a-choice", f"只能填:{allowed}", f"One of: {', '.join(column.choices)}")


_READERS: dict[Kind, Callable[[Column, Cell], Value]] = {
    "code": _code,
    "integer": _integer,
    "decimal": _decimal,
    "date": _date,
    "choice": _choice,
}


def _short_enough(column: Column, text: str) -> str:
    if len(text) > column.max_length:
        raise Fault(
            "too-long",
            f"最多 {column.max_length} 个字符,现为 {len(text)} 个",
            f"At most {column.max_length} characters; there are {len(text)}",
        )
    return text


def _digits(number: Decimal) -> int:
    """Digits before the point; what lies after it a spreadsheet rounds harmlessly."""
    return max(number.adjusted() + 1, 1)


def _as_excel_shows(number: Decimal) -> Decimal:
    """At most 15 significant digits, as typed: a computed 0.30000000000000004 reads 0.3, and 91.0 reads 91."""
    if len(number.as_tuple().digits) > _DIGITS_EXCEL:
        number = round(number, _DIGITS_EXCEL - 1 - number.adjusted())
    if number == number.to_integral_value():
        return number.quantize(Decimal(1)) if _digits(number) <= _DIGITS_MAX else number
    return number.normalize()


def _rounded() -> Fault:
    return Fault(
        "numeric-rounded",
        "这个号码被存成了数字,超过 15 位的部分已被表格软件改成 0:请把该列设为“文本”格式后重新填写",
        "This number is stored as a figure and the spreadsheet has rounded it after 15 digits: "
        "format the column as text and retype it",
    )
