"""Named windows of the path of a fact where a test can make the process die, stop or fail; free when none is set."""

from __future__ import annotations

import os
import signal
from collections import Counter

NAMES = frozenset(
    {
        "commit.before_transaction",
        "commit.after_writes",
        "commit.before_answer",
        "sequence.after_claim",
        "sequence.after_writes",
        "publish.before_send",
        "publish.after_send",
        "publish.before_mark",
        "consume.after_claim",
        "consume.after_position",
        "consume.after_reactions",
        "consume.after_writes",
        "consume.after_commit",
    }
)


class FailpointHit(Exception):
    """Raised by a failpoint set to `raise`."""


def _parse(text: str) -> dict[str, tuple[str, int]]:
    plan: dict[str, tuple[str, int]] = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        what, _, count = action.partition("@")
        if name not in NAMES or what not in {"kill", "stop", "raise"}:
            raise ValueError(f"LIANDONG_FAILPOINTS: {part!r} is not <name>=kill|stop|raise[@n] with a known name")
        plan[name] = (what, int(count or 1))
    return plan


_plan = _parse(os.environ.get("LIANDONG_FAILPOINTS", ""))
_hits: Counter[str] = Counter()


def active() -> bool:
    """Whether any failpoint is set; production refuses to start then."""
    return bool(_plan)


def failpoint(name: str) -> None:
    """Does what `LIANDONG_FAILPOINTS` says for this window (`name=kill@3`: SIGKILL at the third pass), else nothing."""
    if not _plan or name not in _plan:
        return
    what, count = _plan[name]
    _hits[name] += 1
    if _hits[name] != count:
        return
    if what == "raise":
        raise FailpointHit(name)
    os.kill(os.getpid(), signal.SIGKILL if what == "kill" else signal.SIGSTOP)
