"""The invariants of a log at rest. Each finding names the check that made it and the place."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.auditor.dump import Document, Dump, Record, Told

_WAITING = ("open", "parked", "foreign")
_KEY_HEX = 64


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be: the check's name, where, and what was seen."""

    check: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.check} at {self.where}: {self.what}"


Check = Callable[[Dump, str], Iterator[Finding]]
STATES: dict[str, dict[str, str]] = {}
"""Service -> collection of aggregates -> the topic their facts go to (docs/formats.md)."""


def audit(dump: Dump, states: dict[str, dict[str, str]] | None = None) -> list[Finding]:
    """Every finding of every check over every service; empty means that nothing is wrong."""
    found: list[Finding] = []
    for service in sorted(dump.stores):
        for check in (*LOG_CHECKS, *KAFKA_CHECKS, *CONSUMER_CHECKS):
            found += check(dump, service)
        found += states_are_their_facts(dump, service, (states or STATES).get(service, {}))
    found += clients_got_what_is_stored(dump)
    return found


# --- a service's own log ---


def nothing_waits(dump: Dump, service: str) -> Iterator[Finding]:
    """At rest every commit has its place and is published."""
    for commit in dump.commits(service):
        if commit.get("pending") or "seq" not in commit:
            yield Finding("commit-pending", f"{service} {commit['_id']}", "it has no place in the log")
    total = sum(len(commit.get("events", ())) for commit in dump.commits(service))
    for state in dump.stores[service].get("sequencer", ()):
        if state["_id"] != "sequencer":
            continue
        if state["next"] != total + 1:
            yield Finding("sequencer-next", service, f"next is {state['next']}, the log holds {total} facts")
        if state["published"] != state["next"] - 1:
            yield Finding("unpublished", service, f"published {state['published']}, next {state['next']}")


def places_are_dense(dump: Dump, service: str) -> Iterator[Finding]:
    """Places count 1, 2, 3 … over facts; a commit without facts shares the place of the one after it."""
    expected = 1
    sequenced = 0
    log_ids = {state["log_id"] for state in dump.stores[service].get("sequencer", ()) if "log_id" in state}
    for commit in dump.commits(service):
        if "seq" not in commit:
            continue
        if commit["seq"] != expected:
            yield Finding("seq-dense", f"{service} {commit['_id']}", f"seq {commit['seq']}, expected {expected}")
        expected = commit["seq"] + len(commit.get("events", ()))
        if commit.get("sequenced_at", 0) < sequenced:
            yield Finding("sequenced-at", f"{service} seq {commit['seq']}", "earlier than the commit before")
        sequenced = max(sequenced, commit.get("sequenced_at", 0))
        if commit["log_id"] not in log_ids:
            yield Finding("log-id", f"{service} seq {commit['seq']}", f"log {commit['log_id']} is not this one")


def streams_are_gapless(dump: Dump, service: str) -> Iterator[Finding]:
    """Per aggregate: versions 1, 2, 3 … in order of the log, recorded strictly later each time, each fact once."""
    last: dict[str, tuple[int, int]] = {}
    ids: set[str] = set()
    instants: set[int] = set()
    for _commit, event, seq in dump.events(service):
        stream = event["stream"]
        version, at = last.get(stream, (0, 0))
        where = f"{service} {stream} v{event['version']} seq {seq}"
        if event["version"] != version + 1:
            yield Finding("stream-version", where, f"follows version {version}")
        if event["at"] <= at:
            yield Finding("recorded-at", where, "not later than the fact before")
        if event["id"] in ids:
            yield Finding("fact-id-twice", where, event["id"])
        if stream != f"{event['topic']}/{event['subject']}":
            yield Finding("stream-name", where, f"topic {event['topic']}, subject {event['subject']}")
        ids.add(event["id"])
        instants.add(event["at"])
        last[stream] = (event["version"], event["at"])


