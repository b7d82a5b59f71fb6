"""What a workbook changes on a pilot's lists: rows match by their stable number (rule 19)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from services.pilot_registration.policies.columns import BY_KEY
from services.pilot_registration.policies.row_checks import SheetRow
from shared.kernel import RowError

CHUNK_ROWS = 200
CHANGES = ("new", "changed", "removed")


class Change(NamedTuple):
    """One row that differs: new, changed or (absent from the workbook) removed; `before` is what the list holds."""

    sheet: str
    key: str
    place: int
    change: str
    before: dict[str, Any] | None
    values: dict[str, Any] | None
    frozen: bool = False

    def stored(self) -> dict[str, Any]:
        """As it is kept in a chunk."""
        return self._asdict()


class Comparison(NamedTuple):
    """All changes in the order of the sheets, and how many rows of each sheet are unchanged."""

    changes: tuple[Change, ...]
    unchanged: Mapping[str, int]

    def chunks(self) -> list[tuple[bool, list[Change]]]:
        """Changes in chunks of at most 200, removals apart: they are applied only when asked for."""
        found: list[tuple[bool, list[Change]]] = []
        for removal in (False, True):
            these = [change for change in self.changes if (change.change == "removed") is removal]
            found += [(removal, these[i : i + CHUNK_ROWS]) for i in range(0, len(these), CHUNK_ROWS)]
        return found

    def summary(self, *, rows_max: int) -> dict[str, Any]:
        """Counts in all and by sheet, with the numbers of the rows (at most so many each)."""
        counts: dict[str, int] = {name: sum(c.change == name for c in self.changes) for name in CHANGES}
        sheets: dict[str, Any] = {}
        for key, sheet in BY_KEY.items():
            these = [change for change in self.changes if change.sheet == key]
            sheets[sheet.name] = {
                name: {
                    "count": sum(c.change == name for c in these),
                    "rows": [c.key for c in these if c.change == name][:rows_max],
                }
                for name in CHANGES
            } | {"unchanged": {"count": self.unchanged.get(key, 0)}}
        return {**counts, "unchanged": sum(self.unchanged.values()), "sheets": sheets}


def compare(
    rows: Sequence[SheetRow], current: Mapping[str, Mapping[str, Any]], frozen: Mapping[str, set[str]]
) -> tuple[Comparison, list[RowError]]:
    """The comparison, and a fault for each changed row that may not change any more (an assigned issue, say).

    `current` maps `<sheet>:<key>` to the row on the list; only sheets with a row in the workbook can miss one.
    """
    changes: list[Change] = []
    faults: list[RowError] = []
    unchanged: dict[str, int] = {}
    given = {f"{row.sheet}:{row.key}" for row in rows}
    present = {row.sheet for row in rows}
    for row in rows:
        known = current.get(f"{row.sheet}:{row.key}")
        if known is None:
            changes.append(Change(row.sheet, row.key, row.row, "new", None, row.values))
        elif known["values"] == row.values:
            unchanged[row.sheet] = unchanged.get(row.sheet, 0) + 1
        elif row.key in frozen.get(row.sheet, ()):
            faults.append(_frozen(row.sheet, row.row, row.key))
        else:
            changes.append(Change(row.sheet, row.key, known["place"], "changed", known["values"], row.values))
    for name, known in current.items():
        if name not in given and known["sheet"] in present:
            held = known["key"] in frozen.get(known["sheet"], ())
            changes.append(Change(known["sheet"], known["key"], known["place"], "removed", known["values"], None, held))
    order = {key: i for i, key in enumerate(BY_KEY)}
    changes.sort(key=lambda change: (order[change.sheet], change.place, change.key))
    return Comparison(tuple(changes), unchanged), faults


def cannot_be_removed(changes: Iterable[Mapping[str, Any]]) -> list[RowError]:
    """A fault for each absent row that may not go any more."""
    return [_frozen(change["sheet"], 0, change["key"]) for change in changes if change["frozen"]]


def content_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over the rows of a list, by key; the order of the sheet is no content."""
    content = sorted((row["sheet"], row["key"], row["values"]) for row in rows)
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _frozen(key: str, row: int, number: str) -> RowError:
    sheet = BY_KEY[key]
    if key == "issues":
        zh, en = "该问题已分派,不能再通过导入修改或移除", "This issue is assigned: an import cannot change or remove it"
    else:
        zh, en = (
            "该项目已报送进展,不能再通过导入修改或移除",
            "This project has reported: an import cannot change or remove it",
        )
    return RowError(sheet.name, row, sheet.header("number"), "row-frozen", zh, en, number)
