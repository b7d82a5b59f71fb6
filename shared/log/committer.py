"""Commits the commands that queued while the last commit ran: one transaction, one commit document (rules 2 to 6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from pymongo.errors import DuplicateKeyError, PyMongoError

from shared.kernel import Aggregate, Answer, DomainError
from shared.log import sessions, transactions, writes
from shared.log.failpoints import failpoint
from shared.log.ticks import RecordedTime
from shared.log.work import Work
from shared.log.writes import Conflict

GROUP_COMMANDS_MAX = 200
GROUP_BYTES_MAX = 4 * 1024 * 1024
_REGROUPS_MAX = 8

log = structlog.get_logger()


class Stale(Exception):
    """What the command rests on has changed: load and decide afresh."""


class Closing(DomainError):
    """This process stops and takes nothing more; another one, or the same one restarted, does."""

    code = "closing"
    status = 503
    zh = "服务正在停止,请稍后用同一个 Idempotency-Key 重试"
    en = "The service is stopping: try again with the same Idempotency-Key"


class IdempotencyKeyReused(DomainError):
    """The same `Idempotency-Key` came with another body."""

    code = "idempotency-key-reused"
    status = 422
    zh = "这个 Idempotency-Key 已用于另一份内容:请换一个新的键"
    en = "This Idempotency-Key was used with another body; take a new key"


@dataclass(slots=True)
class Pending:
    """A decided command that waits for its group: key and body as HMACs, its work, what it answers with."""

    key: str
    body: str
    work: Work
    aggregate: Aggregate
    details: dict[str, Any]
    size: int
    done: asyncio.Future[Answer]


class Committer:
    """One task per process. `time` gives recorded time; `log_id` names the log; `on_commit` wakes the sequencer."""

    def __init__(
        self,
        database: Any,
        *,
        slot: str,
        time: RecordedTime,
        log_id: Callable[[], str],
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.database = database
        self.slot = slot
        self.time, self.log_id, self.on_commit = time, log_id, on_commit
        self._queue: asyncio.Queue[Pending] = asyncio.Queue()
        self._waiting: set[asyncio.Future[Answer]] = set()
        self._closing = False
        self._session: Any = None

    async def run(self) -> None:
        """Commits group after group until cancelled; whoever still waits then is told to come again."""
        held: Pending | None = None
        try:
            self._session = await self._open_session()
            while True:
                group, size = [held or await self._queue.get()], 0
                held = None
                while not self._queue.empty() and len(group) < GROUP_COMMANDS_MAX:
                    candidate = self._queue.get_nowait()
                    size += candidate.size
                    if size > GROUP_BYTES_MAX or _overlaps(group, candidate):
                        held = candidate  # two writers of one document never share a commit document
                        break
                    group.append(candidate)
                await self._settle(group)
        finally:
            self._closing = True
            for done in self._waiting:
                if not done.done():
                    done.set_exception(Closing())
            if self._session is not None:
                await self._session.end_session()

    async def drain(self, seconds: float) -> None:
        """Takes nothing more and waits until what was accepted is settled, for at most so long."""
        self._closing = True
        if self._waiting:
            await asyncio.wait(set(self._waiting), timeout=seconds)

    async def commit(self, pending: Pending) -> Answer:
        """Queues a decided command and waits; raises Stale or OutcomeUnknown, after which the caller decides afresh."""
        if self._closing:
            raise Closing
        self._waiting.add(pending.done)
        pending.done.add_done_callback(self._waiting.discard)
        self._queue.put_nowait(pending)
        return await asyncio.shield(pending.done)

    async def _open_session(self) -> Any:
        pause = 0.05
        while True:
            try:
                return await sessions.take_slot(self.database, f"{self.slot}/committer")
            except PyMongoError as error:
                log.warning("committer.waits_for_store", error=type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)

    async def known(self, keys: Sequence[str]) -> dict[str, tuple[str, Answer]]:
        """The commands already accepted among these keys: key -> (body HMAC, answer)."""
        found: dict[str, tuple[str, Answer]] = {}
        wanted = set(keys)
        async for commit in self.database.commits.find({"commands.key": {"$in": list(wanted)}}, {"commands": 1}):
            for command in commit["commands"]:
                if command["key"] in wanted:
                    stored = command["answer"]
                    answer = Answer(stored["id"], stored["version"], tuple(stored["facts"]), stored["details"])
                    found[command["key"]] = (command["body"], answer)
        return found

    async def _settle(self, group: list[Pending]) -> None:
        try:
            for _ in range(_REGROUPS_MAX):
                known = await self.known([pending.key for pending in group])
                for pending in group:
                    if pending.key in known:
                        body, answer = known[pending.key]
                        if body == pending.body:
                            _answer(pending, answer)
                        else:
                            _fail([pending], IdempotencyKeyReused())
                group = [pending for pending in group if not pending.done.done()]
                if not group:
                    return
                try:
                    await self._write(group)
                    return
                except Conflict:
                    group = await self._evict_stale(group)
            _fail(group, Stale())
        except transactions.OutcomeUnknown as error:
            _fail(group, error)
        except PyMongoError as error:
            log.warning("commit.failed", error=type(error).__name__, commands=len(group))
            _fail(group, transactions.OutcomeUnknown())
        except Exception as error:
            log.exception("commit.broken", commands=len(group))
            if len(group) == 1:
                _fail(group, error)
            for pending in group if len(group) > 1 else ():
                await self._settle([pending])  # alone, only the one that cannot be written fails

    async def _write(self, group: list[Pending]) -> None:
        failpoint("commit.before_transaction")
        prepared = writes.prepare([pending.work for pending in group], not_before=self.time.not_before())
        self.time.passed(prepared.at)
        answers = [
            Answer(p.aggregate.id, _version_after(p), ids, p.details)
            for p, ids in zip(group, prepared.ids, strict=True)
        ]
        document = commit_document(self.log_id(), prepared)
        document["commands"] = [
            {
                "key": p.key,
                "body": p.body,
                "answer": {"id": a.id, "version": a.version, "facts": list(a.facts), "details": a.details},
            }
            for p, a in zip(group, answers, strict=True)
        ]

        async def body(session: Any) -> None:
            await writes.apply(self.database, session, prepared)
            await self.database.commits.insert_one(dict(document), session=session)
            failpoint("commit.after_writes")

        await transactions.run(self._session, _conflict_on_duplicate(body))
        failpoint("commit.before_answer")
        self.on_commit()
        for pending, answer in zip(group, answers, strict=True):
            _answer(pending, answer)

    async def _evict_stale(self, group: list[Pending]) -> list[Pending]:
        """One look-up per collection finds who rests on something that changed; the others stay together."""
        wanted: dict[str, set[str]] = {}
        for pending in group:
            for collection, key in _touched(pending.work):
                wanted.setdefault(collection, set()).add(key)
        stored: dict[tuple[str, str], int] = {}
        for collection, keys in wanted.items():
            async for row in self.database[collection].find({"_id": {"$in": list(keys)}}, {"version": 1}):
                stored[collection, row["_id"]] = int(row.get("version", -1))
        stay: list[Pending] = []
        for pending in group:
            expectations = {key: save.expected for key, save in pending.work.saves.items()} | pending.work.guards
            expectations |= {key: 0 for key, row in pending.work.rows.items() if row.mode == "insert"}
            if all(stored.get(key, 0) == version for key, version in expectations.items()):
                stay.append(pending)
            elif not pending.done.done():
                pending.done.set_exception(Stale())
        if len(stay) == len(group) and len(group) > 1:
            # The conflict came from a unique index that no expectation names: alone, only its owner fails.
            for pending in stay[1:]:
                self._queue.put_nowait(pending)
            return stay[:1]
        if len(stay) == len(group):
            _fail(group, Stale())
            return []
        return stay


def commit_document(log_id: str, prepared: writes.Prepared) -> dict[str, Any]:
    """A pending commit document with its events; empty arrays are left out (a unique index would hold them)."""
    document: dict[str, Any] = {"log_id": log_id, "at": prepared.at, "pending": True}
    if prepared.events:
        document["events"] = prepared.events
    return document


def _conflict_on_duplicate(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    async def wrapped(session: Any) -> None:
        try:
            await body(session)
        except DuplicateKeyError as error:
            raise Conflict("commits") from error

    return wrapped


def _touched(work: Work) -> set[tuple[str, str]]:
    return set(work.saves) | set(work.guards) | {key for key, row in work.rows.items() if row.mode == "insert"}


def _overlaps(group: list[Pending], candidate: Pending) -> bool:
    """Whether two works of the group would write one document, or one guards what another writes (write skew)."""
    mine, guarded = _written(candidate.work), candidate.work.guards
    for other in group:
        theirs = _written(other.work)
        if candidate.key == other.key or mine & theirs or mine & set(other.work.guards) or theirs & set(guarded):
            return True
        if any(other.work.guards.get(key, version) != version for key, version in guarded.items()):
            return True
    return False


def _written(work: Work) -> set[tuple[str, str]]:
    dues = {("due", f"{due.kind}:{due.ref}") for due in work.dues} | {("due", ref) for ref in work.cancelled_dues}
    return set(work.saves) | set(work.rows) | dues


def _version_after(pending: Pending) -> int:
    """The version of the aggregate a command answers with, after its commit."""
    for save in pending.work.saves.values():
        if save.aggregate is pending.aggregate:
            return save.expected + len(save.aggregate.recorded)
    return pending.aggregate.version


def _answer(pending: Pending, answer: Answer) -> None:
    if not pending.done.done():
        pending.done.set_result(answer)


def _fail(group: Sequence[Pending], error: Exception) -> None:
    for pending in group:
        if not pending.done.done():
            pending.done.set_exception(error)