def commands_have_exactly_their_facts(dump: Dump, service: str) -> Iterator[Finding]:
    """Every command is stored once; its answer names facts of its own commit, and no fact of a command is unclaimed."""
    keys: Counter[str] = Counter()
    for commit in dump.commits(service):
        commands = commit.get("commands", ())
        keys.update(command["key"] for command in commands)
        answered = [fact for command in commands for fact in command["answer"]["facts"]]
        stored = [event["id"] for event in commit.get("events", ())]
        where = f"{service} {commit['_id']}"
        if commands and sorted(answered) != sorted(stored):
            yield Finding("command-facts", where, f"answers name {len(answered)} facts, the commit holds {len(stored)}")
        letters = all(event["topic"].endswith(".dead-letters") for event in commit.get("events", ()))
        if not commands and not commit.get("inputs") and stored and not letters:
            yield Finding("orphan-facts", where, "facts that neither a command nor a batch explains")
        if commit.get("commands") == [] or commit.get("events") == []:
            yield Finding("empty-array", where, "an empty array would hold the unique index")
        for command in commands:
            if not command["key"].startswith("due:") and len(command["body"]) != _KEY_HEX:
                yield Finding("command-body", where, "a body is stored in another form than its HMAC")
    for key, count in keys.items():
        if count > 1:
            yield Finding("command-twice", service, f"{key} was accepted {count} times")


def states_are_their_facts(dump: Dump, service: str, states: dict[str, str]) -> Iterator[Finding]:
    """A state's version is the number of its facts, its time the newest one's; neither exists without the other."""
    last: dict[str, tuple[int, int]] = {}
    for _commit, event, _seq in dump.events(service):
        last[event["stream"]] = (event["version"], event["at"])
    for collection, topic in states.items():
        seen = set()
        for state in dump.stores[service].get(collection, ()):
            stream = f"{topic}/{state['_id']}"
            seen.add(stream)
            if stream not in last:
                yield Finding("state-without-facts", f"{service} {collection}/{state['_id']}", "an aborted command?")
                continue
            version, at = last[stream]
            if state["version"] != version:
                yield Finding("state-version", f"{service} {stream}", f"{state['version']}, its facts say {version}")
            if state["at"] != at:
                yield Finding("state-time", f"{service} {stream}", f"{state['at']}, its newest fact says {at}")
        for stream in last:
            if stream.startswith(f"{topic}/") and stream not in seen:
                yield Finding("facts-without-state", f"{service} {stream}", f"no document in {collection}")


# --- the log and its topics ---


def topics_hold_the_log(dump: Dump, service: str) -> Iterator[Finding]:
    """Store facts = Kafka facts as sets; copies are identical; the partition is the key's; order is the log's."""
    stored = {(e["topic"], seq): (c, e) for c, e, seq in dump.events(service) if seq is not None}
    seen: set[tuple[str, int]] = set()
    for topic, partitions in dump.topics.items():
        if topic.partition(".")[0] != service:
            continue
        for number, partition in partitions.items():
            first: dict[int, Record] = {}
            for record in partition.records:
                seq = record.seq
                if seq is None or f"{topic}|{number}|{record.offset}" in dump.poison:
                    continue
                where = f"{topic}[{number}]@{record.offset} seq {seq}"
                if seq in first:
                    if _bytes(record) != _bytes(first[seq]):
                        yield Finding("copies-differ", where, "another record of this place has other bytes")
                    continue
                if (topic, seq) not in stored:
                    yield Finding("phantom-record", where, "the log holds no such fact")
                    continue
                if seq < max(first, default=0):
                    yield Finding("order", where, f"first comes after {max(first)}")
                first[seq] = record
                commit, event = stored[topic, seq]
                if number != event.get("partition") or number != _partition(event["subject"], len(partitions)):
                    yield Finding("wrong-partition", where, f"it belongs into {event.get('partition')}")
                yield from _differences(where, record, service, commit, event)
            seen |= {(topic, seq) for seq in first}
    for (topic, seq), (_commit, event) in stored.items():
        if (topic, seq) not in seen:
            yield Finding("lost-in-kafka", f"{topic} seq {seq}", f"{event['type']} {event['id']} was never published")


def predecessors_chain(dump: Dump, service: str) -> Iterator[Finding]:
    """`prev` of a fact is the place of the fact before it in its partition, 0 for the first."""
    last: dict[tuple[str, int], int] = defaultdict(int)
    for _commit, event, seq in dump.events(service):
        if seq is None or "partition" not in event:
            continue
        lane = (event["topic"], event["partition"])
        if event["prev"] != last[lane]:
            yield Finding("prev", f"{service} seq {seq}", f"prev {event['prev']}, {last[lane]} went before in {lane}")
        last[lane] = seq
    for state in dump.stores[service].get("sequencer", ()):
        for topic, partitions in state.get("last", {}).items():
            for number, seq in partitions.items():
                if last.get((topic.replace("/", "."), int(number)), 0) != seq:
                    yield Finding("sequencer-last", f"{service} {topic}[{number}]", f"says {seq}")


