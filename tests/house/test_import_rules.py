"""Every import rule of pyproject.toml is kept, and is shown to catch what it forbids: none of them sleeps.

The planted violations are made from the rules themselves: a new rule, layer or module is planted without a line here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RULES: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"][
    "contracts"
]


@dataclass(frozen=True)
class Planted:
    """A line added to a module (or a new module), which the named rule must catch."""

    rule: str
    module: str
    line: str
    new: bool = False

    @property
    def caught(self) -> str:
        """How lint-imports names it."""
        return f"- {self.module} " if self.new else f"{self.module} -> {self.line.removeprefix('import ')} (l."

    def __str__(self) -> str:
        return f"{self.module}: {self.line or 'a module without a layer'}"


def source(root: Path, module: str) -> Path:
    """The file of a module or package."""
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def exists(module: str) -> bool:
    return source(ROOT, module).exists()


def plants(rule: dict[str, Any]) -> Iterator[Planted]:
    """One violation for every way in which a rule can be broken."""
    name = rule["name"]
    if rule["type"] == "forbidden":
        for module in rule["source_modules"]:
            if exists(module):
                yield Planted(name, module, f"import {rule['forbidden_modules'][0]}")
        for forbidden in rule["forbidden_modules"]:
            yield Planted(name, rule["source_modules"][0], f"import {forbidden}")
    elif rule["type"] == "independence":
        for one, other in pairwise([*rule["modules"], rule["modules"][0]]):
            yield Planted(name, one, f"import {other}")
    else:
        assert rule["type"] == "layers", f"teach this test to plant a violation of {rule['type']}"
        for container in rule.get("containers", [""]):
            yield from layer_plants(rule, container)


def layer_plants(rule: dict[str, Any], container: str) -> Iterator[Planted]:
    inside = f"{container}." if container else ""
    layers = [[inside + module for module in re.findall(r"[a-z_.]+", layer)] for layer in rule["layers"]]
    present = [[module for module in layer if exists(module)] for layer in layers]
    for higher, lower in pairwise([layer for layer in present if layer]):
        yield from (Planted(rule["name"], low, f"import {higher[0]}") for low in lower)
    for layer in present:  # modules beside each other know nothing of each other
        yield from (Planted(rule["name"], one, f"import {other}") for one, other in pairwise(layer))
    if rule.get("exhaustive"):
        yield Planted(rule["name"], f"{inside}helpers", "", new=True)


CASES = [planted for rule in RULES for planted in plants(rule)]


def lint(root: Path) -> tuple[dict[str, str], str]:
    """What lint-imports says of each rule (KEPT or BROKEN), and all it says, in one line."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--cache-dir", str(root / ".cache")]
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False)
    verdicts = dict(re.findall(r"^(.+) (KEPT|BROKEN)\b.*$", done.stdout, re.MULTILINE))
    assert set(verdicts) == {rule["name"] for rule in RULES}, done.stdout + done.stderr
    assert (done.returncode == 0) == ("BROKEN" not in verdicts.values())
    return verdicts, " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The house in a folder of its own, to be spoilt."""
    root = tmp_path_factory.mktemp("house")
    for package in ("services", "shared", "deploy"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.csv"))
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def test_the_house_keeps_every_import_rule(copy: Path) -> None:
    verdicts, said = lint(copy)
    assert set(verdicts.values()) == {"KEPT"}, said


def test_every_rule_has_a_planted_violation() -> None:
    assert {planted.rule for planted in CASES} == {rule["name"] for rule in RULES}


def test_every_service_stands_under_every_rule_for_services() -> None:
    services = {f"services.{path.parent.name}" for path in ROOT.glob("services/*/domain*")}
    assert services
    for rule in RULES:
        named = {*rule.get("containers", ()), *rule.get("modules", ())}
        if any(name.startswith("services.") for name in named):
            assert services <= named, f"{sorted(services - named)} are not under the rule {rule['name']!r}"
    pure = {module for rule in RULES if rule["type"] == "forbidden" for module in rule["source_modules"]}
    parts = {f"{service}.{part}" for service in services for part in ("domain", "policies", "handlers")}
    assert {part for part in parts if exists(part)} - pure == set(), "these may import any tool"


@pytest.mark.parametrize("rule", [rule["name"] for rule in RULES])
def test_a_rule_catches_every_violation_that_is_planted_against_it(rule: str, copy: Path) -> None:
    mine = [planted for planted in CASES if planted.rule == rule]
    before = {
        path: path.read_text("utf-8") if path.exists() else None for path in (source(copy, p.module) for p in mine)
    }
    try:
        for planted in mine:
            with source(copy, planted.module).open("a", encoding="utf-8") as file:
                file.write(f"\n{planted.line}\n")
        verdicts, said = lint(copy)
    finally:
        for path, text in before.items():
            path.unlink() if text is None else path.write_text(text, "utf-8")
    assert verdicts[rule] == "BROKEN"
    assert [str(planted) for planted in mine if planted.caught not in said] == []
