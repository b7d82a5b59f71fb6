"""What every act works with: the year's files, the way to speak, the clock, and the ids the services gave out."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, TypeVar

from deploy.demo.client import Client, Who
from deploy.demo.clock import YearClock
from deploy.demo.papers import PDF, paper
from deploy.demo.programme import Evaluator, Party, PilotFile, Programme
from deploy.demo.telling import Telling
from shared.kernel import CIVIL

T = TypeVar("T")

SERVICES = ("pilot_registration", "evaluation", "incentive_scoring")
REGISTRATION, EVALUATION, INCENTIVES = SERVICES
HEARD_SECONDS_MAX = 240.0
_POLL_SECONDS = 0.1

OFFICE = Who("office-01", "office", "*")
OFFICE_HEAD = Who("office-02", "office", "*")
LEAD_EVALUATOR = Who("lead-evaluator-01", "lead_evaluator", "*")
SECRETARIAT = Who("secretariat-01", "secretariat", "*")
APPROVER = Who("secretariat-02", "secretariat", "*")
SUPERVISION = Who("supervision-01", "supervision", "*")
SUPERVISION_OTHER = Who("supervision-02", "supervision", "*")
AUDITOR = Who("auditor-01", "auditor", "*")


class NeverCame(Exception):
    """Something the demo waited for did not come in time."""


@dataclass(slots=True)
class Stage:
    """The demo at work. `ids` maps a pilot's key to its id, `notes` holds what an act leaves for others."""

    programme: Programme
    client: Client
    clock: YearClock
    telling: Telling
    ids: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    # --- who acts ---

    def registrar(self, region: str) -> Who:
        """The registrar of a pilot region, in its government's market regulation office."""
        return Who(f"registrar-{region}", "registrar", region[:2], self.programme.governments[region].uscc)

    def province(self, region: str) -> Who:
        """The province's programme desk: another person than the registrar."""
        return Who(f"province-{region}", "province", region[:2], self.programme.governments[region].uscc)

    def firm(self, party: Party) -> Who:
        """The quality manager of an enterprise or institution."""
        return Who(f"quality-{party.uscc}", party.kind.value, party.division_code[:4], party.uscc)

    def evaluator(self, evaluator: Evaluator) -> Who:
        """A member of the panels."""
        return Who(f"evaluator-{evaluator.number}", "evaluator", "*", evaluator.org.uscc)

    def id(self, pilot: PilotFile) -> str:
        """The id the service gave a pilot."""
        return self.ids[pilot.key]

    def issue_id(self, pilot: PilotFile, number: str) -> str:
        """The id of an issue of a pilot."""
        return f"{self.id(pilot)}:Q:{number}"

    def project_id(self, pilot: PilotFile, number: str) -> str:
        """The id of a key project of a pilot."""
        return f"{self.id(pilot)}:K:{number}"

    # --- how it works ---

    def today(self) -> date:
        """The programme's current civil day."""
        return self.clock.now().astimezone(CIVIL).date()

    async def move_to(self, day: date) -> None:
        """Lets the year pass until a day, in every service."""
        await self.clock.move_to(day, services=SERVICES)

    async def each(self, title: str, items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> None:
        """One act: every item at once, as far as the client lets them through; the first failure ends it."""
        listed = list(items)
        with self.telling.act(title, len(listed)) as act:

            async def one(item: T) -> None:
                await do(item)
                act.done()

            await all_of([one(item) for item in listed])

    async def upload(self, who: Who, service: str, *, name: str, title: str, lines: tuple[str, ...]) -> str:
        """Uploads a document under a key of its name; its attachment id."""
        sent = (f"{name}.pdf", paper(title, lines), PDF)
        answer = await self.client.command(who, service, "/attachments", key=f"paper-{name}", file=sent, counted=False)
        return str(answer["id"])

    async def until(self, what: str, ask: Callable[[], Awaitable[bool]], *, seconds: float = HEARD_SECONDS_MAX) -> None:
        """Asks again and again until it is so; NeverCame after that many seconds."""
        deadline = asyncio.get_running_loop().time() + seconds
        while not await ask():
            if asyncio.get_running_loop().time() > deadline:
                raise NeverCame(f"{what}: not within {seconds:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)

    async def figures(self) -> dict[str, dict[str, Any]]:
        """What the operations door of each service says."""
        told = await asyncio.gather(*(self.client.read(OFFICE, name, "/operations/figures") for name in SERVICES))
        return dict(zip(SERVICES, told, strict=True))

    async def all_heard(self, *, still: float = 0.3) -> dict[str, dict[str, Any]]:
        """Waits until everything said is published and heard, and for `still` seconds nothing new; the figures then."""
        last: dict[str, dict[str, Any]] = {}
        loop = asyncio.get_running_loop()
        since = loop.time()

        async def quiet() -> bool:
            nonlocal last, since
            now = await self.figures()
            rest = all(
                told["pending"] == 0 and told["published"] == told["facts"] and not any(told["lag"].values())
                for told in now.values()
            )
            if {name: told["facts"] for name, told in now.items()} != {n: told["facts"] for n, told in last.items()}:
                since = loop.time()
            last = now
            return rest and loop.time() - since >= still

        await self.until("every service has heard what the others said", quiet)
        return last


async def all_of(tasks: Iterable[Awaitable[object]]) -> None:
    """Runs all; when one fails the others are cancelled and its own error comes out."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(_awaited(task))
    except BaseExceptionGroup as errors:
        first: BaseException = errors
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None


async def _awaited(task: Awaitable[object]) -> None:
    await task