def _differences(where: str, record: Record, service: str, commit: Document, event: Document) -> Iterator[Finding]:
    expected = {
        "ce_id": event["id"],
        "ce_type": f"liandong.{service}.{event['type']}.v1",
        "ce_source": f"/liandong/{service}",
        "ce_subject": event["subject"],
        "ce_time": _iso(event["at"]),
        "ce_effectiveat": _iso(event["effective_at"]),
        "ce_logid": commit["log_id"],
        "ce_prev": str(event["prev"]),
        "ce_streamversion": str(event["version"]),
        "ce_correlationid": event["correlation_id"],
        "ce_causationid": event.get("causation_id"),
        "ce_supersedes": event.get("supersedes"),
        "ce_origin": event["origin"],
    }
    for name, value in expected.items():
        if record.header(name) != value:
            yield Finding("record-header", where, f"{name} is {record.header(name)!r}, the log says {value!r}")
    if json.loads(record.header("ce_actor") or "null") != event["actor"]:
        yield Finding("record-header", where, "ce_actor differs from the log")
    if record.value != event["data"].encode():
        yield Finding("record-value", where, "the data differs from the log")
    if record.key != event["subject"].encode():
        yield Finding("record-key", where, f"{record.key!r}")


# --- what a service has heard ---


def positions_are_at_the_end(dump: Dump, service: str) -> Iterator[Finding]:
    """After the drain every position stands at the end of its partition, on its last fact, in the right log."""
    for position in dump.stores[service].get("positions", ()):
        topic, _, number = position["_id"].partition("|")
        partition = dump.topics.get(topic, {}).get(int(number))
        where = f"{service} {position['_id']}"
        if partition is None:
            yield Finding("position-of-nothing", where, "there is no such partition")
            continue
        if position["next"] != partition.end:
            yield Finding("lag", where, f"next {position['next']}, the partition ends at {partition.end}")
        seqs = [record.seq for record in partition.records if record.seq is not None]
        if position["seq"] != max(seqs, default=0):
            yield Finding(
                "position-seq", where, f"seq {position['seq']}, the partition's last is {max(seqs, default=0)}"
            )
        publisher = topic.partition(".")[0]
        logs = {s["log_id"] for s in dump.stores.get(publisher, {}).get("sequencer", ()) if "log_id" in s}
        if seqs and logs and position["log_id"] not in logs:
            yield Finding("position-log", where, f"log {position['log_id']}, the publisher's is {logs}")


def every_fact_was_heard_once(dump: Dump, service: str) -> Iterator[Finding]:
    """The ranges of a consumer's batches follow each other without gap or overlap and cover the partition."""
    ranges: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for commit in dump.commits(service):
        for heard in commit.get("inputs", ()):
            ranges[heard["topic"], heard["partition"]].append((heard["from"], heard["to"]))
    for position in dump.stores[service].get("positions", ()):
        topic, _, number = position["_id"].partition("|")
        partition = dump.topics.get(topic, {}).get(int(number))
        if partition is None:
            continue
        before: dict[int, int] = {}
        last = 0
        for seq in sorted({r.seq for r in partition.records if r.seq is not None}):
            before[seq], last = last, seq
        reached = 0
        for start, end in sorted(ranges.pop((topic, int(number)), [])):
            where = f"{service} {topic}[{number}] {start}-{end}"
            if start not in before or end not in before or start > end:
                yield Finding("heard-phantom", where, "no such facts in the partition")
            elif before[start] > reached:
                yield Finding("heard-gap", where, f"facts after {reached} were skipped")
            elif before[start] < reached:
                yield Finding("heard-twice", where, f"{reached} had been reached already")
            reached = max(reached, end)
        if reached != last:
            yield Finding("heard-gap", f"{service} {topic}[{number}]", f"ends at {reached}, the partition at {last}")
    for topic, number in ranges:
        yield Finding("heard-phantom", f"{service} {topic}[{number}]", "a batch of a partition without a position")


