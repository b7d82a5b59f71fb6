"""What children print, as people read it: one level and one sentence per line, whoever wrote it and however."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from rich.text import Text

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = ("debug", "info", "warning", "error")
_STYLES: dict[Level, str] = {"debug": "dim", "info": "", "warning": "yellow", "error": "bold red"}
_NAMES = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta", "bright_blue")
_MONGOD: dict[str, Level] = {"F": "error", "E": "error", "W": "warning", "I": "info"}
_WORDS: dict[str, Level] = {"fatal": "error", "critical": "error", "error": "error", "warn": "warning",
                            "warning": "warning", "info": "info", "debug": "debug", "trace": "debug"}  # fmt: skip
_PLAIN = re.compile(r"\[?(FATAL|CRITICAL|ERROR|WARN|WARNING|INFO|DEBUG|TRACE)\b[\]:]?\s+(.*)", re.ASCII)
_KNOWN = {"event", "level", "timestamp", "service", "slot", "trace_id", "span_id", "exception", "color_message"}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one child."""

    name: str
    level: Level
    text: str

    def at_least(self, level: Level) -> bool:
        """Whether it matters at this level."""
        return LEVELS.index(self.level) >= LEVELS.index(level)

    def pretty(self) -> Text:
        """With its coloured prefix."""
        colour = _NAMES[sum(self.name.encode()) % len(_NAMES)]
        return Text.assemble((f"{self.name:<22} ", colour), (self.text, _STYLES[self.level]))


def read(name: str, raw: str) -> Line:
    """A child's line: JSON of a service, JSON of mongod, `LEVEL text` of Kafka and uvicorn, or just text."""
    if raw.startswith("{"):
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if isinstance(body, dict) and "event" in body:
            return Line(name, _WORDS.get(str(body.get("level", "info")), "info"), _service(body))
        if isinstance(body, dict) and "msg" in body:
            return Line(name, _MONGOD.get(str(body.get("s")), "debug"), _mongod(body))
    match = _PLAIN.match(raw)
    if match:
        return Line(name, _WORDS[match[1].lower()], match[2])
    return Line(name, "info", raw)


def _service(body: dict[str, Any]) -> str:
    clock = str(body.get("timestamp", ""))[11:19]
    fields = " ".join(f"{key}={value}" for key, value in body.items() if key not in _KNOWN)
    text = f"{clock} {body['event']} {fields}".strip()
    return f"{text}\n{body['exception']}" if "exception" in body else text


def _mongod(body: dict[str, Any]) -> str:
    clock = str(body.get("t", {}).get("$date", ""))[11:19]
    attributes = body.get("attr") or {}
    told = f" {json.dumps(attributes, ensure_ascii=False, default=str)[:300]}" if attributes else ""
    return f"{clock} {body.get('c', '')} {body['msg']}{told}".strip()
