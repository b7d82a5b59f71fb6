"""Runs one application: loads its code at once, serves when told. `python -m deploy.local.serve <module> <port>`.

Loading is most of a service's start. The stack starts services beside Kafka and mongod and sends a line on standard
input when these are ready; when the input ends without one, the stack is gone.
"""

from __future__ import annotations

import sys
from importlib import import_module

import uvicorn


def main(module: str, port: int) -> None:
    """Serves `<module>.app()` on the local address until SIGTERM."""
    app = import_module(module).app
    if not sys.stdin.readline():
        raise SystemExit("the stack ended before this process could serve")
    uvicorn.run(app, factory=True, host="127.0.0.1", port=port, access_log=False, timeout_graceful_shutdown=10)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
