"""What the rows of an application workbook must satisfy beyond their columns; every fault names sheet, row and rule."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from services.pilot_registration.domain.issues import GRADES, checked_reading
from services.pilot_registration.policies.columns import BY_KEY, LIST_MARKS, NQI_ELEMENTS, NUMBER_PATTERN, ListSheet
from shared.codes.divisions import InvalidDivision, checked_division, covers
from shared.codes.industries import InvalidIndustry, checked_industry
from shared.codes.uscc import InvalidUscc, checked_uscc
from shared.kernel import RowError


class GivenRow(NamedTuple):
    """A row as it was read: its number in the sheet and a value per field."""

    row: int
    values: Mapping[str, Any]


class SheetRow(NamedTuple):
    """A row as it is kept: its stable key, place in the sheet, and plain JSON values."""

    sheet: str
    key: str
    row: int
    values: dict[str, Any]


@dataclass(slots=True)
class Known:
    """What rows are held against: the pilot's regions, the day, the parties registered, and the current list."""

    regions: tuple[str, ...]
    today: date
    parties: Mapping[str, str]
    """Registered USCC -> division code."""
    keys: Mapping[str, set[str]] = field(default_factory=dict)
    """Sheet -> the keys that are on the list now."""


@dataclass(slots=True)
class RowChecks:
    """Checks one workbook; `errors` collects every fault, `checked` gives the rows that can be compared."""

    known: Known
    errors: list[RowError] = field(default_factory=list)

    def checked(self, given: Mapping[str, Sequence[GivenRow]]) -> list[SheetRow]:
        """The sound rows of all sheets, in order, each with its key; faults of rows and between rows are collected."""
        rows: list[SheetRow] = []
        there = {key: set(self.known.keys.get(key, ())) for key in BY_KEY}
        for key, sheet in BY_KEY.items():
            seen: dict[str, int] = {}
            for row in given.get(key, ()):
                before = len(self.errors)
                values = _CHECKS[key](self, sheet, row)
                number = self._key(sheet, row, values)
                there[key].add(number)
                if number in seen:
                    self._fault(
                        sheet, row, "number", "number-twice",
                        f"与第 {seen[number]} 行的编号或内容重复", f"It repeats row {seen[number]}", number,
                    )  # fmt: skip
                seen.setdefault(number, row.row)
                if len(self.errors) == before:
                    rows.append(SheetRow(key, number, row.row, values | {"number": number}))
        if not any(given.values()):
            zh, en = "工作簿里没有一行数据", "The workbook has no row of data"
            self.errors.append(RowError(BY_KEY["issues"].name, 0, "", "workbook-empty", zh, en))
        self._references(rows, there)
        return rows

    # --- the sheets ---

    def _issue(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        values = dict(row.values)
        if values["grade"] not in GRADES:
            self._fault(sheet, row, "grade", "grade-range", "等级应为 1 至 4", "A grade is 1 to 4", values["grade"])
        for fault in checked_reading(Decimal(values["value"]), int(values["n"]), field=""):
            name = fault.field.removeprefix(".")
            self._fault(sheet, row, name, fault.rule, fault.zh, fault.en, values[name])
        if values["on"] > self.known.today:
            self._fault(
                sheet, row, "on", "date-in-future", "测量日期尚未到来", "This day has not come yet", values["on"]
            )
        if values["due_on"] is not None and values["due_on"] < values["on"]:
            self._fault(
                sheet, row, "due_on", "date-before-baseline", "完成时限早于测量日期", "It lies before the measurement",
                values["due_on"],
            )  # fmt: skip
        values["owner"] = self._party(sheet, row, "owner")
        values["division_code"] = self._division(sheet, row, within=True)
        return _plain(values)

    def _project(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        values = dict(row.values)
        values["issues"] = _joined(values["issues"])
        values["milestones"] = _joined(values["milestones"])
        values["members"] = self._usccs(sheet, row, "members")
        for name in ("leader", "institution"):
            values[name] = self._party(sheet, row, name)
        for name in ("issues", "milestones"):
            if not values[name]:
                self._fault(sheet, row, name, "missing", "至少填一项", "At least one is needed")
        return _plain(values)

    def _tool(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        values = dict(row.values)
        if values["valid_to"] is not None and values["valid_to"] < values["valid_from"]:
            self._fault(
                sheet, row, "valid_to", "period", "失效日期早于生效日期", "It ends before it begins", values["valid_to"]
            )
        return _plain(values)

    def _role(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        values = dict(row.values)
        values["uscc"] = self._party(sheet, row, "uscc")
        if values["until"] is not None and values["until"] < values["since"]:
            self._fault(
                sheet, row, "until", "period", "终止日期早于起始日期", "It ends before it begins", values["until"]
            )
        return _plain(values)

    def _node(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        values = dict(row.values)
        try:
            values["industry_code"] = checked_industry(values["industry_code"])
        except InvalidIndustry as fault:
            self._fault(
                sheet, row, "industry_code", f"industry-{fault.rule}", fault.zh, fault.en, values["industry_code"]
            )
        values["division_code"] = self._division(sheet, row, within=False)
        values["enterprises"] = self._usccs(sheet, row, "enterprises")
        elements = _split(values["elements"])
        strange = [element for element in elements if element not in NQI_ELEMENTS]
        if strange:
            allowed = "、".join(NQI_ELEMENTS)
            self._fault(
                sheet, row, "elements", "not-a-choice", f"只能填:{allowed}", f"Only: {allowed}", "、".join(strange)
            )
        values["elements"] = "、".join(element for element in NQI_ELEMENTS if element in elements)
        return _plain(values)

    def _edge(self, sheet: ListSheet, row: GivenRow) -> dict[str, Any]:
        return _plain(dict(row.values))

    # --- between rows ---

    def _references(self, rows: Sequence[SheetRow], there: Mapping[str, set[str]]) -> None:
        """What one row says of another must be in this workbook (faulty or not) or on the list already."""
        for row in rows:
            if row.sheet == "issues":
                self._refers(row, "node", [row.values["node"]] if row.values["node"] else [], there["map-nodes"])
                project = [row.values["project"]] if row.values["project"] else []
                self._refers(row, "project", project, there["key-projects"])
            elif row.sheet == "key-projects":
                self._refers(row, "issues", _split(row.values["issues"]), there["issues"])
            elif row.sheet == "map-edges":
                for name in ("source", "target"):
                    self._refers(row, name, [row.values[name]], there["map-nodes"])

    def _refers(self, row: SheetRow, name: str, wanted: Sequence[str], there: set[str]) -> None:
        for number in wanted:
            if number not in there:
                sheet = BY_KEY[row.sheet]
                zh, en = f"没有编号 {number}", f"There is no number {number}"
                self.errors.append(RowError(sheet.name, row.row, sheet.header(name), "reference", zh, en, number))

    # --- codes ---

    def _party(self, sheet: ListSheet, row: GivenRow, name: str) -> str:
        text = str(row.values[name])
        code = self._uscc(sheet, row, name, text)
        if code is not None and code not in self.known.parties:
            zh, en = "该单位尚未登记,请先登记", "This party is not registered yet: register it first"
            self._fault(sheet, row, name, "party-unknown", zh, en, text)
        return code or text

    def _usccs(self, sheet: ListSheet, row: GivenRow, name: str) -> str:
        codes = [self._uscc(sheet, row, name, text) or text for text in _split(row.values[name])]
        return "、".join(dict.fromkeys(codes))

    def _uscc(self, sheet: ListSheet, row: GivenRow, name: str, text: str) -> str | None:
        try:
            return checked_uscc(text)
        except InvalidUscc as fault:
            self._fault(sheet, row, name, f"uscc-{fault.rule}", fault.zh, fault.en, text)
            return None

    def _division(self, sheet: ListSheet, row: GivenRow, *, within: bool) -> str:
        text = str(row.values["division_code"])
        try:
            code = checked_division(text, self.known.today)
        except InvalidDivision as fault:
            self._fault(sheet, row, "division_code", f"division-{fault.rule}", fault.zh, fault.en, text)
            return text
        if within and not any(covers(region, code) for region in self.known.regions):
            regions = "、".join(self.known.regions)
            zh, en = f"不在本试点的地区之内({regions})", f"It lies outside the pilot's regions ({regions})"
            self._fault(sheet, row, "division_code", "division-outside", zh, en, text)
        return code

    def _key(self, sheet: ListSheet, row: GivenRow, values: Mapping[str, Any]) -> str:
        """The stable number; a role or an edge without one is known by what it connects."""
        number = row.values["number"]
        if number is None:
            if sheet.key == "roles":
                return f"{values['role']}-{values['uscc']}"
            trace = hashlib.sha256(str(values["material"]).encode()).hexdigest()[:6]
            return f"{values['source']}-{values['target']}"[:33] + f"-{trace}"
        if not re.fullmatch(NUMBER_PATTERN, str(number)):
            zh, en = (
                "编号只能用字母、数字、点、横线、下划线",
                "A number has letters, digits, dots, dashes, underscores only",
            )
            self._fault(sheet, row, "number", "number-format", zh, en, number)
        return str(number)

    def _fault(  # noqa: PLR0917 - the order in which people read a fault
        self, sheet: ListSheet, row: GivenRow, name: str, rule: str, zh: str, en: str, value: Any = None
    ) -> None:
        shown = None if value is None else str(value)
        self.errors.append(RowError(sheet.name, row.row, sheet.header(name), rule, zh, en, shown))


def parties_named(given: Mapping[str, Sequence[GivenRow]]) -> set[str]:
    """Every code that must be a registered party, in its normal form where it has one."""
    wanted = {"issues": ("owner",), "key-projects": ("leader", "institution"), "roles": ("uscc",)}
    found: set[str] = set()
    for sheet, names in wanted.items():
        for row in given.get(sheet, ()):
            for name in names:
                try:
                    found.add(checked_uscc(str(row.values[name])))
                except InvalidUscc:
                    continue  # the row check tells it
    return found


def _split(text: Any) -> list[str]:
    parts = re.split(f"[{re.escape(LIST_MARKS)}]", str(text or ""))
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _joined(text: Any) -> str:
    return "、".join(_split(text))


def split_cell(text: str) -> tuple[str, ...]:
    """The entries of a kept cell that holds several."""
    return tuple(_split(text))


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they are stored: decimals in their shortest form as text, days as ISO text, blanks as None."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Decimal):
            plain[name] = format(value.normalize(), "f")
        elif isinstance(value, date):
            plain[name] = value.isoformat()
        else:
            plain[name] = value if value != "" else None
    return plain


_CHECKS: Mapping[str, Callable[[RowChecks, ListSheet, GivenRow], dict[str, Any]]] = {
    "issues": RowChecks._issue,
    "key-projects": RowChecks._project,
    "policy-tools": RowChecks._tool,
    "roles": RowChecks._role,
    "map-nodes": RowChecks._node,
    "map-edges": RowChecks._edge,
}
