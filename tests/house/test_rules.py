"""docs/rules.md: every rule has its tests or says why not, and every test with a rule's number stands in the table."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/rules.md").read_text("utf-8")
LISTED = set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PAGE))


def named() -> set[str]:
    """Every test function, as `file::name`."""
    return {
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in sorted(ROOT.glob("tests/**/test_*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def rows(heading: str) -> dict[int, str]:
    """Rule number -> its last cell, of the table under a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return {int(number): cell for number, cell in re.findall(r"^\| (\d+) \| [^|]+ \| (.+) \|$", section, re.MULTILINE)}


def test_every_test_in_the_table_exists() -> None:
    assert sorted(LISTED - named()) == []


def test_every_test_with_the_number_of_a_rule_is_in_the_table() -> None:
    numbered = {test for test in named() if re.search(r"::test_rule_\d\d_", test)}
    assert numbered
    assert sorted(numbered - LISTED) == []


def test_every_rule_has_a_test_or_says_what_has_to_be_built_first() -> None:
    path, decide = rows("The path of a fact"), rows("Rules that decide")
    assert sorted(path) == list(range(1, 27))
    assert sorted(decide) == list(range(1, 24))
    assert [number for number, cell in path.items() if "::test_" not in cell] == []
    assert [number for number, cell in decide.items() if "::test_" not in cell and "not reached" not in cell] == []


def test_a_numbered_test_stands_in_a_row_of_its_number() -> None:
    for number, cell in [*rows("The path of a fact").items(), *rows("Rules that decide").items()]:
        for name in re.findall(r"::(test_rule_\w+)`", cell):
            head = re.match(r"test_rule_((?:\d\d_and_)*\d\d)_", name)
            assert head, name
            assert f"{number:02d}" in head[1].split("_and_"), f"{name} stands in row {number}"
