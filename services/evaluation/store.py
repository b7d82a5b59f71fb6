"""Where evaluation keeps what it knows, and how it reads positions of its own log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from pymongo.read_concern import ReadConcern

from services.evaluation.handlers.ports import ParkedStream, PositionPending
from services.evaluation.policies.facts import KnownFact
from services.evaluation.policies.indicators import Subject
from shared.contracts.evaluation import InputRange
from shared.log.indexes import Index
from shared.log.store import Rows

COLLECTIONS = (
    "known_parties", "known_issues", "known_facts", "closure_claims", "closures", "assessments",
    "assessment_imports", "scorecards", "publications", "revision_rounds", "revision_plans",
)  # fmt: skip
INDEXES = (
    Index("known_facts", (("refs", 1),)),
    Index("known_facts", (("type", 1),)),
    Index("known_facts", (("recorded_at", 1), ("_id", 1)), {"partialFilterExpression": {"unfolded": True}}),
    Index("closure_claims", (("issue_id", 1),)),
    Index("closure_claims", (("state", 1), ("_id", 1))),
    Index("closure_claims", (("pilot_id", 1), ("_id", 1))),
    Index("scorecards", (("subject", 1), ("cycle", 1))),
    Index("scorecards", (("cycle", 1), ("subject_kind", 1))),
    Index("assessments", (("cycle", 1), ("subject", 1))),
)
_REFS_PER_QUERY = 500
_NUMBERED_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.02


class MongoKeptFacts:
    """Facts that figures use, one row each, found by reference; `unfolded` until a revision round has looked at it."""

    def __init__(self, database: Any) -> None:
        self._facts = Rows(database, "known_facts")

    def keep(self, fact: KnownFact, refs: Iterable[str]) -> None:
        """Keeps a fact and marks it."""
        row = {name: getattr(fact, name) for name in KnownFact.__slots__ if name != "id"}
        row |= {"evidence": list(fact.evidence), "data": dict(fact.data), "refs": sorted(refs), "unfolded": True}
        self._facts.set(fact.id, row)

    async def about(self, refs: Iterable[str]) -> list[KnownFact]:
        """The facts that carry any of the references, each once."""
        wanted, found = sorted(set(refs)), {}
        for start in range(0, len(wanted), _REFS_PER_QUERY):
            part = wanted[start : start + _REFS_PER_QUERY]
            for row in await self._facts.find({"refs": {"$in": part}}):
                found[row["_id"]] = _fact(row)
        return list(found.values())

    async def of_types(self, types: Sequence[str]) -> list[KnownFact]:
        """All facts of these types."""
        return [_fact(row) for row in await self._facts.find({"type": {"$in": list(types)}})]

    async def unfolded(self, limit: int) -> list[KnownFact]:
        """The marked facts, those recorded first coming first."""
        order = (("recorded_at", 1), ("_id", 1))
        return [_fact(row) for row in await self._facts.find({"unfolded": True}, sort=order, limit=limit)]

    async def newest_unfolded_at(self) -> int | None:
        """Recorded time of the newest marked fact."""
        newest = await self._facts.find({"unfolded": True}, sort=(("recorded_at", -1), ("_id", -1)), limit=1)
        return int(newest[0]["recorded_at"]) if newest else None

    def fold(self, ids: Iterable[str]) -> None:
        """Takes the marks away."""
        for id in ids:
            self._facts.set(id, {"unfolded": False})


class MongoPublishedCards:
    """The published scorecards by subject."""

    def __init__(self, database: Any) -> None:
        self._cards = database.get_collection("scorecards", read_concern=ReadConcern("majority"))

    async def of_subjects(self, subjects: Iterable[Subject]) -> list[str]:
        """The ids of these subjects' cards, of every cycle, in order."""
        wanted, found = sorted((subject.code, subject.kind) for subject in subjects), []
        kinds = set(wanted)
        for start in range(0, len(wanted), _REFS_PER_QUERY):
            codes = [code for code, _kind in wanted[start : start + _REFS_PER_QUERY]]
            where, fields = {"subject": {"$in": codes}}, {"subject": 1, "subject_kind": 1}
            for row in await self._cards.find(where, fields).to_list(None):
                if (row["subject"], row["subject_kind"]) in kinds:
                    found.append(row["_id"])
        return sorted(set(found))


