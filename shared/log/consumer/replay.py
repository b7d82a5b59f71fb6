"""What can be done with dead letters: look, replay in order, or discard with a reason (rule 20)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from aiokafka import TopicPartition

from shared.kernel import SYSTEM, Actor, Answer, DomainError, NotFound
from shared.log import sessions, transactions, writes
from shared.log.committer import IdempotencyKeyReused
from shared.log.consumer.application import Application
from shared.log.consumer.ownership import reader
from shared.log.letters import WAITING, event_id, letter_event, waiting_subjects
from shared.log.store import Page
from shared.log.work import Work

_PAGE_MAX = 200
_TRIES = 5
_READ_SECONDS = 10.0
_FOLLOW_SECONDS = 2.0

log = structlog.get_logger()


class LetterSettled(DomainError):
    """The letter has been replayed or discarded already."""

    code = "letter-settled"
    zh = "该死信已处理({state})"
    en = "The letter is settled already ({state})"


class LetterForeign(DomainError):
    """The record is not a fact of ours, or of a type this service does not listen to: it can only be discarded."""

    code = "letter-foreign"
    zh = "该记录不是本系统的事实,不能重放,只能注明理由后作废"
    en = "The record is no fact of ours: it cannot be replayed, only discarded with a reason"


class LetterChanged(DomainError):
    """The topic does not hold the record this letter was made of any more."""

    code = "letter-changed"
    zh = "主题 {place} 处的记录已不是当初的那一条,不能重放"
    en = "The record at {place} is not the one this letter was made of: it is not replayed"


class ReplayFailed(DomainError):
    """The fact could still not be applied; it and those behind it wait on."""

    code = "replay-failed"
    zh = "重放 {letter} 失败({failure}),它与其后的事实继续等待"
    en = "Replaying {letter} failed ({failure}); it and the facts behind it wait on"


class ReasonMissing(DomainError):
    """A letter is only discarded with a reason that others can read later."""

    code = "reason-missing"
    status = 422
    zh = "作废死信须写明理由"
    en = "Discarding a letter needs a reason"


@dataclass(frozen=True, slots=True)
class Repair:
    """A command that settles letters: its key and body (HMACs, rule 1), kept with what it has settled."""

    key: str
    body: str


class _NotLowest(Exception):
    pass


class Letters:
    """The dead letters of one service. `application` is None where the service reacts to nothing."""

    def __init__(
        self, database: Any, *, bootstrap: str, slot: str, service: str, application: Application | None = None
    ) -> None:
        self.database, self.bootstrap, self.slot, self.service = database, bootstrap, slot, service
        self.application = application
        self._lock = asyncio.Lock()
        self._session: Any = None

    async def list(
        self, *, states: Sequence[str] = (*WAITING, "foreign"), after: str | None = None, limit: int = 50
    ) -> Page[dict[str, Any]]:
        """Letters in these states (`open`, `parked`, `foreign`, `replayed`, `discarded`) in order of id."""
        where: dict[str, Any] = {"state": {"$in": list(states)}}
        if after is not None:
            where["_id"] = {"$gt": after}
        limit = max(1, min(limit, _PAGE_MAX))
        found = await self.database.dead_letters.find(where).sort("_id", 1).limit(limit + 1).to_list(None)
        return Page(tuple(found[:limit]), str(found[limit - 1]["_id"]) if len(found) > limit else None)

    async def find_one(self, id: str) -> dict[str, Any] | None:
        """One letter, waiting or settled."""
        found: dict[str, Any] | None = await self.database.dead_letters.find_one({"_id": id})
        return found

    async def answered(self, id: str, repair: Repair) -> Answer | None:
        """What the repair has settled, when this letter is among it: the same answer however often it is asked for.

        Raises NotFound, and IdempotencyKeyReused when the key came with another body.
        """
        asked = await self._get(id)
        given = asked.get("repair")
        if given is None or given["key"] != repair.key:
            return None
        if given["body"] != repair.body:
            raise IdempotencyKeyReused
        same = {"state": asked["state"], "stream": asked["stream"], "repair.key": repair.key}
        settled = await self.database.dead_letters.find(same).sort([("seq", 1), ("_id", 1)]).to_list(None)
        facts = tuple(event_id(found, 2, self.service) for found in settled)
        return Answer(id, 2, facts, {"state": asked["state"], "letters": [found["_id"] for found in settled]})

    async def waiting_subjects(self, subjects: Iterable[str]) -> set[str]:
        """Which of these have facts that wait: a service publishes nothing about them meanwhile."""
        return await waiting_subjects(self.database, subjects)

    async def replay(self, id: str, *, actor: Actor = SYSTEM, repair: Repair | None = None) -> tuple[str, ...]:
        """Applies what waits in this letter's stream, lowest seq first, until nothing waits; returns the ids replayed.

        Each letter's mark, its effect and its commit document are one transaction. Raises NotFound, LetterSettled,
        LetterForeign, LetterChanged; ReplayFailed when one still fails, those before it staying applied.
        """
        asked = await self._get(id)
        if asked["state"] == "foreign":
            raise LetterForeign
        if asked["state"] not in WAITING:
            raise LetterSettled(state=asked["state"])
        return await self._replay_stream(asked["stream"], actor, repair)

    async def discard(self, id: str, *, reason: str, actor: Actor, repair: Repair | None = None) -> None:
        """Gives a letter up for good: the reason and who gave it are a fact of the log; those behind it follow."""
        if not reason.strip():
            raise ReasonMissing
        found = await self._get(id)
        waits = [*WAITING, "foreign"]

        async def body(session: Any) -> None:
            mark = {"$set": {"state": "discarded", "reason": reason, **_kept(repair)}}
            result = await self.database.dead_letters.update_one(
                {"_id": id, "state": {"$in": waits}}, mark, session=session
            )
            if not result.matched_count:
                raise LetterSettled(state=(await self._get(id))["state"])
            event = letter_event(
                found | {"state": "discarded"}, "DeadLetterDiscarded", 2, self.service, actor=actor, reason=reason
            )
            await self._application.write(session, _work(actor, session), [], ranges={}, events=[event])

        async with self._lock:
            await self._commit(body, id, "discarded")

    async def follow(self) -> None:
        """Until cancelled: replays parked letters before which nothing that failed is left, because it was discarded or
        replayed while they were being parked.
        """
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            try:
                for stream in await self._left_behind():
                    await self._replay_stream(stream, SYSTEM)
            except DomainError as error:
                log.warning("letters.follow", code=error.code)
            except transactions.TRANSIENT as error:
                log.warning("letters.follow", error=type(error).__name__)

    async def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            await self._session.end_session()

    @property
    def _application(self) -> Application:
        if self.application is None:
            raise LetterForeign
        return self.application

    async def _get(self, id: str) -> dict[str, Any]:
        found = await self.find_one(id)
        if found is None:
            raise NotFound
        return found

    async def _left_behind(self) -> Sequence[str]:
        parked = await self.database.dead_letters.distinct("stream", {"state": "parked"})
        if not parked:
            return []
        failed = await self.database.dead_letters.distinct("stream", {"state": "open", "stream": {"$in": parked}})
        return sorted(set(parked) - set(failed))

    async def _replay_stream(self, stream: str, actor: Actor, repair: Repair | None = None) -> tuple[str, ...]:
        done: tuple[str, ...] = ()
        async with self._lock:
            while True:
                waiting = {"stream": stream, "state": {"$in": list(WAITING)}}
                lowest = await self.database.dead_letters.find_one(waiting, sort=[("seq", 1)])
                if lowest is None:
                    return done
                try:
                    await self._replay_one(lowest, actor, repair)
                    done = (*done, lowest["_id"])
                except (_NotLowest, LetterSettled):
                    continue  # another process replays the same stream
                except (DomainError, *transactions.TRANSIENT) as error:
                    if isinstance(error, LetterForeign | LetterChanged) or transactions.is_transient(error):
                        raise
                    await self._failed(lowest, error)
                except Exception as error:
                    log.exception("letter.failed", letter=lowest["_id"])
                    await self._failed(lowest, error)

    async def _failed(self, found: dict[str, Any], error: Exception) -> None:
        code = type(error).__name__
        still = {"_id": found["_id"], "state": {"$in": list(WAITING)}}
        change = {"$set": {"state": "open", "code": code}, "$inc": {"replays": 1}}
        await self.database.dead_letters.update_one(still, change)
        raise ReplayFailed(letter=found["_id"], failure=code) from error

    async def _replay_one(self, found: dict[str, Any], actor: Actor, repair: Repair | None) -> None:
        application, id = self._application, found["_id"]
        if found["type"] not in application.reactions:
            raise LetterForeign
        record = await self._record(found)

        async def body(session: Any) -> None:
            letters = self.database.dead_letters
            waits = {"state": {"$in": list(WAITING)}}
            if await letters.find_one(
                {"stream": found["stream"], "seq": {"$lt": found["seq"]}, **waits}, session=session
            ):
                raise _NotLowest
            mark = {"$set": {"state": "replayed", **_kept(repair)}}
            result = await letters.update_one({"_id": id, **waits}, mark, session=session)
            if not result.matched_count:
                raise LetterSettled(state="replayed")
            work = _work(SYSTEM, session)
            await application.react(work, record)
            event = letter_event(found | {"state": "replayed"}, "DeadLetterReplayed", 2, self.service, actor=actor)
            await application.write(session, work, [], ranges={}, events=[event])

        await self._commit(body, id, "replayed")

    async def _commit(self, body: Any, id: str, settled: str) -> None:
        """Runs the body until its outcome is known."""
        for attempt in range(_TRIES):
            try:
                if self._session is None:
                    self._session = await sessions.take_slot(self.database, f"{self.slot}/letters")
                await transactions.run(self._session, body)
                break
            except (writes.Conflict, *transactions.TRANSIENT) as error:
                if not (isinstance(error, writes.Conflict) or transactions.is_transient(error)):
                    raise
                if (await self._get(id))["state"] == settled:
                    break
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(0.05 * 2**attempt)
        self._application.on_commit()

    async def _record(self, found: dict[str, Any]) -> Any:
        partition = TopicPartition(found["topic"], found["partition"])
        place = f"{found['topic']}[{found['partition']}]@{found['offset']}"
        async with reader(self.bootstrap) as consumer:
            begin = (await consumer.beginning_offsets([partition]))[partition]
            end = (await consumer.end_offsets([partition]))[partition]
            if not begin <= found["offset"] < end:
                raise LetterChanged(place=place)
            consumer.assign([partition])
            consumer.seek(partition, found["offset"])
            record = await asyncio.wait_for(consumer.getone(partition), _READ_SECONDS)
        if record.offset != found["offset"] or hashlib.sha256(record.value or b"").hexdigest() != found["hash"]:
            raise LetterChanged(place=place)
        return record


def _kept(repair: Repair | None) -> dict[str, Any]:
    return {} if repair is None else {"repair": asdict(repair)}


def _work(actor: Actor, session: Any) -> Work:
    return Work(actor=actor, correlation_id="", session=session)
