"""Applies a batch of a partition in one transaction whose first statement moves the position (rules 15 to 20)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition
from pymongo.errors import DuplicateKeyError

from shared.contracts.fact import Fact, Recorded
from shared.kernel import SYSTEM
from shared.log import transactions, wire, writes
from shared.log.committer import commit_document
from shared.log.consumer.ownership import Claim, Fenced, RebuildNeeded, fingerprint
from shared.log.failpoints import failpoint
from shared.log.letters import letter, letter_event, waiting_streams
from shared.log.ticks import RecordedTime
from shared.log.work import Split, Work, working
from shared.platform.traces import continued

Reactions = Mapping[type[Fact], Callable[[Recorded[Any]], Awaitable[None]]]


class FactFailed(Exception):
    """The reaction to one fact of the batch raised: at `index`, with the error as its cause."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


class SplitAt(Exception):
    """The batch must end before `index`: its reaction asks for what the facts before it write."""

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self.index = index


@dataclass(frozen=True, slots=True)
class Heard:
    """A record of ours that moves the position, and where it lies in its batch."""

    record: Any
    head: wire.Head
    index: int


class Application:
    """What a consumer and the replay of letters have in common: reactions in, one commit out.

    `service` is the publisher's name of this service, in kebab case.
    """

    def __init__(
        self,
        database: Any,
        *,
        service: str,
        reactions: Reactions,
        time: RecordedTime,
        log_id: Callable[[], str],
        on_commit: Callable[[], None],
    ) -> None:
        self.database, self.service = database, service
        self.reactions = {fact.__name__: (fact, react) for fact, react in reactions.items()}
        self.time, self.log_id, self.on_commit = time, log_id, on_commit
        self.counts: Counter[str] = Counter()

    def types_of(self, topic: str) -> list[str]:
        """The types of a topic that the table names."""
        return [name for name, (fact, _react) in self.reactions.items() if fact.topic.name == topic]

    async def apply(
        self,
        claim: Claim,
        batch: Sequence[Any],
        *,
        poison: str | None = None,
        behind: dict[str, dict[str, int]] | None = None,
    ) -> None:
        """Commits position, effects, letters and facts of a batch together, or nothing.

        `poison` says why the one fact of this batch becomes a letter. `behind` names the types that catch up below the
        position, each with the place it has reached; nothing else is applied then and the position stays. Raises
        Fenced, RebuildNeeded, FactFailed, SplitAt, and what MongoDB raises.
        """
        after = batch[-1].offset + 1
        heard, strangers, duplicates, seq = self._sorted_out(claim, batch, behind)
        log_id = heard[-1].head.log_id if heard and behind is None else claim.log_id
        known = 0 if poison else sum(item.head.type in self.reactions for item in heard)
        moved: dict[str, Any] = {"next": after, "seq": seq, "log_id": log_id, "tail": fingerprint(batch[-1])}
        if behind is not None:
            reached = {"next": after, "seq": max([item.head.seq for item in heard], default=0)}
            places = {
                kind: {name: max(place[name], reached[name]) for name in reached} for kind, place in behind.items()
            }
            moved = {f"types.{kind}": place for kind, place in places.items()}

        async def body(session: Any) -> int:
            result = await self.database.positions.update_one(
                {"_id": claim.name, "epoch": claim.epoch, "next": claim.next, "seq": claim.seq},
                {"$set": moved, "$inc": {"applied": known, "skipped": 0 if poison else len(heard) - known}},
                session=session,
            )
            if not result.matched_count:
                raise Fenced
            failpoint("consume.after_position")
            work, letters = await self._react(heard, session, poison)
            failpoint("consume.after_reactions")
            ranges = [_range(claim.partition, heard)] if heard else []
            at = await self.write(
                session, work, [*letters, *strangers], ranges={"inputs" if behind is None else "backfill": ranges}
            )
            if letters and not poison:
                fewer = {"$inc": {"applied": -len(letters)}}
                await self.database.positions.update_one({"_id": claim.name}, fewer, session=session)
            failpoint("consume.after_writes")
            return at

        try:
            await transactions.run(claim.session, body)
        except Fenced:
            if behind is not None or not await self.applied(claim, batch, seq=seq):
                raise
        if behind is None:
            claim.next, claim.seq, claim.log_id = after, seq, log_id
        else:
            behind.update(places)
        failpoint("consume.after_commit")
        self.counts["applied"] += known
        self.counts["unknown_types"] += len(heard) - known
        self.counts["duplicates"] += duplicates
        self.on_commit()

    async def applied(self, claim: Claim, batch: Sequence[Any], seq: int | None = None) -> bool:
        """After an unknown outcome or a miss: whether our own commit had been applied (rule 16)."""
        position = await self.database.positions.find_one({"_id": claim.name})
        if position["epoch"] != claim.epoch:
            raise Fenced
        if position["next"] != batch[-1].offset + 1 or (seq is not None and position["seq"] != seq):
            return False
        claim.next, claim.seq, claim.log_id = position["next"], position["seq"], position["log_id"]
        return True

    async def write(
        self,
        session: Any,
        work: Work,
        letters: Sequence[dict[str, Any]],
        *,
        ranges: Mapping[str, Sequence[dict[str, Any]]],
        events: Sequence[dict[str, Any]] = (),
    ) -> int:
        """Writes what the reactions saved, the letters, and the commit document that records both; returns its `at`.

        `ranges` are the places of other logs this commit takes in: `inputs`, or `backfill` for what caught up.
        """
        writes.check_size(work)
        prepared = writes.prepare([work], not_before=self.time.not_before())
        for event in [*(letter_event(found, "DeadLetterOpened", 1, self.service) for found in letters), *events]:
            prepared.at += 1
            prepared.events.append(event | {"at": prepared.at, "effective_at": prepared.at})
        self.time.passed(prepared.at)
        await writes.apply(self.database, session, prepared)
        if letters:
            await self.database.dead_letters.insert_many(
                [found | {"at": prepared.at} for found in letters], session=session
            )
        heard = {name: list(found) for name, found in ranges.items() if found}
        if heard or prepared.events:
            document = commit_document(self.log_id(), prepared) | heard
            try:
                await self.database.commits.insert_one(document, session=session)
            except DuplicateKeyError as error:
                raise writes.Conflict("commits") from error
        return prepared.at

    async def react(self, work: Work, record: Any) -> None:
        """Calls the reaction to one record within a work; raises Unreadable, or what the reaction raises."""
        fact, react = self.reactions[wire.head(record).type]
        recorded = wire.decode(record, fact)
        traceparent = dict(record.headers).get("traceparent")
        with continued(traceparent.decode() if traceparent else None, react.__name__) as onward:
            work.hears(
                causation_id=recorded.id, correlation_id=recorded.correlation_id, traceparent=onward,
                reaction=(self.service, react.__name__),
            )  # fmt: skip
            with working(work):
                await react(recorded)

    def _sorted_out(
        self, claim: Claim, batch: Sequence[Any], behind: Mapping[str, Mapping[str, int]] | None
    ) -> tuple[list[Heard], list[dict[str, Any]], int, int]:
        """The facts that apply, letters for records that are not ours, how many are duplicates, the seq reached."""
        heard: list[Heard] = []
        strangers: list[dict[str, Any]] = []
        duplicates, seq, latest = 0, claim.seq, 0
        for index, record in enumerate(batch):
            try:
                head = wire.head(record)
            except wire.Foreign:
                strangers.append(letter(record, None, code="foreign", state="foreign"))
                continue
            if claim.log_id not in (None, head.log_id):
                raise RebuildNeeded(f"the log is {head.log_id}, we know {claim.log_id}: rebuild this service")
            if behind is not None:
                place = behind.get(head.type)
                if place is not None and record.offset >= place["next"] and head.seq > max(place["seq"], latest):
                    heard.append(Heard(record, head, index))
                    latest = head.seq
                continue
            if head.seq <= seq:
                duplicates += 1
                continue
            if head.prev != seq:
                raise RebuildNeeded(f"seq {head.seq} follows {head.prev}, but {seq} was applied last: facts miss")
            seq = head.seq
            heard.append(Heard(record, head, index))
        return heard, [] if behind is not None else strangers, duplicates, seq

    async def _react(
        self, heard: Sequence[Heard], session: Any, poison: str | None
    ) -> tuple[Work, list[dict[str, Any]]]:
        """Calls the reactions one after the other within one work; parks what waits behind an open letter."""
        work = Work(actor=SYSTEM, correlation_id="", session=session)
        waiting = await waiting_streams(self.database, {item.head.stream for item in heard}, session)
        letters: list[dict[str, Any]] = []
        for item in heard:
            if item.head.type not in self.reactions:
                continue
            if item.head.stream in waiting:
                letters.append(letter(item.record, item.head, code="waits", state="parked"))
                continue
            if poison is not None:
                letters.append(letter(item.record, item.head, code=poison, state="open"))
                continue
            try:
                await self.react(work, item.record)
            except Split as error:
                if item.index == heard[0].index:
                    raise FactFailed(item.index) from error
                raise SplitAt(item.index) from error
            except Exception as error:
                if transactions.is_transient(error):
                    raise
                raise FactFailed(item.index) from error
        return work, letters


def _range(partition: TopicPartition, heard: Sequence[Heard]) -> dict[str, Any]:
    return {
        "service": partition.topic.partition(".")[0],
        "log_id": heard[-1].head.log_id,
        "topic": partition.topic,
        "partition": partition.partition,
        "from": heard[0].head.seq,
        "to": heard[-1].head.seq,
    }
