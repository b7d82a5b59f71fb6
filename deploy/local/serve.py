"""Runs one application: loads its code at once, serves when told. `python -m deploy.local.serve <module> <port>`.

Loading is most of a service's start. The stack starts services beside Kafka and mongod and sends a line on standard
input when these are ready; when the input ends without one, the stack is gone.
"""

from __future__ import annotations

import math
import sys
from importlib import import_module
from typing import Any

import uvicorn


def main(module: str, port: int) -> None:
    """Serves `<module>.app()` on the local address until SIGTERM, then finishes within its own `graceful_seconds`."""
    app = import_module(module).app
    if not sys.stdin.readline():
        raise SystemExit("the stack ended before this process could serve")

    def built() -> Any:
        application = app()
        config.timeout_graceful_shutdown = math.ceil(getattr(application.state, "graceful_seconds", 10))
        return application

    config = uvicorn.Config(built, factory=True, host="127.0.0.1", port=port, access_log=False)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
