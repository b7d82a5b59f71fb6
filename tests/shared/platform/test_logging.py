"""What a service's log leaves out: polls of its health, and a broker's outage told a thousand times."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

import pytest

from shared.platform.logging import Collapsed

OUTAGE = (
    "Unable to update metadata from [0]",
    "Failed fetch messages from 0: [Error 7]",
    "Group Coordinator Request failed",
)


def record(name: str, text: str, at: float, *arguments: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, text, arguments, None)
    made.created = at
    return made


def test_an_outage_of_thirteen_seconds_is_told_in_one_line_per_text_and_five_seconds_with_its_count() -> None:
    collapsed = Collapsed("aiokafka")
    lines = [record("aiokafka.cluster", text, 1000 + i * 0.008) for i in range(1_625) for text in OUTAGE]
    written = [line for line in lines if collapsed.filter(line)]
    assert [line.created for line in written] == [at for at in (1000.0, 1005.0, 1010.0) for _ in OUTAGE]
    assert [getattr(line, "repeated", 0) for line in written] == [0] * 3 + [624] * 6


def test_texts_are_told_apart_by_what_they_say_and_who_says_it() -> None:
    collapsed = Collapsed("aiokafka")
    assert collapsed.filter(record("aiokafka.conn", "Unable to connect to node %s", 0, 1))
    assert collapsed.filter(record("aiokafka.conn", "Unable to connect to node %s", 0, 2))
    assert collapsed.filter(record("aiokafka.client", "Unable to connect to node %s", 0, 1))
    assert not collapsed.filter(record("aiokafka.conn", "Unable to connect to node %s", 4.9, 1))
    assert collapsed.filter(record("aiokafka.conn", "Unable to connect to node %s", 5, 1))


def test_what_others_say_is_never_left_out() -> None:
    collapsed = Collapsed("aiokafka")
    assert all(collapsed.filter(record(name, "task.died", 0)) for name in ("shared.log", "shared.log", "aiokafkaesque"))


def test_old_texts_are_forgotten() -> None:
    collapsed = Collapsed("aiokafka")
    assert all(collapsed.filter(record("aiokafka", f"text {i}", float(i))) for i in range(5_000))
    assert len(collapsed._said) <= 500


PROGRAM = """
import logging
from shared.platform.logging import configure_logging
configure_logging(service="evaluation", slot="evaluation-0", level="{level}")
for path in ("/health/live", "/health/ready", "/health/ready?x=1", "/metrics", "/pilots"):
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "127.0.0.1:1", "GET", path, "1.1", 200)
for _ in range(1600):
    logging.getLogger("aiokafka.cluster").error("Unable to update metadata from %s", [0])
"""


@pytest.mark.parametrize("level", ["info", "debug"])
def test_a_service_logs_neither_polls_of_its_health_nor_the_same_line_again(level: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(level=level)], capture_output=True, text=True, check=True, timeout=60
    )
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ['127.0.0.1:1 - "GET /pilots HTTP/1.1" 200', "Unable to update metadata from [0]"]
