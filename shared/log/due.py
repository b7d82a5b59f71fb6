"""What must happen at an instant: durable rows that fire once as commands, however many processes look (rule 23)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from pymongo.errors import PyMongoError

from shared.kernel import SYSTEM, Aggregate, DomainError, Outcome, microseconds
from shared.log.commands import Commands
from shared.log.work import current_work

log = structlog.get_logger()
BATCH_MAX = 100

Fire = Callable[[str, datetime], Awaitable[Aggregate | Outcome]]
DueTable = Mapping[str, Fire]


class MongoAgenda:
    """Schedules with the current work: the item and the fact that asks for it commit together."""

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Lets `kind` fire for `ref` at an instant; a later version replaces an earlier one."""
        current_work().due(kind, ref, due_at=due_at, version=version)

    def cancel(self, kind: str, ref: str) -> None:
        """Takes back what was scheduled for (kind, ref)."""
        current_work().cancel_due(kind, ref)


class DueQueue:
    """Fires open items whose instant has come, in order. An item that is refused for good is closed with the reason."""

    def __init__(
        self, database: Any, commands: Commands, table: DueTable, *, now: Callable[[], datetime], poll_seconds: float
    ) -> None:
        self.database, self.commands, self.table = database, commands, table
        self.now, self.poll_seconds = now, poll_seconds

    async def run(self) -> None:
        """Looks for due items until cancelled; sooner than the poll when the last look found some."""
        while True:
            try:
                fired = await self.fire_due()
            except PyMongoError as error:
                log.warning("due.unavailable", error=type(error).__name__)
                fired = 0
            if not fired:
                await asyncio.sleep(self.poll_seconds)

    async def fire_due(self) -> int:
        """Fires what is due now; returns how many items were settled."""
        query = {"state": "open", "due_at": {"$lte": microseconds(self.now())}, "kind": {"$in": list(self.table)}}
        items = await self.database.due.find(query).sort("due_at", 1).limit(BATCH_MAX).to_list(None)
        settled = 0
        for item in items:
            settled += await self._fire(item)
        return settled

    async def _fire(self, item: dict[str, Any]) -> bool:
        key = f"due:{item['_id']}:{item['version']}"

        async def call() -> Aggregate | Outcome:
            outcome = await self.table[item["kind"]](item["ref"], self.now())
            current_work().set("due", item["_id"], {"state": "done"})
            return outcome

        try:
            await self.commands.execute(key=key, body="", lock=item["ref"], actor=SYSTEM, correlation_id=key, call=call)
        except DomainError as error:
            if error.status >= 500:
                return False
            log.warning("due.refused", item=item["_id"], code=error.code)
            closed = {"state": "refused", "code": error.code}
            await self.database.due.update_one({"_id": item["_id"], "version": item["version"]}, {"$set": closed})
        return True
