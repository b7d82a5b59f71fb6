"""What a caller may read: the rules of visibility over the stores, in one place for all routes."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from services.pilot_registration.domain.issues import QualityIssue
from services.pilot_registration.domain.key_projects import KeyProject
from services.pilot_registration.domain.lifecycle import PilotState
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.policies.visibility import sees, visible
from shared.contracts.pilot_registration import ListKind
from shared.doors.attachments import Attachment
from shared.doors.doors import ReadRequest
from shared.kernel import NATIONAL, Actor, Aggregate, NotFound, RegionScope
from shared.log.store import Documents, Page, Rows, scope_filter

A = TypeVar("A", bound=Aggregate)


@dataclass(frozen=True, slots=True)
class Reads:
    """Pilots, issues, projects and lists as one caller sees them."""

    pilots: Documents[Pilot]
    issues: Documents[QualityIssue]
    projects: Documents[KeyProject]
    list_rows: Rows
    imports: Rows
    chunks: Rows
    uses: Rows

    async def pilot(self, pilot_id: str, by: Actor) -> Pilot:
        """The pilot, or NotFound."""
        pilot = await self.pilots.read(pilot_id, NATIONAL)
        if not sees(pilot, by):
            raise NotFound
        return pilot

    async def pilots_page(self, read: ReadRequest, where: Mapping[str, Any], **order: Any) -> Page[Pilot]:
        """Pilots that match."""
        seen = visible(read.actor, scope_filter(read.scope))
        conditions = [dict(condition) for condition in (where, seen) if condition]
        return await self.pilots.page(
            NATIONAL, {"$and": conditions} if conditions else {}, after=read.after, limit=read.limit, **order
        )

    async def every_pilot(self, by: Actor, where: Mapping[str, Any]) -> AsyncIterator[Pilot]:
        """Every pilot that matches and that the caller sees, page by page."""
        seen = visible(by, scope_filter(by.scope))
        async for pilot in self.every(self.pilots, NATIONAL, {"$and": [dict(where), seen]} if seen else where):
            yield pilot

    async def every(self, documents: Documents[A], scope: RegionScope, where: Mapping[str, Any]) -> AsyncIterator[A]:
        """Every aggregate that matches and lies in scope, page by page."""
        after = None
        while True:
            page = await documents.page(scope, where, after=after, limit=200)
            for item in page.items:
                yield item
            after = page.after
            if after is None:
                return

    async def notices(self, read: ReadRequest) -> Page[Pilot]:
        """The pilots in public notice, wherever they are: a notice is public, so that anybody can object."""
        states = [PilotState.IN_NOTICE.value, PilotState.OBJECTION_HOLD.value]
        return await self.pilots.page(NATIONAL, {"state": {"$in": states}}, after=read.after, limit=read.limit)

    async def issue(self, issue_id: str, by: Actor) -> QualityIssue:
        """The issue, or NotFound: out of scope, off the list, of a draft that is not the caller's, or not yet in."""
        issue = await self.issues.read(issue_id, by.scope)
        await self._of_pilot(issue, ListKind.ISSUES, by)
        return issue

    async def project(self, project_id: str, by: Actor) -> KeyProject:
        """The key project, or NotFound."""
        project = await self.projects.read(project_id, by.scope)
        await self._of_pilot(project, ListKind.KEY_PROJECTS, by)
        return project

    async def hidden(self, by: Actor, kind: ListKind) -> list[dict[str, Any]]:
        """Conditions that leave out what is not visible yet: other people's drafts, and imports that are not all in."""
        conditions: list[dict[str, Any]] = []
        seen = visible(by, scope_filter(by.scope))
        if seen:
            drafts = {"$and": [{"state": PilotState.DRAFT.value}, {"$nor": [seen]}]}
            unseen = [pilot.id async for pilot in self.every(self.pilots, by.scope, drafts)]
            if unseen:
                conditions.append({"pilot_id": {"$nin": unseen}})
        for header in await self.imports.find({"state": "applying"}):
            coming = int(header["base"].get(kind.value, 0)) + 1
            conditions.append({"$or": [{"pilot_id": {"$ne": header["pilot_id"]}}, {"list_version": {"$ne": coming}}]})
        return conditions

    async def may_read(self, by: Actor, attachment: Attachment) -> bool:
        """Whether the caller sees a pilot, issue or project that refers to the attachment."""
        row = await self.uses.get(attachment.id)
        for use in (row or {}).get("uses", ()):
            try:
                if "pilot" in use:
                    await self.pilot(use["pilot"], by)
                elif "issue" in use:
                    await self.issue(use["issue"], by)
                else:
                    await self.project(use["project"], by)
            except NotFound:
                continue
            return True
        return False

    async def _of_pilot(self, item: QualityIssue | KeyProject, kind: ListKind, by: Actor) -> None:
        pilot = await self.pilots.read(item.pilot_id, NATIONAL)
        # A firm of another region sees its own issue without seeing the pilot; a draft stays with those who work on it.
        hidden = pilot.state is PilotState.DRAFT and not sees(pilot, by)
        published = pilot.lists[kind].version if kind in pilot.lists else 0
        if hidden or item.state.value == "removed" or item.list_version > published:
            raise NotFound
