"""Judges the raw cells of a workbook against the declared columns: finds sheets, header and footer, reads every row."""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from decimal import Decimal
from typing import Any

from shared.doors.sheets.cells import Cell, Fault, shown, tidy, value_of
from shared.doors.sheets.columns import Column, Row, Sheet, Value, Workbook, bare, plain
from shared.kernel import RowError

ERRORS_MAX = 1_000
HEADER_ROWS = 10
_SHOWN_CHARACTERS_MAX = 100
_TOTALS = re.compile(r"(本页|本表|全部)?(合\s*计|总\s*计|小\s*计|共\s*计)(数|金额)?:?")
_SIGNATURES = re.compile(
    r"(制表|填表|填报|审核|复核|审批|经办|负责|联系|单位负责|盖章|签字|日期|说明|备注|注|填表说明)(人|单位|部门|日期|时间|电话)?\s*"
    r"(签字|签章|\(签字\)|\(盖章\))?\s*:.*|\(?(盖章|签字)\)?",
    re.DOTALL,
)


def judged(found: list[dict[str, Any]], wanted: tuple[Sheet, ...]) -> Workbook:
    """The workbook as rows and faults; `found` is what the worker printed."""
    workbook = Workbook(rows={sheet.name: [] for sheet in wanted})
    matched = _matched(found, wanted, workbook)
    for sheet in wanted:
        raw = matched.get(sheet.name)
        if raw is None:
            if sheet.required:
                _sheet_fault(workbook, sheet.name, "sheet-missing", "缺少这个工作表", "This sheet is missing")
            continue
        _read_sheet(workbook, sheet, raw)
    if len(workbook.errors) > ERRORS_MAX:
        more = len(workbook.errors) - ERRORS_MAX
        del workbook.errors[ERRORS_MAX:]
        zh, en = f"另有 {more} 处问题未列出", f"{more} further faults are not listed"
        workbook.errors.append(RowError(wanted[0].name, 0, "", "more-errors", zh, en))
    return workbook


def _matched(found: list[dict[str, Any]], wanted: tuple[Sheet, ...], workbook: Workbook) -> dict[str, dict[str, Any]]:
    """Sheets by declared name: exactly, else without blanks and brackets, else the only one there is."""
    matched: dict[str, dict[str, Any]] = {}
    left = list(found)
    for compare in (plain, bare):
        for sheet in wanted:
            if sheet.name in matched:
                continue
            same = [raw for raw in left if raw["name"] is not None and compare(raw["name"]) == compare(sheet.name)]
            if same:
                matched[sheet.name] = same[0]
                left.remove(same[0])
    filled = [raw for raw in left if raw["rows"]]
    if not matched and len(wanted) == 1 and len(filled) == 1:
        matched[wanted[0].name] = filled[0]
        left.remove(filled[0])
        if filled[0]["name"] is not None:
            zh, en = (
                f"工作表“{filled[0]['name']}”按“{wanted[0].name}”读取",
                f"Sheet {filled[0]['name']} was read in its place",
            )
            workbook.warnings.append(RowError(wanted[0].name, 0, "", "sheet-renamed", zh, en))
    for raw in left:
        if raw["rows"] and raw["name"] is not None and not raw["name"].startswith(("填写说明", "说明", "选项", "_")):
            zh, en = "不认识这个工作表,未读取", "This sheet is not known and was not read"
            workbook.warnings.append(RowError(raw["name"], 0, "", "sheet-unknown", zh, en))
    return matched


def _read_sheet(workbook: Workbook, sheet: Sheet, raw: dict[str, Any]) -> None:
    rows: list[list[Cell]] = [[_cell(cell) for cell in row] for row in raw["rows"]]
    header = _header(rows, sheet)
    if header is None:
        names = "、".join(column.header for column in sheet.columns if column.required)
        _sheet_fault(
            workbook, sheet.name, "header-missing",
            f"前 10 行中没有表头,应有:{names}", f"There is no header in the first 10 rows; expected: {names}",
        )  # fmt: skip
        return
    number, places = header
    if not _columns_fit(workbook, sheet, rows[number], number, places):
        return
    _fill_down(rows, raw["merged"], number)
    broken = {_place(reference) for reference in raw["errors"]}
    for index in range(number + 1, len(rows)):
        row = rows[index]
        if not any(tidy(shown(cell)) for cell in row):
            continue
        if _is_footer(sheet, places, row):
            text = _clipped(" ".join(tidy(shown(cell)) for cell in row if cell is not None))
            zh, en = "按合计或落款处理,未读取", "Taken for a total or a signature and not read"
            workbook.warnings.append(RowError(sheet.name, index + 1, "", "row-skipped", zh, en, text))
            continue
        values, faults = _read_row(sheet, places, row, {place for line, place in broken if line == index})
        for column, fault, cell in faults:
            value = _clipped(shown(cell)) if cell is not None else None
            workbook.errors.append(
                RowError(sheet.name, index + 1, column.header, fault.rule, fault.zh, fault.en, value)
            )
        if not faults:
            workbook.rows[sheet.name].append(Row(index + 1, values))


