"""Facts on the wire: CloudEvents 1.0 in Kafka's binary content mode, with our log position as extensions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from shared.contracts.fact import Evidence, Fact, Position, Recorded
from shared.kernel import instant, iso


class Foreign(Exception):
    """A record that is not ours: it carries no valid header. It becomes a dead letter and moves no `seq` (rule 15)."""


class Unreadable(Exception):
    """A record of ours whose data this service cannot read (an unknown enum value, a missing field): it is parked."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a consumer decides on before it reads the data."""

    log_id: str
    seq: int
    prev: int
    type: str
    stream: str


def encode(event: Mapping[str, Any], *, service: str, log_id: str, seq: int) -> tuple[bytes, bytes, list[Any]]:
    """Key, value and headers of a sequenced event."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event["id"],
        "ce_type": f"liandong.{service}.{event['type']}.v1",
        "ce_source": f"/liandong/{service}",
        "ce_subject": event["subject"],
        "ce_time": iso(instant(event["at"])),
        "ce_dataschema": f"urn:liandong:schema:{event['type']}:1",
        "content-type": "application/json",
        "ce_logid": log_id,
        "ce_seq": str(seq),
        "ce_prev": str(event["prev"]),
        "ce_streamversion": str(event["version"]),
        "ce_effectiveat": iso(instant(event["effective_at"])),
        "ce_actor": json.dumps(event["actor"], sort_keys=True, separators=(",", ":")),
        "ce_correlationid": event["correlation_id"],
        "ce_origin": event["origin"],
        "ce_causationid": event.get("causation_id"),
        "ce_supersedes": event.get("supersedes"),
        "ce_evidence": json.dumps(event["evidence"], separators=(",", ":")) if event.get("evidence") else None,
        "traceparent": event.get("traceparent"),
    }
    pairs = [(name, value.encode()) for name, value in headers.items() if value is not None]
    return event["subject"].encode(), event["data"].encode(), pairs


def head(record: Any) -> Head:
    """The position and type of a record; raises Foreign when it is not one of ours."""
    headers = dict(record.headers)
    try:
        seq, prev = int(headers["ce_seq"]), int(headers["ce_prev"])
        kind = headers["ce_type"].decode().split(".")[-2]
        stream = f"{record.topic}/{headers['ce_subject'].decode()}"
        if headers["ce_specversion"] != b"1.0" or seq < 1 or not 0 <= prev < seq:
            raise ValueError
        return Head(headers["ce_logid"].decode(), seq, prev, kind, stream)
    except (KeyError, ValueError, IndexError, UnicodeDecodeError, AttributeError) as error:
        raise Foreign from error


def decode(record: Any, fact: type[Fact]) -> Recorded[Any]:
    """The recorded fact of a record; raises Unreadable when its data or envelope does not fit the contract."""
    try:
        headers = {name: value.decode() for name, value in record.headers}
        return Recorded(
            fact=fact.model_validate_json(record.value),
            id=headers["ce_id"],
            subject=headers["ce_subject"],
            stream_version=int(headers["ce_streamversion"]),
            effective_at=_time(headers["ce_effectiveat"]),
            recorded_at=_time(headers["ce_time"]),
            actor=json.loads(headers["ce_actor"]),
            correlation_id=headers["ce_correlationid"],
            causation_id=headers.get("ce_causationid"),
            supersedes=headers.get("ce_supersedes"),
            origin=headers["ce_origin"],
            evidence=tuple(Evidence.model_validate(item) for item in json.loads(headers.get("ce_evidence", "[]"))),
            position=Position(
                service=fact.topic.service,
                log_id=headers["ce_logid"],
                topic=record.topic,
                partition=record.partition,
                seq=int(headers["ce_seq"]),
            ),
        )
    except (ValidationError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise Unreadable(type(error).__name__) from error


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
