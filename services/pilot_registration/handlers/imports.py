"""One workbook: previewed against the pilot's lists, then applied in chunks that a crash cannot lose or double."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from services.pilot_registration.domain.applications import RoleHolder
from services.pilot_registration.domain.issues import Listing, QualityIssue, issue_id
from services.pilot_registration.domain.key_projects import KeyProject, ProjectListing, project_id
from services.pilot_registration.domain.lifecycle import PILOT_TRANSITIONS, IssueState, ProjectState, allow
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.domain.shares import civil_day
from services.pilot_registration.handlers.pilots import Pilots
from services.pilot_registration.policies.columns import BY_KEY
from services.pilot_registration.policies.comparing import cannot_be_removed, compare, content_hash
from services.pilot_registration.policies.row_checks import (
    GivenRow,
    Known,
    RowChecks,
    parties_named,
    split_cell,
)
from services.pilot_registration.policies.visibility import sees
from shared.contracts.pilot_registration import ChainRole, Direction, IssueClass, ListKind, Measure
from shared.kernel import Actor, Aggregate, DomainError, InvalidInput, NotFound, Outcome, RowError

ERRORS_MAX = 1000
ROWS_SHOWN = 500


class ImportInProgress(DomainError):
    """Another workbook of this pilot is being applied."""

    code = "import-in-progress"
    zh = "导入 {import_id} 尚未完成:请先用同一地址继续该导入"
    en = "Import {import_id} is not finished: go on with it at its own address first"


class ImportNotApplicable(DomainError):
    """The preview found errors, so there is nothing to apply."""

    code = "import-not-applicable"
    zh = "该工作簿有错误,不能入库:请更正后重新上传"
    en = "This workbook has errors and cannot be applied: correct it and upload it again"


class ImportStale(DomainError):
    """The lists have changed since the preview."""

    code = "import-stale"
    zh = "预览之后清单已有变化:请重新上传并预览"
    en = "The lists have changed since the preview: upload and preview again"


class Issues(Protocol):
    """The quality issues."""

    async def find_one(self, id: str) -> QualityIssue | None:
        """The issue with this id."""
        ...

    def save(self, aggregate: QualityIssue) -> None:
        """Stores the issue and its facts."""
        ...


class KeyProjects(Protocol):
    """The key projects."""

    async def find_one(self, id: str) -> KeyProject | None:
        """The project with this id."""
        ...

    def save(self, aggregate: KeyProject) -> None:
        """Stores the project and its facts."""
        ...


class Table(Protocol):
    """Rows without a version that can be searched."""

    async def get(self, key: str) -> dict[str, Any] | None:
        """One row."""
        ...

    async def find(self, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows that match."""
        ...

    async def find_many(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Rows by key."""
        ...

    def set(self, key: str, fields: Mapping[str, Any]) -> None:
        """Merges fields into a row."""
        ...

    def push(self, key: str, path: str, *items: Any) -> None:
        """Appends to an array of a row."""
        ...


class Import(Aggregate):
    """Only a name for answers: a preview is rows, and records no fact."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A workbook as it was read: its rows by sheet, the faults of reading it, and the file behind it."""

    rows: Mapping[str, Sequence[GivenRow]]
    errors: Sequence[RowError]
    warnings: Sequence[RowError]
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class ListImports:
    """Preview, then apply; `list_rows` is what the lists hold now."""

    pilots: Pilots
    issues: Issues
    projects: KeyProjects
    parties: Table
    issue_rows: Table
    project_rows: Table
    list_rows: Table
    imports: Table
    chunks: Table

    async def preview(self, pilot_id: str, import_id: str, upload: Upload, *, by: Actor, at: datetime) -> Outcome:
        """Compares a workbook with the lists; writes nothing but the preview, faults included."""
        pilot = await self._importable(pilot_id, by)
        for other in await self.imports.find({"pilot_id": pilot_id, "state": "applying"}):
            raise ImportInProgress(import_id=other["_id"])
        rows = await self.list_rows.find({"pilot_id": pilot_id, "gone": False})
        current = {f"{row['sheet']}:{row['key']}": row for row in rows}
        keys: dict[str, set[str]] = {}
        for row in rows:
            keys.setdefault(row["sheet"], set()).add(row["key"])
        registered = await self.parties.find_many(sorted(parties_named(upload.rows)))
        divisions = {uscc: str(row["division_code"]) for uscc, row in registered.items()}
        checks = RowChecks(Known(pilot.regions, civil_day(at), divisions, keys))
        sound = checks.checked(upload.rows)
        comparison, faults = compare(sound, current, await self._frozen(pilot_id))
        errors = [*upload.errors, *checks.errors, *faults][:ERRORS_MAX]
        details: dict[str, Any] = {**comparison.summary(rows_max=ROWS_SHOWN), "applicable": not errors}
        details["warnings"] = [_shown(warning) for warning in upload.warnings[:100]]
        planned = [] if errors else comparison.chunks()
        for number, (removal, changes) in enumerate(planned):
            self.chunks.set(
                f"{import_id}:{number:05d}",
                {"import_id": import_id, "number": number, "removal": removal,
                 "rows": [change.stored() for change in changes]},
            )  # fmt: skip
        self.imports.set(
            import_id,
            {
                "pilot_id": pilot_id, "state": "rejected" if errors else "previewed", "by": by.id,
                "file": upload.name, "sha256": upload.sha256, "previewed_at": at.isoformat(), "done": 0,
                "chunks": sum(not removal for removal, _ in planned), "removals": sum(r for r, _ in planned),
                "remove_absent": False, "base": _base(pilot), "summary": details,
                "errors": [_shown(error) for error in errors],
            },
        )  # fmt: skip
        return Outcome(Import(id=import_id), details)

    async def planned(self, pilot_id: str, import_id: str, *, remove_absent: bool) -> int:
        """How many chunks an apply consists of; NotFound when this pilot has no such import."""
        header = await self.imports.get(import_id)
        if header is None or header["pilot_id"] != pilot_id:
            raise NotFound
        return int(header["chunks"]) + (int(header["removals"]) if remove_absent else 0)

    async def apply_chunk(
        self, pilot_id: str, import_id: str, number: int, *, remove_absent: bool, by: Actor, at: datetime
    ) -> Outcome:
        """One chunk: its aggregates, its list rows and the progress, all or nothing; done already is done."""
        pilot, header = await self._going_on(pilot_id, import_id, by)
        if number == 0 and header["state"] == "previewed":
            await self._first(pilot, header, import_id, remove_absent)
        elif header["state"] == "applied" or header["done"] > number:
            return Outcome(pilot)
        self.pilots.guard(pilot)
        chunk = await self.chunks.get(f"{import_id}:{number:05d}")
        assert chunk is not None, "a previewed chunk is there until it is applied"
        await self._write(pilot, import_id, chunk["rows"], by, at)
        self.imports.set(import_id, {"state": "applying", "done": number + 1, "remove_absent": remove_absent})
        return Outcome(pilot)

    async def finish(self, pilot_id: str, import_id: str, *, remove_absent: bool, by: Actor, at: datetime) -> Outcome:
        """The last step: the lists become visible as new versions; what has not changed keeps its version."""
        pilot, header = await self._going_on(pilot_id, import_id, by)
        details = {
            "import_id": import_id,
            **{name: header["summary"][name] for name in ("new", "changed", "unchanged")},
        }
        details["removed"] = header["summary"]["removed"] if remove_absent else 0
        if header["state"] == "applied":
            return Outcome(pilot, details | {"state": "applied"})
        if header["state"] == "previewed":
            await self._first(pilot, header, import_id, remove_absent)
        rows = await self.list_rows.find({"pilot_id": pilot_id, "gone": False})
        by_sheet: dict[str, list[dict[str, Any]]] = {key: [] for key in BY_KEY}
        for row in rows:
            by_sheet[row["sheet"]].append(row)
        nodes, edges = by_sheet["map-nodes"], by_sheet["map-edges"]
        covered = sum(bool(node["values"]["elements"]) for node in nodes)
        pilot.publish_lists(
            lists={
                kind: (len(by_sheet[kind.value]), content_hash(by_sheet[kind.value]))
                for kind in ListKind
                if by_sheet[kind.value] or kind in pilot.lists
            },
            quality_map=(len(nodes), len(edges), covered, content_hash([*nodes, *edges]))
            if nodes or pilot.quality_map is not None
            else None,
            roles=[
                RoleHolder(role=ChainRole(row["values"]["role"]), uscc=row["values"]["uscc"])
                for row in by_sheet["roles"]
                if row["values"]["until"] is None or date.fromisoformat(row["values"]["until"]) >= civil_day(at)
            ],
            at=at,
        )
        if pilot.recorded:
            self.pilots.save(pilot)
        self.imports.set(import_id, {"state": "applied", "remove_absent": remove_absent, "applied_at": at.isoformat()})
        return Outcome(pilot, details | {"state": "applied"})

    # --- inside ---

    async def _write(
        self, pilot: Pilot, import_id: str, changes: Sequence[Mapping[str, Any]], by: Actor, at: datetime
    ) -> None:
        named = {
            uscc
            for change in changes
            for name in ("owner", "leader", "institution")
            if change["values"] is not None and (uscc := change["values"].get(name))
        }
        homes = {uscc: str(row["division_code"]) for uscc, row in (await self.parties.find_many(sorted(named))).items()}
        frozen = await self._frozen(pilot.id) if any(change["change"] != "new" for change in changes) else {}
        for change in changes:
            if change["key"] in frozen.get(change["sheet"], ()):
                # Assigned while the chunks went in: what is already agreed with its owner stays as it is, and is told.
                self.imports.push(import_id, "skipped", f"{change['sheet']}:{change['key']}")
                continue
            if change["sheet"] == "issues":
                await self._write_issue(pilot, change, homes, by, at)
            elif change["sheet"] == "key-projects":
                await self._write_project(pilot, change, homes, at)
            key = f"{pilot.id}:{change['sheet']}:{change['key']}"
            fields = {"pilot_id": pilot.id, "sheet": change["sheet"], "key": change["key"], "place": change["place"]}
            self.list_rows.set(key, fields | {"values": change["values"], "gone": change["values"] is None})

    async def _write_issue(
        self, pilot: Pilot, change: Mapping[str, Any], homes: Mapping[str, str], by: Actor, at: datetime
    ) -> None:
        issue = await self.issues.find_one(issue_id(pilot.id, change["key"]))
        if change["values"] is None:
            if issue is not None:
                issue.remove(_ABSENT, at=at)
                self.issues.save(issue)
            return
        listing = _issue_listing(change["values"])
        regions = (*pilot.regions, listing.division_code, homes[listing.owner])
        version = _next_version(pilot, ListKind.ISSUES)
        if issue is None:
            issue = QualityIssue.enter(
                pilot_id=pilot.id, number=change["key"], listing=listing, regions=regions, list_version=version, by=by,
                at=at,
            )  # fmt: skip
        elif issue.state is IssueState.REMOVED:
            issue.relist(listing, regions=regions, list_version=version, by=by, at=at)
        elif issue.listing == listing:
            return  # only columns that the fact does not carry have changed: the list's own version tells of it
        else:
            issue.change(listing, regions=regions, by=by, at=at)
        self.issues.save(issue)

    async def _write_project(
        self, pilot: Pilot, change: Mapping[str, Any], homes: Mapping[str, str], at: datetime
    ) -> None:
        project = await self.projects.find_one(project_id(pilot.id, change["key"]))
        if change["values"] is None:
            if project is not None:
                project.remove(_ABSENT, at=at)
                self.projects.save(project)
            return
        listing = _project_listing(pilot.id, change["values"])
        regions = (*pilot.regions, homes[listing.leader], homes[listing.institution])
        version = _next_version(pilot, ListKind.KEY_PROJECTS)
        if project is None:
            project = KeyProject.enter(
                pilot_id=pilot.id, number=change["key"], listing=listing, regions=regions, list_version=version, at=at
            )
        elif project.state is ProjectState.REMOVED:
            project.list_again(listing, regions=regions, list_version=version, at=at)
        elif project.listing == listing:
            return
        else:
            project.change(listing, regions=regions, at=at)
        self.projects.save(project)

    async def _first(self, pilot: Pilot, header: Mapping[str, Any], import_id: str, remove_absent: bool) -> None:
        if header["base"] != _base(pilot):
            raise ImportStale
        for other in await self.imports.find({"pilot_id": pilot.id, "state": "applying"}):
            if other["_id"] != import_id:
                raise ImportInProgress(import_id=other["_id"])
        frozen = await self._frozen(pilot.id)
        faults: list[RowError] = []
        for chunk in await self.chunks.find({"import_id": import_id}):
            if chunk["removal"] and not remove_absent:
                continue
            held = [row | {"frozen": row["key"] in frozen.get(row["sheet"], ())} for row in chunk["rows"]]
            faults += cannot_be_removed(held)
        if faults:
            raise InvalidInput(errors=faults[:ERRORS_MAX])

    async def _frozen(self, pilot_id: str) -> dict[str, set[str]]:
        """What an import may not change any more: assigned issues, projects that have reported."""
        free = {"$nin": [IssueState.LISTED.value, IssueState.REMOVED.value]}
        issues = await self.issue_rows.find({"pilot_id": pilot_id, "state": free})
        projects = await self.project_rows.find({"pilot_id": pilot_id, "state": ProjectState.REPORTING.value})
        return {"issues": {row["number"] for row in issues}, "key-projects": {row["number"] for row in projects}}

    async def _going_on(self, pilot_id: str, import_id: str, by: Actor) -> tuple[Pilot, dict[str, Any]]:
        pilot = await self._importable(pilot_id, by)
        header = await self.imports.get(import_id)
        if header is None or header["pilot_id"] != pilot_id:
            raise NotFound
        if header["state"] == "rejected":
            raise ImportNotApplicable
        return pilot, header

    async def _importable(self, pilot_id: str, by: Actor) -> Pilot:
        pilot = await self.pilots.find_one(pilot_id)
        if pilot is None or not sees(pilot, by):
            raise NotFound
        pilot.led_by(by)
        allow(pilot.id, pilot.state, "import", transitions=PILOT_TRANSITIONS)
        return pilot


_ABSENT = "再次导入时已不在清单中 absent from a later import"


def _base(pilot: Pilot) -> dict[str, int]:
    versions = {kind.value: version.version for kind, version in pilot.lists.items()}
    return versions | {"map": pilot.quality_map.version if pilot.quality_map is not None else 0}


def _next_version(pilot: Pilot, kind: ListKind) -> int:
    return pilot.lists[kind].version + 1 if kind in pilot.lists else 1


def _issue_listing(values: Mapping[str, Any]) -> Listing:
    baseline = Measure(
        name=values["measure"], direction=Direction(values["direction"]), value=Decimal(values["value"]),
        n=values["n"], on=date.fromisoformat(values["on"]),
    )  # fmt: skip
    return Listing(
        title=values["title"], issue_class=IssueClass(values["issue_class"]), grade=values["grade"],
        division_code=values["division_code"], owner=values["owner"], baseline=baseline,
    )  # fmt: skip


def _project_listing(pilot_id: str, values: Mapping[str, Any]) -> ProjectListing:
    return ProjectListing(
        title=values["title"],
        issue_ids=tuple(issue_id(pilot_id, number) for number in split_cell(values["issues"])),
        leader=values["leader"], institution=values["institution"], due_on=date.fromisoformat(values["due_on"]),
        milestones=split_cell(values["milestones"]),
    )  # fmt: skip


def _shown(error: RowError) -> dict[str, Any]:
    return {
        "sheet": error.sheet, "row": error.row, "column": error.column, "rule": error.rule, "zh": error.zh,
        "en": error.en, "value": error.value, "field": error.field,
    }  # fmt: skip