def letters_are_the_planted_poison(dump: Dump, service: str) -> Iterator[Finding]:
    """Dead letters that wait are the planted records this service hears, or facts parked behind one of them."""
    heard = {position["_id"].partition("|")[0] for position in dump.stores[service].get("positions", ())}
    letters = {letter["_id"]: letter for letter in dump.stores[service].get("dead_letters", ())}
    streams = {letters[place]["stream"] for place in dump.poison if place in letters}
    for place, letter in letters.items():
        if letter["state"] not in _WAITING:
            continue
        if place not in dump.poison and not (letter["state"] == "parked" and letter["stream"] in streams):
            yield Finding("unplanted-letter", f"{service} {place}", f"{letter['code']} {letter['type']}")
        if any(name in letter for name in ("value", "data", "payload")):
            yield Finding("letter-payload", f"{service} {place}", "a letter carries what was in the record")
    for place, code in dump.poison.items():
        if place.partition("|")[0] not in heard:
            continue
        if place not in letters:
            yield Finding("poison-lost", f"{service} {place}", "a planted record left no letter")
        elif code and letters[place]["code"] != code:
            yield Finding("letter-code", f"{service} {place}", f"{letters[place]['code']}, planted as {code}")


def reactions_speak_once(dump: Dump, service: str) -> Iterator[Finding]:
    """A fact said by a reaction names a cause that exists, is stored with a batch, and is said once per cause."""
    causes = {record.header("ce_id") for topic in dump.topics.values() for p in topic.values() for record in p.records}
    said: Counter[tuple[str, ...]] = Counter()
    for commit, event, seq in dump.events(service):
        if commit.get("commands") or not commit.get("inputs"):
            continue
        where = f"{service} seq {seq}"
        if event.get("causation_id") not in causes:
            yield Finding("cause-unknown", where, f"{event['type']} names {event.get('causation_id')}")
        said[str(event.get("causation_id")), event["type"], event["subject"], event["data"]] += 1
    for (cause, kind, subject, _data), count in said.items():
        if count > 1:
            yield Finding("said-twice", f"{service} {subject}", f"{kind} for {cause}, {count} times")


def claims_only_rise(dump: Dump, service: str) -> Iterator[Finding]:
    """Claimed positions and the sequencer carry an epoch of at least one and an owner."""
    for position in dump.stores[service].get("positions", ()):
        if position.get("epoch", 0) < 1 or not position.get("owner"):
            yield Finding("claim", f"{service} {position['_id']}", "moved by nobody who had claimed it")


# --- what the clients were told ---


def clients_got_what_is_stored(dump: Dump) -> Iterator[Finding]:
    """Every accepted command's facts are in the log once; a refused command's are not there; nothing else is."""
    for service in sorted({told.service for told in dump.journal}):
        yield from _one_service_told(dump, service, [told for told in dump.journal if told.service == service])


def _one_service_told(dump: Dump, service: str, journal: list[Told]) -> Iterator[Finding]:
    stored = Counter(event["id"] for _commit, event, _seq in dump.events(service))
    commands = [command for commit in dump.commits(service) for command in commit.get("commands", ())]
    asked = [command for command in commands if not command["key"].startswith("due:")]
    answers = {tuple(command["answer"]["facts"]) for command in asked if command["answer"]["facts"]}
    claimed = Counter(told.facts for told in journal if told.outcome == "ok" and told.facts)
    for told in journal:
        where = f"{service} {told.key}"
        if told.outcome not in ("ok", "refused"):
            yield Finding("journal-open", where, f"the outcome stayed {told.outcome}")
        for fact in told.facts if told.outcome == "ok" else ():
            if stored[fact] != 1:
                yield Finding("accepted-lost", where, f"fact {fact} is stored {stored[fact]} times")
        if told.outcome == "ok" and told.facts and told.facts not in answers:
            yield Finding("answer-differs", where, "no stored command was answered so")
    for facts, count in claimed.items():
        if count > 1:
            yield Finding("answer-shared", service, f"{count} commands were answered with {facts}")
    for facts in answers - set(claimed):
        yield Finding("unasked-command", service, f"facts {facts} answer no command of the journal")


LOG_CHECKS: tuple[Check, ...] = (
    nothing_waits, places_are_dense, streams_are_gapless, commands_have_exactly_their_facts,
)  # fmt: skip
KAFKA_CHECKS: tuple[Check, ...] = (topics_hold_the_log, predecessors_chain)
CONSUMER_CHECKS: tuple[Check, ...] = (
    positions_are_at_the_end, every_fact_was_heard_once, letters_are_the_planted_poison, reactions_speak_once,
    claims_only_rise,
)  # fmt: skip


def _bytes(record: Record) -> tuple[Any, ...]:
    return record.key, record.value, tuple(record.headers)


def _iso(micros: int) -> str:
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


def _partition(key: str, partitions: int) -> int:
    """Kafka's default partitioner: murmur2 of the key, its sign bit cleared, modulo the partitions."""
    return (_murmur2(key.encode()) & 0x7FFFFFFF) % partitions


def _murmur2(data: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
