"""The base of everything that crosses a border: a frozen fact, its topic, and the envelope it travels in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic: `<service>.<aggregates>` in kebab case and its fixed number of partitions (rule 12)."""

    name: str
    partitions: int = 3

    @property
    def service(self) -> str:
        """The publisher, in kebab case."""
        return self.name.partition(".")[0]


class Value(BaseModel):
    """A frozen part of a fact. Unknown fields are ignored, so that a newer publisher stays readable."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Evidence(Value):
    """A document behind a fact: where it can be opened and the SHA-256 of its bytes."""

    uri: str
    sha256: str


class Fact(Value):
    """Something that happened, in the past tense, named once for code, log and wire.

    A base per aggregate names the topic and the field that carries the aggregate's id:
    `class PilotFact(Fact, topic=Topic("pilot-registration.pilots"), key="pilot_id")`; every class below it is a fact.
    """

    topic: ClassVar[Topic]
    key: ClassVar[str]
    registry: ClassVar[dict[str, type[Fact]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__()  # topic and key are for the hook below, which runs once the class is complete

    @classmethod
    def __pydantic_init_subclass__(cls, *, topic: Topic | None = None, key: str | None = None, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if topic is not None and key is not None:
            cls.topic, cls.key = topic, key
            return
        if cls.__name__ in Fact.registry and Fact.registry[cls.__name__].__module__ != cls.__module__:
            raise TypeError(f"two facts are called {cls.__name__}: one fact, one name")
        Fact.registry[cls.__name__] = cls

    @property
    def aggregate_id(self) -> str:
        """The id of the aggregate this fact is about; also the Kafka key and the CloudEvents subject."""
        return str(getattr(self, self.key))

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for example `liandong.pilot-registration.PilotSubmitted.v1`."""
        return f"liandong.{cls.topic.service}.{cls.__name__}.v1"


F = TypeVar("F", bound=Fact)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a fact stands: the publisher's log, the partition it was sent to, and its place `seq` in that log."""

    service: str
    log_id: str
    topic: str
    partition: int
    seq: int


@dataclass(frozen=True, slots=True)
class Recorded(Generic[F]):
    """A fact as everybody else hears it: what, about whom, when true, when accepted, by whom, and where it stands.

    `effective_at` is when it was true in the world, `recorded_at` when it was accepted here; both aware.
    `actor` is {id, role, org}. `supersedes` is the id of the fact it corrects.
    """

    fact: F
    id: str
    subject: str
    stream_version: int
    effective_at: datetime
    recorded_at: datetime
    actor: dict[str, str]
    correlation_id: str
    causation_id: str | None
    supersedes: str | None
    origin: str
    evidence: tuple[Evidence, ...]
    position: Position