class MongoLedger:
    """Reads this service's own log: positions, what they know, and its history of single streams."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._commits = database.get_collection("commits", read_concern=ReadConcern("majority"))
        self._at: dict[int, tuple[InputRange, ...]] = {}

    async def closed(self) -> int:
        """The newest position that can still gain nothing: every later commit is numbered above it."""
        state = await self._database.sequencer.find_one({"_id": "sequencer"})
        return int(state["next"]) - 1 if state else 0

    async def inputs(self, known: int | None) -> tuple[InputRange, ...]:
        """How far each partition had been heard at a position (the newest commit at or below it), or by now."""
        positions = await self._database.positions.find({"seq": {"$gt": 0}}).sort("_id", 1).to_list(None)
        if known is None:
            return tuple(_range(position["_id"], position["log_id"], position["seq"]) for position in positions)
        if known not in self._at:
            ranges = [await self._reached(position["_id"], known) for position in positions]
            if len(self._at) > 1000:
                self._at.clear()
            self._at[known] = tuple(part for part in ranges if part is not None)
        return self._at[known]

    async def _reached(self, name: str, known: int) -> InputRange | None:
        topic, _, partition = name.rpartition("|")
        lane = {"inputs.topic": topic, "inputs.partition": int(partition)}
        newest = await self._commits.find_one(lane | {"seq": {"$lte": known}}, {"seq": 1}, sort=[("seq", -1)])
        if newest is None:
            return None
        # Commits without facts share their place with the next one: all that stand there have been heard.
        there = await self._commits.find(lane | {"seq": newest["seq"]}, {"inputs": 1}).to_list(None)
        parts = [part for commit in there for part in commit["inputs"] if part["topic"] == topic]
        furthest = max((part for part in parts if part["partition"] == int(partition)), key=lambda part: part["to"])
        return _range(name, furthest["log_id"], furthest["to"])

    async def await_place(self, stream: str, version: int) -> int:
        """Waits until the sequencer has numbered a fact of ours."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _NUMBERED_SECONDS_MAX
        where = {"events": {"$elemMatch": {"stream": stream, "version": version}}}
        while loop.time() < end:
            commit = await self._commits.find_one(where, {"seq": 1, "events.stream": 1, "events.version": 1})
            if commit is not None and "seq" in commit:
                names = [(event["stream"], event["version"]) for event in commit["events"]]
                return int(commit["seq"]) + names.index((stream, version))
            await asyncio.sleep(_POLL_SECONDS)
        raise PositionPending

    async def fact_id(self, stream: str, version: int) -> str | None:
        """The id of a fact of ours by its place in its stream."""
        return next((event["id"] for event in await self.history(stream) if event["version"] == version), None)

    async def history(self, stream: str) -> list[dict[str, Any]]:
        """Every fact of one of our streams, oldest first, as committed, with `seq` where it has one."""
        found: list[dict[str, Any]] = []
        async for commit in self._commits.find({"events.stream": stream}):
            for offset, event in enumerate(commit["events"]):
                if event["stream"] == stream:
                    found.append(event | ({"seq": commit["seq"] + offset} if "seq" in commit else {}))
        return sorted(found, key=lambda event: int(event["version"]))

    async def after(self, position: int, topic: str) -> AsyncIterator[dict[str, Any]]:
        """The facts of one of our topics above a position, in order of the log, with their `seq`."""
        at_or_below = {"seq": {"$lte": position + 1}}
        base = await self._commits.find_one(at_or_below, {"seq": 1}, sort=[("seq", -1)])
        where = {"seq": {"$gte": base["seq"] if base else 0}, "events.topic": topic}
        async for commit in self._commits.find(where).sort("seq", 1):
            for offset, event in enumerate(commit["events"]):
                if event["topic"] == topic and commit["seq"] + offset > position:
                    yield event | {"seq": commit["seq"] + offset}

    async def parked(self) -> list[ParkedStream]:
        """The streams with letters that wait."""
        waiting = {"state": {"$in": ["open", "parked"]}}
        streams = await self._database.dead_letters.distinct("stream", waiting)
        return [ParkedStream(*stream.split("/", 1)) for stream in streams if stream]


def _range(name: str, log_id: str, seq: int) -> InputRange:
    topic, _, partition = name.rpartition("|")
    return InputRange(
        service=topic.partition(".")[0], log_id=log_id, topic=topic, partition=int(partition), seq=int(seq)
    )


def _fact(row: dict[str, Any]) -> KnownFact:
    plain = {name: row[name] for name in KnownFact.__slots__ if name not in ("id", "evidence")}
    return KnownFact(id=row["_id"], evidence=tuple(row["evidence"]), **plain)
