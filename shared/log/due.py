"""What must happen at an instant: durable rows that fire once as commands, however many processes look (rule 23)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import structlog
from pymongo.errors import PyMongoError

from shared.kernel import SYSTEM, Aggregate, DomainError, Outcome, microseconds
from shared.log import transactions
from shared.log.commands import Commands
from shared.log.work import current_work

log = structlog.get_logger()
BATCH_MAX = 100
_TRIES_MAX = 3

Fire = Callable[[str, datetime], Awaitable[Aggregate | Outcome]]
DueTable = Mapping[str, Fire]


class DueMoved(DomainError):
    """The item was settled, cancelled or rescheduled since it was read: this fire is not its."""

    code = "due-moved"
    zh = "该到期事项已处理或已改期"
    en = "This due item has been settled or rescheduled"


class MongoAgenda:
    """Schedules with the current work: the item and the fact that asks for it commit together."""

    def due(self, kind: str, ref: str, *, due_at: datetime, version: int = 1) -> None:
        """Lets `kind` fire for `ref` at an instant; a later version replaces an earlier one."""
        current_work().due(kind, ref, due_at=due_at, version=version)

    def cancel(self, kind: str, ref: str) -> None:
        """Takes back what was scheduled for (kind, ref)."""
        current_work().cancel_due(kind, ref)


class DueQueue:
    """Fires open items whose instant has come, in order. An item that is refused for good is closed with the reason.

    One that breaks three times in a row is set aside as `failed`, seen in the figures: it may not stop the others.
    """

    def __init__(
        self, database: Any, commands: Commands, table: DueTable, *, now: Callable[[], datetime], poll_seconds: float
    ) -> None:
        self.database, self.commands, self.table = database, commands, table
        self.now, self.poll_seconds = now, poll_seconds
        self._broken: Counter[str] = Counter()

    async def run(self) -> None:
        """Looks for due items until cancelled; sooner than the poll when the last look found some."""
        while True:
            try:
                fired = await self.fire_due()
            except (PyMongoError, transactions.OutcomeUnknown) as error:
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
        key, mine = f"due:{item['_id']}:{item['version']}", {"version": item["version"], "state": "open"}

        async def call() -> Aggregate | Outcome:
            if await self.database.due.find_one({"_id": item["_id"], **mine}) is None:
                raise DueMoved
            current_work().set_where("due", item["_id"], mine, {"state": "done"})
            return await self.table[item["kind"]](item["ref"], self.now())

        try:
            await self.commands.execute(key=key, body="", lock=item["ref"], actor=SYSTEM, correlation_id=key, call=call)
        except DueMoved:
            return True
        except DomainError as error:
            if error.status >= 500:
                return False
            log.warning("due.refused", item=item["_id"], code=error.code)
            await self._close(item, "refused", error.code)
        except (PyMongoError, transactions.OutcomeUnknown):
            raise
        except Exception as error:
            self._broken[key] += 1
            log.exception("due.broken", item=item["_id"], tries=self._broken[key])
            if self._broken[key] < _TRIES_MAX:
                return False
            await self._close(item, "failed", type(error).__name__)
        self._broken.pop(key, None)
        return True

    async def _close(self, item: dict[str, Any], state: str, code: str) -> None:
        mine = {"_id": item["_id"], "version": item["version"], "state": "open"}
        await self.database.due.update_one(mine, {"$set": {"state": state, "code": code}})
