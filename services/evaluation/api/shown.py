"""How scorecards are shown: exact parts beside the figure as people read it."""

import json
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Context, Decimal
from typing import Any

from services.evaluation.domain import Figures, Scorecard
from services.evaluation.policies.indicators import BY_ID, REASONS, Record
from shared.codes.divisions import division
from shared.codes.rounding import half_even
from shared.contracts.evaluation import IndicatorValue, ScorecardPublished, SubjectKind
from shared.kernel import CIVIL, instant, iso
from shared.log.store import Rows

NO_EVIDENCE = "无证据 / no evidence"
_DIVISION = Context(prec=60)


def line(card: Scorecard, names: Mapping[str, str]) -> dict[str, Any]:
    """A card in a list."""
    assert card.published is not None
    return _head(card, names) | {
        "revision": card.revision,
        "effective": iso(card.published.effective),
        "known": card.published.known,
        "completeness": _completeness(card.published.completeness_numerator, card.published.completeness_denominator),
        "content_hash": card.published.content_hash,
        "values": {value.indicator: text(value) for value in card.published.values},
    }


def revision(fact: ScorecardPublished, card: Scorecard, names: Mapping[str, str]) -> dict[str, Any]:
    """One published revision."""
    return _head(card, names) | {
        "window_start": iso(fact.window_start or card.window_start),
        "window_end": iso(fact.window_end or card.window_end),
        "revision": fact.revision,
        "newest_revision": card.revision,
        "effective": iso(fact.effective),
        "known": fact.known,
        "completeness": _completeness(fact.completeness_numerator, fact.completeness_denominator),
        "values": [value_of(value) for value in fact.values],
        "inputs": [part.model_dump() for part in fact.inputs],
        "figures_hash": fact.figures_hash,
        "content_hash": fact.content_hash,
        "previous_hash": fact.previous_hash,
    }


def recomputed(figures: Figures, card: Scorecard, names: Mapping[str, str], *, known: int | None) -> dict[str, Any]:
    """The figures at positions of the reader's choice; `known` null means everything heard so far."""
    return _head(card, names) | {
        "window_start": iso(card.window_start),
        "window_end": iso(card.window_end),
        "recomputed": True,
        "effective": iso(figures.effective),
        "known": known,
        "completeness": _completeness(*figures.completeness),
        "values": [value_of(value) for value in figures.values],
        "inputs": [part.model_dump() for part in figures.inputs],
        "figures_hash": figures.figures_hash,
    }


def value_of(value: IndicatorValue) -> dict[str, Any]:
    """One figure: exact parts, evidence, and how it reads."""
    indicator = BY_ID[value.indicator]
    exact = value.model_dump(mode="json")
    return exact | {"zh": indicator.zh, "en": indicator.en, "unit": indicator.unit, "shown": text(value)}


def text(value: IndicatorValue) -> str:
    """A figure as people read it: a percentage at two decimals (half to even), a count, or 无证据."""
    if value.no_evidence:
        return NO_EVIDENCE
    if BY_ID[value.indicator].unit != "ratio":
        return format(value.numerator, "f")
    return f"{half_even(_DIVISION.divide(value.numerator * 100, value.denominator))} %"


def record(found: Record) -> dict[str, Any]:
    """One record: in the figure with what it adds, or left out with why."""
    shown: dict[str, Any] = {"record": found.key, "facts": list(found.facts), "counted": not found.left_out}
    if found.left_out:
        zh, en = REASONS[found.left_out]
        return shown | {"reason": found.left_out, "zh": zh, "en": en}
    return shown | {"numerator": format(found.numerator, "f"), "denominator": format(found.denominator, "f")}


def revisions(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every revision of a card, oldest first, with the fact that superseded it where one did."""
    found: list[dict[str, Any]] = []
    for event in history:
        fact = json.loads(event["data"])
        if event["type"] == "ScorecardSuperseded":
            found[-1]["superseded_by"] = {
                "fact": event["id"], "causing_fact": fact["causing_fact"], "causing_type": fact["causing_type"],
                "further_facts": fact.get("further_facts", 0), "recorded_at": iso(instant(event["at"])),
            }  # fmt: skip
            continue
        kept = ("revision", "effective", "known", "figures_hash", "content_hash", "previous_hash")
        shown = {name: fact.get(name) for name in kept}
        found.append(shown | {"fact": event["id"], "recorded_at": iso(instant(event["at"])), "superseded_by": None})
    return found


async def names_of(found: Iterable[Scorecard], known_parties: Rows) -> dict[str, str]:
    """The names of the registered parties among the subjects of cards."""
    codes = {card.subject for card in found if card.subject_kind != SubjectKind.REGION}
    return {code: str(row["name"]) for code, row in (await known_parties.find_many(codes)).items()}


def name_of(card: Scorecard, names: Mapping[str, str]) -> str:
    """The subject's name: a division's official one, or that of the registered party."""
    if card.subject_kind == SubjectKind.REGION:
        day: date = card.window_end.astimezone(CIVIL).date()
        found = division(card.subject, day)
        return found.name_zh if found else card.subject
    return names.get(card.subject, "")


def _head(card: Scorecard, names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": card.id,
        "subject_kind": card.subject_kind.value,
        "subject": card.subject,
        "name": name_of(card, names),
        "cycle": card.cycle,
    }


def _completeness(numerator: int, denominator: int) -> dict[str, Any]:
    shown = (
        f"{half_even(_DIVISION.divide(Decimal(numerator * 100), Decimal(denominator)))} %"
        if denominator
        else NO_EVIDENCE
    )
    return {"numerator": numerator, "denominator": denominator, "shown": shown}
