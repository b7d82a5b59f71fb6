"""Lets a newly heard type catch up: its facts below the position are applied before anything after it (rule 18)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from shared.log.consumer.ownership import BATCH_FACTS_MAX, Claim, Fenced, RebuildNeeded, reader

log = structlog.get_logger()

ApplyAll = Callable[[Claim, Sequence[Any], dict[str, dict[str, int]]], Awaitable[None]]


async def catch_up(bootstrap: str, held: Claim, behind: dict[str, dict[str, int]], apply: ApplyAll) -> None:
    """Reads the partition from the earliest place any of the types has reached up to the position, and applies them.

    Each batch moves the places of the types in its own transaction, so that a restart goes on where it was. Raises
    RebuildNeeded when the topic does not reach back that far.
    """
    start = min(place["next"] for place in behind.values())
    async with reader(bootstrap) as consumer:
        begin = (await consumer.beginning_offsets([held.partition]))[held.partition]
        if begin > start:
            raise RebuildNeeded(
                f"{', '.join(sorted(behind))} is heard from now on, but the topic begins at {begin}, not {start}: "
                "rebuild this service from the publisher's log"
            )
        consumer.assign([held.partition])
        consumer.seek(held.partition, start)
        log.info("consumer.backfills", partition=held.name, types=sorted(behind), start=start, end=held.next)
        while await consumer.position(held.partition) < held.next:
            if held.given_up:
                raise Fenced
            fetched = await consumer.getmany(held.partition, timeout_ms=1000, max_records=BATCH_FACTS_MAX)
            records = [record for record in fetched.get(held.partition, ()) if record.offset < held.next]
            if records:
                await apply(held, records, behind)
