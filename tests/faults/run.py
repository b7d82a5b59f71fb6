"""One run: load and faults at once, then rest, then the auditor. A run that fails says how to repeat it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.stack import Stack
from tests.faults.auditor.checks import Finding, audit
from tests.faults.auditor.collect import collect, replicas_agree
from tests.faults.auditor.dump import Dump
from tests.faults.auditor.fold import parties_are_known
from tests.faults.load import SERVICE, Clients
from tests.faults.plan import LISTENER, Breaker, plan, possible_kinds

SERVICES = ("pilot-registration", "evaluation")
STATES = {"pilot-registration": {"parties": "pilot-registration.parties"}}
_REST_SECONDS = 120
_MOVING = {"commit-pending", "unpublished", "lag", "position-seq", "heard-gap", "lost-in-kafka", "sequencer-next",
           "poison-lost", "fold-parties"}  # fmt: skip


@dataclass
class Outcome:
    """What a run came to; `findings` empty means that it held."""

    seed: int
    command: str
    faults: dict[str, int]
    not_hit: list[str]
    commands: int
    asked_again: int
    facts: int
    records: int
    duplicates: int
    rest_seconds: float
    recovery_seconds: dict[str, dict[str, float]]
    findings: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Nothing lost, nothing doubled, nothing out of order."""
        return not self.findings


async def run(
    home: Path, *, seed: int, faults: int, brokers: int, mongods: int, say: Callable[[str], None] = print
) -> Outcome:
    """Runs `faults` faults of the seed's plan under load and audits what is left."""
    shutil.rmtree(home, ignore_errors=True)
    packages = tuple(name.replace("-", "_") for name in SERVICES)
    async with Stack(home, brokers=brokers, mongods=mongods, services=packages, issuer=True) as stack:
        clients = Clients(stack, seed, home / "journal.jsonl")
        breaker = Breaker(stack, seed)
        load = asyncio.create_task(clients.run())
        chosen = plan(seed, brokers=brokers, mongods=mongods, count=faults)
        for n, fault in enumerate(chosen):
            say(f"fault {n + 1}/{len(chosen)}: {fault}")
            before = len(clients.told)
            await breaker.carry_out(fault, lambda before=before: _moves(clients, load, before))
        clients.stop.set()
        await load
        started = asyncio.get_running_loop().time()
        dump, findings = await _at_rest(stack, clients, breaker)
        rest = asyncio.get_running_loop().time() - started
        members = stack.mongo.split(",")
        findings += await replicas_agree(members, admin_password=stack.secret("admin"), services=SERVICES)
    findings += [Finding("answer-changed", m.key, f"{m.first} then {m.again}") for m in clients.mismatches]
    missing = [kind for kind in possible_kinds(chosen) if not breaker.done[kind]]
    findings += [Finding("not-carried-out", kind, "the plan was not met") for kind in missing]
    command = f"python -m tests.faults --seed {seed} --faults {faults} --brokers {brokers} --mongods {mongods}"
    records = sum(len(p.records) for topic in dump.topics.values() for p in topic.values())
    facts = sum(1 for service in SERVICES for _event in dump.events(service))
    return Outcome(
        seed=seed, command=command, faults=dict(breaker.done), not_hit=breaker.not_hit, commands=len(clients.told),
        asked_again=clients.asked_again, facts=facts, records=records,
        duplicates=records - facts - len(breaker.poison), rest_seconds=rest,
        recovery_seconds=_recoveries(breaker.recovery), findings=[str(finding) for finding in findings],
    )  # fmt: skip


async def _moves(clients: Clients, load: asyncio.Task[None], before: int) -> None:
    """Returns when commands are answered again."""
    end = asyncio.get_running_loop().time() + _REST_SECONDS
    while len(clients.told) <= before + clients.count:
        if load.done():
            load.result()
        if asyncio.get_running_loop().time() > end:
            raise TimeoutError(f"no command was answered for {_REST_SECONDS} s after the fault was healed")
        await asyncio.sleep(0.05)


async def _at_rest(stack: Stack, clients: Clients, breaker: Breaker) -> tuple[Dump, list[Finding]]:
    """The audit once everything has been published and applied; what still moves at the deadline is a finding."""
    end = asyncio.get_running_loop().time() + _REST_SECONDS
    while True:
        await _settled(stack, end)
        dump = await collect(
            mongo=stack.mongo, replica_set="rs0", password=stack.secret("auditor"), kafka=stack.kafka,
            services=SERVICES, journal=clients.told, poison=breaker.poison,
        )  # fmt: skip
        findings = [*audit(dump, STATES), *parties_are_known(dump)]
        if not {finding.check for finding in findings} & _MOVING or asyncio.get_running_loop().time() > end:
            return dump, findings
        await asyncio.sleep(1)


async def _settled(stack: Stack, end: float) -> None:
    """Waits until the services say of themselves that nothing is under way; the audit does not rely on it."""
    async with httpx2.AsyncClient(timeout=10) as http:
        while asyncio.get_running_loop().time() < end:
            try:
                form = {"sub": "faults", "roles": "auditor", "regions": "*"}
                token = (await http.post(f"{stack.issuer_url}/token", data=form)).json()["access_token"]
                figures: list[Any] = []
                for service in SERVICES:
                    url = f"{stack.url(service.replace('-', '_'))}/operations/figures"
                    figures.append((await http.get(url, headers={"Authorization": f"Bearer {token}"})).json())
                if all(not f["pending"] and not sum(f["lag"].values()) for f in figures):
                    return
            except (httpx2.HTTPError, KeyError):
                pass
            await asyncio.sleep(0.2)


def _recoveries(measured: list[tuple[str, float]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for kind in sorted({kind for kind, _seconds in measured}):
        seconds = sorted(s for k, s in measured if k == kind)
        found[kind] = {"n": len(seconds), "p50": round(seconds[len(seconds) // 2], 2), "max": round(seconds[-1], 2)}
    return found


__all__ = ["LISTENER", "SERVICE", "Outcome", "run"]
