"""A seeded load through the HTTP doors; every client keeps a journal and asks again until it knows the outcome."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx2

from deploy.local.stack import Stack
from shared.codes.uscc import check_character
from tests.faults.auditor.dump import Told

SERVICE = "pilot-registration"
REPEATED = 0.10
REFUSED = 0.05
_TOKEN_SECONDS = 300
_PAUSE_SECONDS = 0.1
_TIMEOUT_SECONDS = 20


@dataclass
class Mismatch(Exception):
    """A command that was asked again got another answer than the first time."""

    key: str
    first: str
    again: str


@dataclass
class Clients:
    """`count` clients, each with its own parties and its own random numbers; all write to one journal.

    Each line is written before the command is sent (`invoke`) and after its outcome is known (`ok` or `refused`), so a
    run that dies can still be audited.
    """

    stack: Stack
    seed: int
    journal_file: Path
    count: int = 8
    told: list[Told] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    asked_again: int = 0
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _journal: IO[str] | None = None
    _token: tuple[float, str] = (-1e9, "")

    async def run(self) -> None:
        """Sends until `stop` is set; every command sent has its outcome then."""
        with self.journal_file.open("a") as self._journal:
            async with httpx2.AsyncClient(timeout=_TIMEOUT_SECONDS) as http:
                await asyncio.gather(*(self._client(http, n) for n in range(self.count)))

    async def _client(self, http: httpx2.AsyncClient, n: int) -> None:
        dice = random.Random(f"{self.seed}/{n}")
        mine: list[str] = []
        sent: list[tuple[str, str, dict[str, Any], str]] = []
        turn = 0
        while not self.stop.is_set():
            turn += 1
            key = f"{self.seed}-{n}-{turn}"
            draw = dice.random()
            if sent and draw < REPEATED:
                key, path, body, first = dice.choice(sent)
                again = await self._ask(http, key, path, body)
                if again != first:
                    self.mismatches.append(Mismatch(key, first, again))
                continue
            if draw < REPEATED + REFUSED:
                path, body = "/parties", _party("91440300MA5F00018X", dice)
            elif mine and draw < 0.6:
                uscc = dice.choice(mine)
                group = {"group_id": f"G{dice.randrange(50)}-{turn}", "effective_on": "2026-01-01"}
                path, body = f"/parties/{uscc}/affiliate", group
            else:
                uscc = _uscc(self.seed, n, turn)
                mine.append(uscc)
                path, body = "/parties", _party(uscc, dice)
            answer = await self._ask(http, key, path, body)
            sent.append((key, path, body, answer))
            outcome = json.loads(answer)
            accepted = "facts" in outcome
            self.told.append(
                Told(SERVICE, key, "ok" if accepted else "refused", tuple(outcome.get("facts", ())))
            )  # fmt: skip
            self._note(key, "ok" if accepted else "refused", outcome)

    async def _ask(self, http: httpx2.AsyncClient, key: str, path: str, body: dict[str, Any]) -> str:
        """The definite answer to a command: asked again under the same key while there is none."""
        self._note(key, "invoke", {"path": path, "body": body})
        while True:
            try:
                headers = {"Authorization": f"Bearer {await self._bearer(http)}", "Idempotency-Key": key}
                answer = await http.post(f"{self.stack.url('pilot_registration')}{path}", json=body, headers=headers)
                if answer.status_code < 500 and answer.status_code != httpx2.codes.UNAUTHORIZED:
                    return answer.text
            except httpx2.HTTPError:
                pass
            self.asked_again += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _bearer(self, http: httpx2.AsyncClient) -> str:
        now = asyncio.get_running_loop().time()
        if now - self._token[0] > _TOKEN_SECONDS:
            form = {"sub": "load", "roles": "office", "regions": "*"}
            answer = await http.post(f"{self.stack.issuer_url}/token", data=form)
            self._token = (now, answer.json()["access_token"])
        return self._token[1]

    def _note(self, key: str, outcome: str, what: dict[str, Any]) -> None:
        assert self._journal is not None
        self._journal.write(json.dumps({"key": key, "outcome": outcome} | what, ensure_ascii=False) + "\n")
        self._journal.flush()


def _uscc(seed: int, n: int, turn: int) -> str:
    seventeen = f"91440300{seed % 100:02d}{n:02d}{turn:05d}"
    return seventeen + check_character(seventeen)


def _party(uscc: str, dice: random.Random) -> dict[str, Any]:
    size = dice.choice(["large", "medium", "small", "micro"])
    return {
        "uscc": uscc, "name": f"企业{dice.randrange(10**6)}", "kind": "enterprise", "size_class": size,
        "division_code": dice.choice(["340100", "320500", "440300"]),
    }  # fmt: skip
