"""Golden samples, both ways: what was once on the wire is read and written again byte for byte, now and later."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary, to_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator, FormatChecker

from deploy.contracts import samples
from deploy.contracts.schemas import FOLDER, facts
from shared.contracts import Fact, Recorded
from shared.kernel import microseconds
from shared.log.wire import Unreadable, decode, encode, head
from shared.log.writes import canonical

ROOT = Path(__file__).resolve().parents[2]
CASES = [
    pytest.param(fact, sample, id=f"{fact.__name__}.{number}")
    for fact in facts()
    for number, sample in enumerate(samples.of(ROOT, fact), 1)
]
every_sample = pytest.mark.parametrize(("fact", "sample"), CASES)


@dataclass
class Record:
    """A Kafka record as the client hands it over."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def bytes_of(data: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks, UTF-8."""
    return json.dumps(data, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def record(fact: type[Fact], sample: dict[str, Any]) -> Record:
    """The record a sample stands for."""
    headers = [(name, value.encode()) for name, value in sample["headers"].items()]
    return Record(fact.topic.name, 0, sample["key"].encode(), bytes_of(sample["data"]), headers)


def event(recorded: Recorded[Any], prev: int) -> dict[str, Any]:
    """What a commit document would hold of a fact that was heard."""
    return {
        "id": recorded.id,
        "type": type(recorded.fact).__name__,
        "subject": recorded.subject,
        "at": microseconds(recorded.recorded_at),
        "effective_at": microseconds(recorded.effective_at),
        "prev": prev,
        "version": recorded.stream_version,
        "actor": recorded.actor,
        "correlation_id": recorded.correlation_id,
        "causation_id": recorded.causation_id,
        "supersedes": recorded.supersedes,
        "origin": recorded.origin,
        "evidence": [item.model_dump() for item in recorded.evidence],
        "data": canonical(recorded.fact),
    }


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.__name__)
def test_every_fact_has_a_sample_with_all_its_fields(fact: type[Fact]) -> None:
    kept = samples.of(ROOT, fact)
    assert kept, "run `make contracts` and commit the sample"
    assert samples.complete(fact, kept[-1]["data"]), "a field is new: run `make contracts` and commit the next sample"
    assert canonical(fact.model_validate_json(bytes_of(kept[-1]["data"]))).encode() == bytes_of(kept[-1]["data"])


def test_no_sample_is_of_a_fact_that_is_gone() -> None:
    known = {f"{fact.topic.service}/{fact.__name__}" for fact in facts()}
    kept = {f"{path.parent.name}/{path.name.split('.')[0]}" for path in (ROOT / samples.FOLDER).rglob("*.json")}
    assert kept <= known


@every_sample
def test_today_s_model_reads_a_sample_and_writes_it_again_byte_for_byte(
    fact: type[Fact], sample: dict[str, Any]
) -> None:
    read = fact.model_validate_json(bytes_of(sample["data"]))
    assert bytes_of(read.model_dump(mode="json", exclude_unset=True)) == bytes_of(sample["data"])
    assert read.aggregate_id == sample["key"] == sample["headers"]["ce_subject"]


@every_sample
def test_a_sample_and_what_today_s_model_makes_of_it_are_valid_by_the_committed_schema(
    fact: type[Fact], sample: dict[str, Any]
) -> None:
    path = ROOT / FOLDER / fact.topic.service / f"{fact.__name__}.v1.json"
    schema = Draft202012Validator(json.loads(path.read_text("utf-8")), format_checker=FormatChecker())
    schema.validate(sample["data"])
    schema.validate(json.loads(canonical(fact.model_validate(sample["data"]))))


@every_sample
def test_an_older_reader_ignores_what_a_newer_publisher_adds(fact: type[Fact], sample: dict[str, Any]) -> None:
    def grown(node: Any) -> Any:
        if isinstance(node, list):
            return [grown(item) for item in node]
        return {name: grown(item) for name, item in node.items()} | {"later": [1]} if isinstance(node, dict) else node

    read = fact.model_validate_json(bytes_of(sample["data"]))
    assert fact.model_validate_json(bytes_of(grown(sample["data"]))) == read


