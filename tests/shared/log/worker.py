"""One real process of a service, for tests that kill, stop or add processes: `worker <register|listen> <plan>`.

`register` registers the chain `seven` once; `listen` pushes the names of chains to their rows until SIGTERM. Each says
`ready` on standard output when it runs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import Any

from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import ChainRegistered
from shared.log.store import Rows
from tests.shared.log.support import COLLECTIONS, Table, register, running, service_settings


async def main(role: str, plan: dict[str, str]) -> None:
    given = service_settings(
        plan["service"], int(plan["slot"]), kafka=plan["kafka"], mongo=plan["mongo"], password=plan["password"]
    )
    if role == "register":
        async with running(given, collections=("chains",)) as log:
            print("ready", flush=True)
            await register(log, "seven", "first")
        return

    def table(database: Any) -> Table:
        rows = Rows(database, "known_chains")

        async def on_chain_registered(fact: Recorded[ChainRegistered]) -> None:
            rows.push(fact.subject, "names", fact.fact.name)

        return {ChainRegistered: on_chain_registered}

    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    async with running(given, table=table, collections=COLLECTIONS):
        print("ready", flush=True)
        await ended.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
