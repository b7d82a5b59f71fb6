"""Holds the running system's figures against what was sent and against what follows from the files."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from deploy.demo import expectations
from deploy.demo.programme import CYCLE
from deploy.demo.stage import EVALUATION, INCENTIVES, OFFICE, REGISTRATION, SECRETARIAT, SERVICES, Stage


async def counted(stage: Stage) -> dict[str, int]:
    """The records that each service's lists show."""
    client = stage.client
    listed = {
        "parties": (REGISTRATION, "/parties"),
        "chains": (REGISTRATION, "/chains"),
        "pilots": (REGISTRATION, "/pilots"),
        "quality issues": (REGISTRATION, "/quality-issues"),
        "key projects": (REGISTRATION, "/key-projects"),
        "closures": (EVALUATION, "/closures"),
        "assessments": (EVALUATION, "/assessments"),
        "scorecards": (EVALUATION, "/scorecards"),
    }
    found = await asyncio.gather(*(client.pages(OFFICE, service, path) for service, path in listed.values()))
    counts = {name: len(items) for name, items in zip(listed, found, strict=True)}
    decisions = await client.pages(SECRETARIAT, INCENTIVES, "/tilt-decisions")
    states = Counter(f"issues {issue['state']}" for issue in found[list(listed).index("quality issues")])
    return counts | {"tilt decisions": len(decisions)} | dict(sorted(states.items()))


async def mismatches(stage: Stage, figures: Mapping[str, Mapping[str, Any]], counts: Mapping[str, int]) -> list[str]:
    """Every figure that is not as it must be, as a sentence; empty when all are."""
    found: list[str] = []

    def must(what: str, shown: object, expected: object) -> None:
        if shown != expected:
            found.append(f"{what}: the system says {shown}, it must be {expected}")

    programme = stage.programme
    said = {
        REGISTRATION: expectations.registered(programme),
        EVALUATION: expectations.evaluated(programme),
        INCENTIVES: expectations.incentives(programme, stage.notes["moved"]),
    }
    topics: Counter[str] = Counter()
    for name in SERVICES:
        topics.update(expectations.by_topic(said[name]))
    for name in SERVICES:
        says, ledger = figures[name], stage.client.ledgers[name]
        must(f"{name}: facts written", says["facts"], sum(said[name].values()))
        must(f"{name}: facts published", says["published"], says["facts"])
        must(f"{name}: facts applied", says["applied"], sum(topics[_topic(lane)] for lane in says["lag"]))
        must(f"{name}: pending", says["pending"], 0)
        must(f"{name}: lag", sum(says["lag"].values()), 0)
        must(f"{name}: dead letters", says["dead_letters"], 0)
        if says["commands"] < len(ledger.keys):
            must(f"{name}: commands", says["commands"], f"at least {len(ledger.keys)}")
        if says["facts"] < len(ledger.facts):
            must(f"{name}: facts", says["facts"], f"at least {len(ledger.facts)}")
    must("parties", counts["parties"], len(programme.parties))
    must("chains", counts["chains"], len(programme.chains))
    must("pilots", counts["pilots"], len(programme.pilots))
    must("quality issues", counts["quality issues"], sum(len(pilot.issues) for pilot in programme.pilots))
    must("key projects", counts["key projects"], sum(len(pilot.projects) for pilot in programme.pilots))
    must("closures", counts["closures"], sum(expectations.closures(programme).values()))
    must("assessments", counts["assessments"], sum(len(docket.candidates) for docket in programme.dockets))
    must("scorecards", counts["scorecards"], len(expectations.subjects(programme)))
    must("tilt decisions", counts["tilt decisions"], sum(len(docket.candidates) for docket in programme.dockets))
    for region in programme.regions:
        card = await stage.client.read(OFFICE, EVALUATION, f"/scorecards/region:{region.code}:{CYCLE}")
        values = {value["indicator"]: parts(value) for value in card["values"]}
        started, listed = expectations.started_shares(programme, region.code), expectations.issues_identified
        must(f"I01 {region.code}", values["I01"], (started, Decimal(1)) if started else None)
        must(f"I02 {region.code}", values["I02"], expectations.accepted_in_time(programme, region.code))
        count = listed(programme, region.code)
        must(f"I05 {region.code}", values["I05"], (Decimal(count), Decimal(1)) if count else None)
        must(f"I06 {region.code}", values["I06"], expectations.closure_rate(programme, region.code))
    explained = await explained_decision(stage)
    card = await stage.client.read(OFFICE, EVALUATION, f"/scorecards/enterprise:{explained['subject']}:{CYCLE}")
    effect = next(parts(value) for value in card["values"] if value["indicator"] == "I09")
    closure = expectations.closure_rate_of(programme, explained["subject"])
    must("tilt explained", Decimal(explained["final"]), expectations.tilt_of_enterprise(closure, effect))
    must("tilt recomputed from its pinned inputs", explained["recomputed"], True)
    return found


async def explained_decision(stage: Stage) -> dict[str, Any]:
    """The largest tilt of an enterprise that stands, with its explanation."""
    asked = {"docket_id": f"AD-{CYCLE}-enterprise"}
    decisions = await stage.client.pages(SECRETARIAT, INCENTIVES, "/tilt-decisions", **asked)
    chosen = max(decisions, key=lambda decision: (Decimal(decision["counts"]), decision["subject"]))
    path = f"/tilt-decisions/{chosen['id']}/explanation"
    explained: dict[str, Any] = await stage.client.read(SECRETARIAT, INCENTIVES, path)
    return explained


def parts(value: Mapping[str, Any]) -> tuple[Decimal, Decimal] | None:
    """A card's figure as (numerator, denominator); None when it reads 无证据."""
    return None if value["no_evidence"] else (Decimal(value["numerator"]), Decimal(value["denominator"]))


def _topic(lane: str) -> str:
    """The topic of a lane of the lag figure, with or without its partition."""
    return lane.partition("[")[0].partition("|")[0]
