"""Says when a consumer does not move although it should: states that no error ever reports (rule 24)."""

from __future__ import annotations

from collections.abc import Mapping

PAUSED_SECONDS = 10.0
EMPTY_SECONDS = 15.0
REJOIN_SECONDS = 30.0

_LIMITS = {"paused": PAUSED_SECONDS, "empty": EMPTY_SECONDS, "rejoin": REJOIN_SECONDS}
_SENTENCES = {
    "paused": "{what} assigned but not read for {seconds:.0f} s: no claim succeeds",
    "empty": "no partition is assigned for {seconds:.0f} s although the group has members to spare for none: {what}",
    "rejoin": "the group has wanted a rejoin for {seconds:.0f} s",
}


class Lasting:
    """Remembers since when a state lasts; it is worth a sentence once it outlasts its limit."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._now = 0.0
        self._what: dict[str, str] = {}

    def observe(self, now: float, states: Mapping[str, str]) -> None:
        """`states` maps what holds now (`paused`, `empty`, `rejoin`) to what it is about; `now` is monotonic."""
        self._now, self._what = now, dict(states)
        self._since = {name: self._since.get(name, now) for name in states}

    def lasts(self, name: str) -> bool:
        """Whether a state has outlasted its limit."""
        return name in self._since and self._now - self._since[name] > _LIMITS[name]

    def sentences(self) -> list[str]:
        """One sentence for each state that lasts too long."""
        return [
            _SENTENCES[name].format(what=self._what[name], seconds=self._now - since)
            for name, since in self._since.items()
            if self.lasts(name)
        ]


def dead_tasks(coordinator: object) -> list[str]:
    """Sentences about aiokafka's own tasks: it goes on without them, deaf or as a ghost (pinned to aiokafka 0.14)."""
    found = []
    for name in ("_coordination_task", "_heartbeat_task"):
        task = getattr(coordinator, name, None)
        if task is not None and task.done():
            found.append(f"the group coordinator's {name[1:]} has ended")
    return found
