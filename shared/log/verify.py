"""Proves from the store alone that a service's log holds together: every place once, every chain whole (rule 26)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from shared.log.sequencer import PENDING

_FAULTS_MAX = 50


@dataclass
class Verdict:
    """What was counted, and a sentence for every fault found (at most fifty); whole when there is none."""

    facts: int = 0
    commits: int = 0
    pending: int = 0
    streams: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether the log holds together."""
        return not self.faults

    def fault(self, sentence: str) -> None:
        """Notes one."""
        if len(self.faults) < _FAULTS_MAX:
            self.faults.append(sentence)


async def verify(database: Any) -> Verdict:
    """Reads the whole log once, in one snapshot of order: places are gap-free from 1, `at` grows along each stream,
    every fact names the one before it in its partition and in its stream, no key answers twice, and the sequencer's
    document agrees.
    """
    verdict = Verdict()
    versions: dict[str, tuple[int, int]] = {}
    lanes: dict[tuple[str, int], int] = {}
    keys: Counter[str] = Counter()
    state = await database.sequencer.find_one({"_id": "sequencer"})
    numbered, place = {"seq": {"$exists": True, "$lt": state["next"]}}, 1
    async for commit in database.commits.find(numbered).sort([("seq", 1), ("_id", 1)]):
        verdict.commits += 1
        keys.update(command["key"] for command in commit.get("commands", ()))
        events = commit.get("events", ())
        if events and commit["seq"] != place:
            verdict.fault(f"commit {commit['_id']} stands at {commit['seq']}, {place} was due")
            place = commit["seq"]
        for event in events:
            version, at = versions.get(event["stream"], (0, 0))
            if event["version"] != version + 1:
                verdict.fault(f"{event['stream']} has version {event['version']} after {version} at {place}")
            if event["at"] <= at:
                verdict.fault(f"{event['stream']} goes back in time at version {event['version']}")
            lane = (event["topic"], event["partition"])
            if event["prev"] != lanes.get(lane, 0):
                verdict.fault(f"{lane[0]}[{lane[1]}] at {place} follows {event['prev']}, not {lanes.get(lane, 0)}")
            versions[event["stream"]], lanes[lane] = (event["version"], event["at"]), place
            place, verdict.facts = place + 1, verdict.facts + 1
    verdict.streams = len(versions)
    verdict.pending = await database.commits.count_documents(PENDING)
    if place != state["next"]:
        verdict.fault(f"the log ends before {place}, its next place is {state['next']}")
    if state["published"] >= state["next"]:
        verdict.fault(f"{state['published']} is published of {state['next'] - 1}")
    for key, count in keys.items():
        if count > 1:
            verdict.fault(f"a command was accepted {count} times under one key ({key[:12]})")
    return verdict
