"""Where `setpriv` is missing: a process that kills our children's groups when the pipe from their parent breaks.

Reads `+<pid>` and `-<pid>` lines from standard input; at its end, which the kernel brings about however the parent
died, every group still noted is killed. Standard library only, so that it starts before anything else.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Until the parent is gone; a signal to the parent's terminal does not end it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        if line[0] == "+":
            groups.add(pid)
        else:
            groups.discard(pid)
    for pid in groups:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
