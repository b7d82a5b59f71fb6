"""Reference folds: what a consumer must know, computed from the topics alone and compared with its store."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.faults.auditor.checks import Finding
from tests.faults.auditor.dump import Dump, Record

PARTIES = "pilot-registration.parties"


def facts_of(dump: Dump, topic: str) -> Iterator[tuple[int, Record]]:
    """(place, record) of a topic: each place once, in the order of the publisher's log."""
    first: dict[int, Record] = {}
    for number, partition in dump.topics.get(topic, {}).items():
        for record in partition.records:
            if record.seq is not None and f"{topic}|{number}|{record.offset}" not in dump.poison:
                first.setdefault(record.seq, record)
    yield from sorted(first.items())


def parties_are_known(dump: Dump) -> Iterator[Finding]:
    """What evaluation knows of parties is the fold of the topic of parties; each fact a figure can use is kept once."""
    expected: dict[str, dict[str, str]] = {}
    kept: set[str] = set()
    for _seq, record in facts_of(dump, PARTIES):
        subject, kind = str(record.header("ce_subject")), str(record.header("ce_type")).split(".")[-2]
        data = json.loads(record.value or b"{}")
        if kind == "PartyRegistered":
            expected[subject] = {name: data[name] for name in ("name", "kind", "size_class")}
        if kind == "PartyAffiliationChanged":
            kept.add(str(record.header("ce_id")))
    stored = {row["_id"]: row for row in dump.stores["evaluation"].get("known_parties", ())}
    for subject in expected.keys() | stored.keys():
        row = stored.get(subject, {})
        seen = {name: row.get(name) for name in ("name", "kind", "size_class")}
        if seen != expected.get(subject):
            yield Finding("fold-parties", subject, f"stored {seen}, the topic says {expected.get(subject)}")
    known = {row["_id"] for row in dump.stores["evaluation"].get("known_facts", ()) if row.get("topic") == PARTIES}
    for fact in kept ^ known:
        what = "kept, but no fact of the topic" if fact in known else "not kept"
        yield Finding("fold-parties", fact, what)
