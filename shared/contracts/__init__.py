"""What crosses a border: one file of frozen facts per publisher, additive only."""

from __future__ import annotations

from shared.contracts import evaluation, incentive_scoring, pilot_registration
from shared.contracts.fact import Evidence, Fact, Position, Recorded, Topic, Value

PUBLISHERS = {
    "pilot-registration": pilot_registration,
    "evaluation": evaluation,
    "incentive-scoring": incentive_scoring,
}
"""The contract file of each publisher, by the name it has outside Python."""


def facts_of(publisher: str) -> tuple[type[Fact], ...]:
    """The facts of one publisher, in the order of its contract file."""
    module = PUBLISHERS[publisher].__name__
    return tuple(fact for fact in Fact.registry.values() if fact.__module__ == module)


def topics() -> dict[str, int]:
    """Every topic with its number of partitions: those of the facts, and the dead letters of each service."""
    declared = {fact.topic.name: fact.topic.partitions for fact in Fact.registry.values()}
    letters = {f"{publisher}.dead-letters": 1 for publisher in PUBLISHERS}
    return dict(sorted((declared | letters).items()))


__all__ = ["PUBLISHERS", "Evidence", "Fact", "Position", "Recorded", "Topic", "Value", "facts_of", "topics"]
