"""What is broken, when, by seed: the same seed gives the same plan. Every kind is in it before one comes twice."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from pymongo.errors import PyMongoError

from deploy.local.doctor import NotReady
from deploy.local.stack import Stack
from shared.log.failpoints import NAMES

HEARD = "pilot-registration.parties"
LISTENER, WRITER = "evaluation", "pilot-registration"
SESSION_SECONDS = 10
_HIT_SECONDS = 12


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its kind and what it hits."""

    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.kind} {self.target}"


def plan(seed: int, *, brokers: int, mongods: int, count: int) -> list[Fault]:
    """`count` faults: each one possible with these nodes once in random order, then again at random."""
    possible = [Fault("failpoint", name) for name in sorted(NAMES)]
    possible += [Fault("kill", f"{service}-0") for service in (WRITER, LISTENER)]
    possible += [Fault("freeze", f"{LISTENER}-0"), Fault("freeze", f"{WRITER}-0")]
    possible += [Fault("freeze-inside", "consume.after_writes"), Fault("freeze-inside", "sequence.after_writes")]
    possible += [Fault("scale", LISTENER), Fault("poison", HEARD)]
    possible += [Fault("broker", f"kafka-{i}") for i in range(brokers)] + [Fault("brokers", "all")]
    possible += [Fault("mongod", f"mongod-{i}") for i in range(mongods)]
    possible += [Fault("step-down", "primary")] if mongods > 1 else []
    dice, chosen = random.Random(seed), []
    while len(chosen) < count:
        turn = list(possible)
        dice.shuffle(turn)
        chosen += turn
    return chosen[:count]


@dataclass
class Breaker:
    """Carries a plan out against a stack whose services are up, one fault after the other, healing each."""

    stack: Stack
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    not_hit: list[str] = field(default_factory=list)
    poison: dict[str, str] = field(default_factory=dict)
    recovery: list[tuple[str, float]] = field(default_factory=list)

    async def carry_out(self, fault: Fault, alive: Callable[[], Awaitable[None]]) -> None:
        """Breaks, heals, and returns when `alive` does; the time from the break until then is its recovery."""
        started = asyncio.get_running_loop().time()
        await getattr(self, "_" + fault.kind.replace("-", "_"))(fault.target)
        await alive()
        self.done[fault.kind] += 1
        self.recovery.append((fault.kind, asyncio.get_running_loop().time() - started))

    async def _failpoint(self, window: str) -> None:
        name = f"{LISTENER if window.startswith('consume') else WRITER}-0"
        await self.stack.terminate(name)
        with suppress(NotReady):  # some windows lie before the service is ready
            await self.stack.start(name, LIANDONG_FAILPOINTS=f"{window}=kill@{_passes(window)}")
        try:
            await asyncio.wait_for(self.stack.wait_exit(name), _HIT_SECONDS)
        except TimeoutError:
            self.not_hit.append(window)
            await self.stack.kill(name)
        await self.stack.start(name)

    async def _kill(self, name: str) -> None:
        await self.stack.kill(name)
        await self.stack.start(name)

    async def _freeze(self, name: str) -> None:
        """Stopped past its session timeout with a second process beside it, then woken: a zombie."""
        second = name.replace("-0", "-1")
        await self.stack.start(second)
        self.stack.pause(name)
        await asyncio.sleep(SESSION_SECONDS + 3)
        self.stack.resume(name)
        await self.stack.terminate(second)

    async def _freeze_inside(self, window: str) -> None:
        """Stopped inside a transaction past its session timeout, then woken."""
        name = f"{LISTENER if window.startswith('consume') else WRITER}-0"
        second = name.replace("-0", "-1")
        await self.stack.terminate(name)
        await self.stack.start(name, LIANDONG_FAILPOINTS=f"{window}=stop@5")
        await self.stack.start(second)
        await asyncio.sleep(SESSION_SECONDS + 3)
        self.stack.resume(name)
        await self.stack.terminate(second)

    async def _scale(self, service: str) -> None:
        more = [f"{service}-1", f"{service}-2"]
        for name in more:
            await self.stack.start(name)
        for name in more:
            await self.stack.terminate(name)

    async def _broker(self, name: str) -> None:
        await self.stack.kill(name)
        await asyncio.sleep(2)
        await self.stack.start(name)

    async def _brokers(self, _all: str) -> None:
        names = [name for name in self.stack.children if name.startswith("kafka-")]
        await asyncio.gather(*(self.stack.kill(name) for name in names))
        await asyncio.gather(*(self.stack.start(name) for name in names))

    async def _mongod(self, name: str) -> None:
        await self.stack.kill(name)
        await asyncio.sleep(1)
        await self.stack.start(name)

    async def _step_down(self, _primary: str) -> None:
        admin = self.stack.admin()
        try:
            with suppress(PyMongoError):  # the connection is closed by what we ask for
                await admin.admin.command("replSetStepDown", 10, secondaryCatchUpPeriodSecs=5)
        finally:
            admin.close()

    async def _poison(self, topic: str) -> None:
        """Records that are not ours, in every partition: garbage, half a head, a place beyond every log."""
        producer = AIOKafkaProducer(bootstrap_servers=self.stack.kafka, acks="all")
        await producer.start()
        try:
            for n, (value, headers) in enumerate(_GARBAGE):
                sent = await producer.send_and_wait(topic, value, key=b"poison", headers=headers, partition=n % 3)
                self.poison[f"{topic}|{sent.partition}|{sent.offset}"] = "foreign"
        except KafkaError:
            pass  # not planted, not counted: only acknowledged records are
        finally:
            await producer.stop()


def _passes(window: str) -> int:
    """A claim is made once a start; the other windows are hit with work already done behind them."""
    return 1 if window.endswith("after_claim") else 3


_GARBAGE: list[tuple[bytes | None, list[tuple[str, bytes]]]] = [
    (b"\x00\xff garbage", []),
    (b"{}", [("ce_specversion", b"1.0"), ("ce_id", b"x")]),
    (b"{}", [("ce_specversion", b"1.0"), ("ce_type", b"a.b.c.v1"), ("ce_subject", b"s"), ("ce_logid", b"l"),
             ("ce_seq", b"-1"), ("ce_prev", b"0")]),
    (b"", [("ce_specversion", b"1.0"), ("ce_type", b"x"), ("ce_seq", b"1000000000000"), ("ce_prev", b"0")]),
    (b"{}", [("ce_specversion", b"9"), ("ce_type", b"a.b.c.v1"), ("ce_subject", b"s"), ("ce_logid", b"l"),
             ("ce_seq", b"5"), ("ce_prev", b"4")]),
    (None, [("ce_seq", b"\xff\xfe")]),
]  # fmt: skip


def possible_kinds(faults: list[Fault]) -> dict[str, Any]:
    """How often each kind stands in a plan."""
    return dict(Counter(fault.kind for fault in faults))
