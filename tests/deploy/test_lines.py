"""Every child's way of logging becomes one level and one readable sentence."""

from __future__ import annotations

import json

import pytest

from deploy.local.lines import read

SERVICE = {
    "event": "pilot.submitted", "level": "warning", "timestamp": "2026-11-25T04:05:06.789Z", "service": "evaluation",
    "slot": "evaluation-0", "pilot": "PL-1",
}  # fmt: skip
MONGOD = {"t": {"$date": "2026-11-25T04:05:06.789Z"}, "s": "E", "c": "STORAGE", "msg": "It hurts", "attr": {"n": 1}}


@pytest.mark.parametrize(
    ("raw", "level", "text"),
    [
        (json.dumps(SERVICE), "warning", "04:05:06 pilot.submitted pilot=PL-1"),
        (json.dumps(SERVICE | {"exception": "Traceback"}), "warning", "04:05:06 pilot.submitted pilot=PL-1\nTraceback"),
        (json.dumps(MONGOD), "error", '04:05:06 STORAGE It hurts {"n": 1}'),
        ("WARN [Broker id=1] is slow (Broker)", "warning", "[Broker id=1] is slow (Broker)"),
        ("INFO:     Started server process [1]", "info", "Started server process [1]"),
        ("[0.004s][warning][cds] no archive", "info", "[0.004s][warning][cds] no archive"),
        ('{"half a', "info", '{"half a'),
        ("INFORMATION is no level", "info", "INFORMATION is no level"),
    ],
)
def test_a_line_is_read_as_its_writer_meant_it(raw: str, level: str, text: str) -> None:
    line = read("child-0", raw)
    assert (line.level, line.text) == (level, text)


def test_levels_are_ordered() -> None:
    assert read("a", "ERROR x").at_least("warning")
    assert not read("a", "INFO x").at_least("warning")