@every_sample
def test_the_envelope_is_read_and_written_again_byte_for_byte(fact: type[Fact], sample: dict[str, Any]) -> None:
    heard = record(fact, sample)
    position = head(heard)
    assert (position.type, position.seq) == (fact.__name__, int(sample["headers"]["ce_seq"]))
    recorded = decode(heard, fact)
    key, _, headers = encode(
        event(recorded, position.prev), service=fact.topic.service, log_id=position.log_id, seq=position.seq
    )
    assert {name: value.decode() for name, value in headers} == sample["headers"]
    assert key.decode() == sample["key"]
    assert sample["headers"]["ce_type"] == fact.type_name()


def test_a_correction_names_what_it_supersedes_on_the_way_out_and_back() -> None:
    fact = next(fact for fact in facts() if fact.__name__ == "BaseScoreReceived")
    sample = samples.of(ROOT, fact)[0]
    corrected = sample | {"headers": sample["headers"] | {"ce_supersedes": "019cac9d-8bbd-7000-8000-000000000000"}}
    recorded = decode(record(fact, corrected), fact)
    assert recorded.supersedes == "019cac9d-8bbd-7000-8000-000000000000"
    _, _, headers = encode(event(recorded, 41), service=fact.topic.service, log_id=samples.LOG_ID, seq=42)
    assert dict(headers)["ce_supersedes"] == recorded.supersedes.encode()


@every_sample
def test_the_cloudevents_sdk_reads_our_record_the_same(fact: type[Fact], sample: dict[str, Any]) -> None:
    ours = record(fact, sample)
    theirs = from_binary(KafkaMessage(headers=dict(ours.headers), key=ours.key, value=ours.value), JSONFormat())
    recorded = decode(ours, fact)
    assert theirs.get_specversion() == "1.0"
    assert theirs.get_id() == recorded.id
    assert theirs.get_type() == fact.type_name()
    assert theirs.get_source() == f"/liandong/{fact.topic.service}"
    assert theirs.get_subject() == theirs.get_extension("partitionkey") == recorded.subject
    assert theirs.get_time() == recorded.recorded_at
    assert theirs.get_datacontenttype() == "application/json"
    assert theirs.get_dataschema() == f"urn:liandong:schema:{fact.__name__}:1"
    assert theirs.get_data() == sample["data"]
    extensions = {name.removeprefix("ce_") for name in sample["headers"] if name.startswith("ce_")}
    standard = {"specversion", "id", "type", "source", "subject", "time", "dataschema"}
    for name in extensions - standard:
        assert theirs.get_extension(name) == sample["headers"][f"ce_{name}"]


@every_sample
def test_we_read_what_the_cloudevents_sdk_writes_the_same(fact: type[Fact], sample: dict[str, Any]) -> None:
    ours = record(fact, sample)
    theirs = from_binary(KafkaMessage(headers=dict(ours.headers), key=ours.key, value=ours.value), JSONFormat())
    sent = to_binary(theirs, JSONFormat())
    again = Record(ours.topic, 0, ours.key, bytes(sent.value), list(sent.headers.items()))
    assert decode(again, fact).fact == decode(ours, fact).fact
    assert decode(again, fact).recorded_at == decode(ours, fact).recorded_at


def test_a_sample_with_an_unknown_value_or_a_field_less_is_unreadable_never_guessed() -> None:
    fact = next(fact for fact in facts() if fact.__name__ == "IssueListed")
    sample = samples.of(ROOT, fact)[0]
    for spoilt in (
        sample["data"] | {"issue_class": "unheard-of"},
        {name: value for name, value in sample["data"].items() if name != "owner"},
    ):
        with pytest.raises(Unreadable):
            decode(record(fact, sample | {"data": spoilt}), fact)