def _read_row(
    sheet: Sheet, places: dict[str, int], row: list[Cell], broken: set[int]
) -> tuple[dict[str, Value], list[tuple[Column, Fault, Cell]]]:
    values: dict[str, Value] = {}
    faults: list[tuple[Column, Fault, Cell]] = []
    for column in sheet.columns:
        place = places.get(column.field)
        cell = row[place] if place is not None and place < len(row) else None
        try:
            if place in broken:
                raise Fault("formula-error", "单元格里是公式错误值(如 #REF!)", "The cell holds a formula error (#REF!)")
            values[column.field] = value_of(column, cell)
        except Fault as fault:
            faults.append((column, fault, cell))
    return values, faults


def _header(rows: list[list[Cell]], sheet: Sheet) -> tuple[int, dict[str, int]] | None:
    """The row among the first ten in which most columns are named, and the place of each field in it."""
    best: tuple[int, dict[str, int]] | None = None
    for number, row in enumerate(rows[:HEADER_ROWS]):
        places = _places(row, sheet.columns)
        if places and (best is None or len(places) > len(best[1])):
            best = number, places
    # One word in a title row that happens to be a header does not make a header of it.
    if best is None or len(best[1]) < min(2, len(sheet.columns)):
        return None
    return best


def _places(row: list[Cell], columns: tuple[Column, ...]) -> dict[str, int]:
    places: dict[str, int] = {}
    texts = [cell if isinstance(cell, str) else "" for cell in row]
    for compare in (plain, bare):
        named: dict[str, int] = {}
        for place, text in enumerate(texts):
            if (word := compare(text)) and place not in places.values():
                named.setdefault(word, place)
        for column in columns:
            if column.field not in places:
                for header in (column.header, *column.synonyms):
                    place_ = named.get(compare(header))
                    if place_ is not None and place_ not in places.values():
                        places[column.field] = place_
                        break
    return places


def _columns_fit(workbook: Workbook, sheet: Sheet, header: list[Cell], number: int, places: dict[str, int]) -> bool:
    missing = [column for column in sheet.columns if column.required and column.field not in places]
    for column in missing:
        zh, en = f"缺少必填列“{column.header}”", f"The required column {column.header} is missing"
        workbook.errors.append(RowError(sheet.name, number + 1, column.header, "column-missing", zh, en))
    twice = False
    known = {plain(header) for column in sheet.columns for header in (column.header, *column.synonyms)}
    for place, cell in enumerate(header):
        text = tidy(shown(cell))
        if not text or place in places.values():
            continue
        if plain(text) in known:
            twice = True
            zh, en = f"列“{text}”出现了两次", f"Column {text} appears twice"
            workbook.errors.append(RowError(sheet.name, number + 1, _clipped(text), "column-twice", zh, en))
        else:
            zh, en = "不认识这一列,未读取", "This column is not known and was not read"
            workbook.warnings.append(RowError(sheet.name, number + 1, _clipped(text), "column-unknown", zh, en))
    return not missing and not twice


def _fill_down(rows: list[list[Cell]], merged: list[list[Decimal]], header: int) -> None:
    """Cells merged downwards below the header mean the same value for each of their rows."""
    for top, bottom, left in (map(int, area) for area in merged):
        if top <= header or left >= len(rows[top] if top < len(rows) else ()):
            continue
        for index in range(top + 1, min(bottom + 1, len(rows))):
            rows[index][left] = rows[top][left]


def _is_footer(sheet: Sheet, places: dict[str, int], row: list[Cell]) -> bool:
    first = unicodedata.normalize("NFKC", next(tidy(shown(cell)) for cell in row if tidy(shown(cell))))
    if not (_TOTALS.fullmatch(first) or _SIGNATURES.fullmatch(first)):
        return False
    read = [
        row[place] for column in sheet.columns if (place := places.get(column.field)) is not None and place < len(row)
    ]
    needed = sum(column.required for column in sheet.columns)
    return sum(1 for cell in read if tidy(shown(cell))) < max(needed, 2)


def _cell(raw: Any) -> Cell:
    return date.fromisoformat(raw[0]) if isinstance(raw, list) else raw


def _place(reference: str) -> tuple[int, int]:
    """`B12` as (11, 1)."""
    letters = reference.rstrip("0123456789")
    column = 0
    for letter in letters:
        column = column * 26 + ord(letter) - 64
    return int(reference[len(letters) :]) - 1, column - 1


def _clipped(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS_MAX else text[: _SHOWN_CHARACTERS_MAX - 1] + "…"


def _sheet_fault(workbook: Workbook, sheet: str, rule: str, zh: str, en: str) -> None:
    workbook.errors.append(RowError(sheet, 0, "", rule, zh, en))
