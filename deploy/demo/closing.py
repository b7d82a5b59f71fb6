"""The closing table: every figure read from the running system and held against what was sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any

from deploy.demo import checks
from deploy.demo.programme import CYCLE
from deploy.demo.stage import EVALUATION, INCENTIVES, OFFICE, SECRETARIAT, SERVICES, Stage

TOP = 8


@dataclass(slots=True)
class Line:
    """One service: what the client was told and what the running system says."""

    accepted: int
    commands: int
    facts: int
    published: int
    applied: int
    lag: int
    dead_letters: int
    pending: int


@dataclass(slots=True)
class Report:
    """What is shown in the end; `mismatches` names every figure that is not as it must be."""

    seed: int
    scale: float
    lines: dict[str, Line]
    counts: dict[str, int]
    scorecards: list[dict[str, Any]]
    late: dict[str, Any]
    explanation: dict[str, Any]
    veto: dict[str, Any]
    mismatches: list[str]
    seconds: dict[str, float] = field(default_factory=dict)
    retries: int = 0

    def document(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return asdict(self)

    def figures(self) -> dict[str, Any]:
        """What two runs of the same seed must agree on, whatever happened to processes meanwhile.

        Commands without a fact (steps of a round, previews asked for again) depend on when a process was away: what is
        compared is what the clients were answered, what was written, published and applied, and what there is.
        """
        lines = {name: asdict(line) for name, line in self.lines.items()}
        for line in lines.values():
            del line["commands"]
        return {"lines": lines, "counts": self.counts}


async def close(stage: Stage) -> Report:
    """Waits until everything is heard, reads the figures and the records, and checks them."""
    figures = await stage.all_heard(still=1.5)
    lines = {name: _line(stage, name, figures[name]) for name in SERVICES}
    counts = await checks.counted(stage)
    mismatches = await checks.mismatches(stage, figures, counts)
    cards, late, explanation, veto = await asyncio.gather(
        _scorecards(stage), _late(stage), checks.explained_decision(stage), _veto(stage)
    )
    return Report(
        seed=stage.programme.seed, scale=stage.programme.scale, lines=lines, counts=counts, scorecards=cards, late=late,
        explanation=explanation, veto=veto, mismatches=mismatches, seconds=stage.telling.seconds,
        retries=stage.client.retries,
    )  # fmt: skip


def _line(stage: Stage, service: str, figures: Mapping[str, Any]) -> Line:
    return Line(
        accepted=len(stage.client.ledgers[service].keys),
        commands=figures["commands"],
        facts=figures["facts"],
        published=figures["published"],
        applied=figures["applied"],
        lag=sum(figures["lag"].values()),
        dead_letters=figures["dead_letters"],
        pending=figures["pending"],
    )


async def _scorecards(stage: Stage) -> list[dict[str, Any]]:
    """The regions' cards with the best verified closure rate."""
    cards = await stage.client.pages(OFFICE, EVALUATION, "/scorecards", kind="region", cycle=CYCLE)
    return sorted(cards, key=lambda card: (-_percent(card["values"]["I06"]), card["subject"]))[:TOP]


def _percent(shown: str) -> Decimal:
    """A figure as people read it, to sort by; 无证据 comes last."""
    return Decimal(shown.removesuffix(" %")) if shown.endswith("%") else Decimal(-1)


async def _late(stage: Stage) -> dict[str, Any]:
    """The revisions of the card that a late fact superseded."""
    told = await stage.client.read(OFFICE, EVALUATION, f"/scorecards/{stage.notes['late card']}/revisions")
    return {"scorecard_id": stage.notes["late card"], "revisions": told["items"]}


async def _veto(stage: Stage) -> dict[str, Any]:
    """The confirmed veto with whom it moves, and everybody's names."""
    told: dict[str, Any] = await stage.client.read(SECRETARIAT, INCENTIVES, f"/vetoes/{stage.notes['veto']}")
    names = {candidate.subject: candidate.name for docket in stage.programme.dockets for candidate in docket.candidates}
    return told | {"names": {subject: names[subject] for subject in _named(told)}}


def _named(veto: dict[str, Any]) -> set[str]:
    moved = {line["subject"] for docket in veto["moves"] for line in docket["moves"]}
    return {veto["subject"]} | moved
