"""The auditor is audited: a clean run gives no finding, and each planted violation is found under its own name."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.auditor.checks import _iso, _partition, audit
from tests.faults.auditor.dump import Dump, Partition, Record, Told

TOPIC = "pilot-registration.parties"
OWN = "evaluation.closures"
STATES = {"pilot-registration": {"parties": TOPIC}, "evaluation": {"closures": OWN}}
PARTITIONS = 3


def clean() -> Dump:
    """A small run at rest: 40 parties registered, half of them renamed, one poison record, evaluation heard it all."""
    publisher = _Log("pilot-registration", "log-p")
    journal = []
    for version in (1, 2):
        for n in range(40):
            if version == 2 and n % 2:
                continue
            fact = publisher.commit([(TOPIC, f"party-{n}", version)], key=f"{version}-{n}")
            journal.append(Told("pilot-registration", f"{version}-{n}", "ok", tuple(fact)))
    journal.append(Told("pilot-registration", "refused", "refused"))
    topics = {TOPIC: publisher.topic(TOPIC)}
    topics[TOPIC][1].records.append(Record(topics[TOPIC][1].end, b"x", b"\xff", [("ce_id", b"?")]))
    topics[TOPIC][1].end += 1
    topics[TOPIC][2].records.append(copy.deepcopy(topics[TOPIC][2].records[-1]))  # a duplicate after a take-over
    topics[TOPIC][2].records[-1].offset = topics[TOPIC][2].end
    topics[TOPIC][2].end += 1
    poison = {f"{TOPIC}|1|{topics[TOPIC][1].end - 1}": "foreign"}

    consumer = _Log("evaluation", "log-e")
    positions = []
    for number, partition in topics[TOPIC].items():
        heard = sorted({r.seq for r in partition.records if r.seq is not None})
        middle = len(heard) // 2
        for part in (heard[:middle], heard[middle:]):
            cause = next(r.header("ce_id") for r in partition.records if r.seq == part[0])
            said = [(OWN, f"issue-{number}-{part[0]}", 1)]
            consumer.hear(number, part[0], part[-1], said, cause=str(cause))
        positions.append(
            {"_id": f"{TOPIC}|{number}", "next": partition.end, "seq": heard[-1], "log_id": "log-p", "epoch": 2,
             "owner": "evaluation-0"}
        )  # fmt: skip
    topics[OWN] = consumer.topic(OWN)
    letter = {"_id": next(iter(poison)), "state": "foreign", "code": "foreign", "type": None, "stream": None}
    stores = {
        "pilot-registration": publisher.store("parties") | {"positions": [], "dead_letters": []},
        "evaluation": consumer.store("closures") | {"positions": positions, "dead_letters": [letter]},
    }
    return Dump(stores, topics, journal, poison)


class _Log:
    """Writes a log as docs/formats.md describes it."""

    def __init__(self, service: str, log_id: str) -> None:
        self.service, self.log_id = service, log_id
        self.commits: list[dict[str, Any]] = []
        self.next, self.at = 1, 1_000_000
        self.last: dict[str, dict[str, int]] = {}
        self.records: dict[str, dict[int, Partition]] = {}
        self.states: dict[str, dict[str, Any]] = {}

    def commit(self, facts: list[tuple[str, str, int]], *, key: str) -> list[str]:
        document = self._document(facts, cause=None)
        ids = [event["id"] for event in document["events"]]
        answer = {"id": facts[0][1], "version": facts[0][2], "facts": ids, "details": {}}
        document["commands"] = [{"key": key, "body": "b" * 64, "answer": answer}]
        return ids

    def hear(self, number: int, start: int, end: int, facts: list[tuple[str, str, int]], *, cause: str) -> None:
        document = self._document(facts, cause=cause)
        heard = {"service": "pilot-registration", "log_id": "log-p", "topic": TOPIC, "partition": number}
        document["inputs"] = [heard | {"from": start, "to": end}]

    def _document(self, facts: list[tuple[str, str, int]], *, cause: str | None) -> dict[str, Any]:
        events = []
        for topic, subject, version in facts:
            number = _partition(subject, PARTITIONS)
            lanes = self.last.setdefault(topic, {})
            event = {
                "id": f"{self.service}-{self.next + len(events)}", "stream": f"{topic}/{subject}", "version": version,
                "type": "PartyRegistered", "topic": topic, "subject": subject, "at": self.at, "effective_at": self.at,
                "actor": {"id": "a", "org": "", "role": "r"}, "correlation_id": "c", "origin": "live",
                "data": json.dumps({"n": self.next}), "partition": number, "prev": lanes.get(str(number), 0),
            }  # fmt: skip
            event |= {"causation_id": cause} if cause else {}
            lanes[str(number)] = self.next + len(events)
            events.append(event)
            self.states[subject] = {"_id": subject, "version": version, "at": self.at}
            self.at += 10
        document = {"_id": len(self.commits), "log_id": self.log_id, "at": self.at, "seq": self.next,
                    "sequenced_at": self.at, "events": events}  # fmt: skip
        for i, event in enumerate(events):
            self._publish(event, self.next + i)
        self.commits.append(document)
        self.next += len(events)
        return document

    def _publish(self, event: dict[str, Any], seq: int) -> None:
        lane = self.topic(event["topic"])[event["partition"]]
        headers = {
            "ce_specversion": "1.0", "ce_id": event["id"], "ce_type": f"liandong.{self.service}.{event['type']}.v1",
            "ce_source": f"/liandong/{self.service}", "ce_subject": event["subject"], "ce_time": _iso(event["at"]),
            "ce_effectiveat": _iso(event["effective_at"]), "ce_logid": self.log_id, "ce_seq": str(seq),
            "ce_prev": str(event["prev"]), "ce_streamversion": str(event["version"]), "ce_correlationid": "c",
            "ce_origin": "live", "ce_actor": json.dumps(event["actor"]),
        }  # fmt: skip
        if "causation_id" in event:
            headers["ce_causationid"] = event["causation_id"]
        pairs = [(name, value.encode()) for name, value in headers.items()]
        lane.records.append(Record(lane.end, event["subject"].encode(), event["data"].encode(), pairs))
        lane.end += 1

    def topic(self, name: str) -> dict[int, Partition]:
        return self.records.setdefault(name, {n: Partition() for n in range(PARTITIONS)})

    def store(self, collection: str) -> dict[str, list[dict[str, Any]]]:
        last = {topic.replace(".", "/"): lanes for topic, lanes in self.last.items()}
        sequencer = {"_id": "sequencer", "log_id": self.log_id, "next": self.next, "published": self.next - 1,
                     "last": last}  # fmt: skip
        return {"commits": self.commits, "sequencer": [sequencer], collection: list(self.states.values())}


def test_a_clean_run_gives_no_finding() -> None:
    assert [str(finding) for finding in audit(clean(), STATES)] == []


# --- the planted violations ---

Plant = Callable[[Dump], Any]


def commit(dump: Dump, n: int = 5, service: str = "pilot-registration") -> dict[str, Any]:
    return dump.stores[service]["commits"][n]


def event(dump: Dump, n: int = 5) -> dict[str, Any]:
    found: dict[str, Any] = commit(dump, n)["events"][0]
    return found


def lane(dump: Dump, number: int = 0) -> Partition:
    return dump.topics[TOPIC][number]


def set_header(record: Record, name: str, value: str) -> None:
    record.headers = [(n, value.encode() if n == name else v) for n, v in record.headers]


def position(dump: Dump, number: int = 0) -> dict[str, Any]:
    return dump.stores["evaluation"]["positions"][number]


def ranges(dump: Dump, n: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = commit(dump, n, "evaluation")["inputs"][0]
    return found


def sequencer(dump: Dump) -> dict[str, Any]:
    return dump.stores["pilot-registration"]["sequencer"][0]


def swap_records(dump: Dump) -> None:
    records = lane(dump).records
    records[1].headers, records[2].headers = records[2].headers, records[1].headers
    records[1].key, records[2].key = records[2].key, records[1].key
    records[1].value, records[2].value = records[2].value, records[1].value


def copy_record_to(dump: Dump, number: int) -> None:
    record = copy.deepcopy(lane(dump).records[0])
    record.offset = lane(dump, number).end
    lane(dump, number).records.append(record)
    lane(dump, number).end += 1


def forged_copy(dump: Dump) -> None:
    copy_record_to(dump, 0)
    lane(dump).records[-1].value = b"{}"


def phantom(dump: Dump) -> None:
    copy_record_to(dump, 0)
    set_header(lane(dump).records[-1], "ce_seq", "9999")


def swap_versions(dump: Dump) -> None:
    first = next(e for c in dump.stores["pilot-registration"]["commits"] for e in c["events"] if e["version"] == 1)
    second = next(
        e for c in dump.stores["pilot-registration"]["commits"] for e in c["events"]
        if e["stream"] == first["stream"] and e["version"] == 2
    )  # fmt: skip
    first["version"], second["version"] = 2, 1


def doubled_fact(dump: Dump) -> None:
    twin = copy.deepcopy(event(dump))
    twin["version"] += 1
    commit(dump)["events"].append(twin)


def said_twice(dump: Dump) -> None:
    batch = commit(dump, 0, "evaluation")
    twin = copy.deepcopy(batch["events"][0])
    twin["id"] = "another"
    batch["events"].append(twin)


PLANTED: list[tuple[str, str, Plant]] = [
    ("a commit that never got its place", "commit-pending", lambda d: commit(d).pop("seq")),
    ("a commit still pending", "commit-pending", lambda d: commit(d).update(pending=True)),
    ("the sequencer counts one too many", "sequencer-next", lambda d: sequencer(d).update(next=10**6)),
    ("published stays behind", "unpublished", lambda d: sequencer(d).update(published=3)),
    ("a commit lost from the log", "seq-dense", lambda d: d.stores["pilot-registration"]["commits"].pop(7)),
    ("two commits in one place", "seq-dense", lambda d: commit(d, 6).update(seq=commit(d, 5)["seq"])),
    ("time of sequencing runs back", "sequenced-at", lambda d: commit(d, 9).update(sequenced_at=1)),
    ("a commit of another log", "log-id", lambda d: commit(d).update(log_id="old")),
    ("versions of a stream swapped", "stream-version", swap_versions),
    ("a version skipped", "stream-version", lambda d: event(d, 45).update(version=3)),
    ("recorded before its predecessor", "recorded-at", lambda d: event(d, 45).update(at=1)),
    ("one fact stored twice", "fact-id-twice", doubled_fact),
    ("a stream under another name", "stream-name", lambda d: event(d).update(subject="party-1")),
    ("an answer without its fact", "command-facts", lambda d: commit(d)["commands"][0]["answer"]["facts"].pop()),
    ("a fact nobody asked for", "orphan-facts", lambda d: commit(d).pop("commands")),
    ("an empty array in the unique index", "empty-array", lambda d: commit(d).update(commands=[])),
    ("a body stored in clear", "command-body", lambda d: commit(d)["commands"][0].update(body='{"name": "x"}')),
    ("a command accepted twice", "command-twice", lambda d: commit(d, 6)["commands"][0].update(key="1-5")),
    ("a state without facts", "state-without-facts",
     lambda d: d.stores["pilot-registration"]["parties"].append({"_id": "ghost", "version": 1, "at": 1})),
    ("a state one version behind", "state-version",
     lambda d: d.stores["pilot-registration"]["parties"][0].update(version=1)),
    ("a state with another time", "state-time", lambda d: d.stores["pilot-registration"]["parties"][3].update(at=7)),
    ("facts whose state is gone", "facts-without-state", lambda d: d.stores["pilot-registration"]["parties"].pop()),
    ("a fact missing in Kafka", "lost-in-kafka", lambda d: lane(d).records.pop(0)),
    ("a record nobody committed", "phantom-record", phantom),
    ("a forged copy", "copies-differ", forged_copy),
    ("two records swapped", "order", swap_records),
    ("a record in another partition", "wrong-partition", lambda d: copy_record_to(d, 1)),
    ("the log says another partition", "wrong-partition", lambda d: event(d).update(partition=9)),
    ("a header that differs", "record-header", lambda d: set_header(lane(d).records[0], "ce_time", "2026-01-01")),
    ("another actor on the wire", "record-header",
     lambda d: set_header(lane(d).records[0], "ce_actor", '{"id": "mallory"}')),
    ("an epoch of another log on the wire", "record-header",
     lambda d: set_header(lane(d).records[0], "ce_logid", "old")),
    ("data changed on the wire", "record-value", lambda d: setattr(lane(d).records[0], "value", b"{}")),
    ("a key changed on the wire", "record-key", lambda d: setattr(lane(d).records[0], "key", b"k")),
    ("a broken chain of predecessors", "prev", lambda d: event(d, 20).update(prev=0)),
    ("the sequencer remembers another last", "sequencer-last",
     lambda d: sequencer(d)["last"][TOPIC.replace(".", "/")].update({"0": 1})),
    ("a position behind the end", "lag", lambda d: position(d).update(next=2)),
    ("a position of no partition", "position-of-nothing", lambda d: position(d).update(_id=f"{TOPIC}|77")),
    ("a position on another fact", "position-seq", lambda d: position(d).update(seq=1)),
    ("a position of another log", "position-log", lambda d: position(d).update(log_id="old")),
    ("a batch half applied", "heard-gap", lambda d: ranges(d).update(to=ranges(d)["from"])),
    ("a batch applied twice", "heard-twice",
     lambda d: commit(d, 1, "evaluation")["inputs"].append(dict(ranges(d, 1)))),
    ("the last batch lost", "heard-gap", lambda d: commit(d, 5, "evaluation").pop("inputs")),
    ("a batch of facts that do not exist", "heard-phantom", lambda d: ranges(d).update(to=10**6)),
    ("poison that left no letter", "poison-lost", lambda d: d.stores["evaluation"]["dead_letters"].clear()),
    ("a letter nobody planted", "unplanted-letter", lambda d: d.poison.clear()),
    ("a letter with another code", "letter-code",
     lambda d: d.stores["evaluation"]["dead_letters"][0].update(code="ValueError")),
    ("a letter that carries the payload", "letter-payload",
     lambda d: d.stores["evaluation"]["dead_letters"][0].update(value="secret")),
    ("a reaction without a cause", "cause-unknown",
     lambda d: commit(d, 0, "evaluation")["events"][0].update(causation_id="nothing")),
    ("a reaction said twice", "said-twice", said_twice),
    ("a position moved without a claim", "claim", lambda d: position(d).update(epoch=0)),
    ("an accepted command lost", "accepted-lost", lambda d: d.journal.append(
        Told("pilot-registration", "k", "ok", ("nowhere",)))),
    ("an answer nobody stored", "answer-differs", lambda d: d.journal.append(
        Told("pilot-registration", "k", "ok", (*d.journal[0].facts, *d.journal[1].facts)))),
    ("one answer for two commands", "answer-shared", lambda d: d.journal.append(d.journal[0])),
    ("a refused command that was stored", "unasked-command", lambda d: setattr(d.journal[0], "outcome", "refused")),
    ("an outcome left unknown", "journal-open", lambda d: setattr(d.journal[0], "outcome", "unknown")),
]  # fmt: skip


@pytest.mark.parametrize(("check", "plant"), [(c, p) for _n, c, p in PLANTED], ids=[n for n, _c, _p in PLANTED])
def test_a_planted_violation_is_found_under_its_name(check: str, plant: Plant) -> None:
    dump = clean()

    plant(dump)

    assert check in {finding.check for finding in audit(dump, STATES)}
