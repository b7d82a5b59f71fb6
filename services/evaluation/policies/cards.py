"""From figures to what a scorecard publishes: exact text, evidence ids within a bound, and the hash of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from services.evaluation.domain import Figures, digest
from services.evaluation.policies.facts import KnownFact, book
from services.evaluation.policies.indicators import Figure, Subject, Window, figures
from shared.contracts.evaluation import IndicatorValue, InputRange
from shared.kernel import instant, iso

EVIDENCE_IDS_MAX = 600
"""Ids listed per figure: eight figures stay below the 256 KiB of a fact (rule 8); the hash covers the rest."""

Inputs = tuple[InputRange, ...]


def known_facts(facts: Iterable[KnownFact], inputs: Inputs) -> list[KnownFact]:
    """The facts within the given input ranges (rule 11)."""
    reached = {(part.topic, part.partition): part.seq for part in inputs}
    return [fact for fact in facts if fact.seq <= reached.get((fact.topic, fact.partition), 0)]


def compute(subject: Subject, facts: Iterable[KnownFact], window: Window, inputs: Inputs) -> tuple[Figure, ...]:
    """A subject's figures from the facts it may know, whatever order they are given in."""
    return figures(subject, book(known_facts(facts, inputs), until=window.until), window)


def card(
    subject: Subject, cycle: str, found: tuple[Figure, ...], window: Window, *, known: int, inputs: Inputs
) -> Figures:
    """The content of a revision. `figures_hash` leaves the positions out: equal figures have equal hashes."""
    values = tuple(_value(figure) for figure in found)
    gate = next(figure for figure in found if figure.indicator.id == "I34")
    completeness = (int(gate.numerator), int(gate.denominator))
    covered: dict[str, Any] = {
        "subject_kind": subject.kind,
        "subject": subject.code,
        "cycle": cycle,
        "window": [iso(instant(window.start)), iso(instant(window.end))],
        "values": [value.model_dump(mode="json") for value in values],
        "completeness": list(completeness),
    }
    return Figures(values, completeness, instant(window.until), known, inputs, digest(covered))


def exact(value: Decimal) -> Decimal:
    """One spelling per number: no trailing zeros, no exponent."""
    return Decimal(format(value.normalize(), "f")) if value else Decimal(0)


def _value(figure: Figure) -> IndicatorValue:
    evidence = figure.evidence
    return IndicatorValue(
        indicator=figure.indicator.id,
        formula_version=figure.indicator.formula_version,
        numerator=exact(figure.numerator),
        denominator=exact(figure.denominator),
        no_evidence=figure.no_evidence,
        records=len(figure.counted),
        excluded=len(figure.records) - len(figure.counted),
        evidence=evidence[:EVIDENCE_IDS_MAX],
        evidence_hash=hashlib.sha256("\n".join(evidence).encode()).hexdigest() if evidence else "",
    )
