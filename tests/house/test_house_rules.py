"""Habits of the house that no tool checks: each is a sentence here, and each is shown to notice what it forbids."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import get_args, get_origin
from unittest.mock import MagicMock

import pytest
from pydantic import BaseModel

from deploy.contracts import hearing
from deploy.contracts.schemas import facts
from shared.contracts import PUBLISHERS
from shared.doors.policy import ROLES

ROOT = Path(__file__).resolve().parents[2]
SERVICES = {name: ROOT / "services" / name.replace("-", "_") for name in PUBLISHERS}
PURE = ("domain", "policies", "handlers")

# Built from parts, so that this file does not hold what it looks for.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"), ("registry", "yarnpkg", "com"),
        ("repo1", "maven", "org"), ("repo", "maven", "apache", "org"), ("archive", "ubuntu", "com"),
        ("security", "ubuntu", "com"), ("deb", "debian", "org"), ("static", "crates", "io"), ("proxy", "golang", "org"),
        ("registry-1", "docker", "io"), ("mirrors", "aliyun", "com"), ("mirrors", "tuna", "tsinghua", "edu", "cn"),
    )
)  # fmt: skip

# Calls that ask the machine for the time, for chance or for a file.
MACHINE = (
    r"^(open|random\..*|secrets\..*|time\..*|os\..*|asyncio\.sleep|uuid\.uuid[14]|uuid[14])$"
    r"|^(datetime|date|datetime\.datetime|datetime\.date)\.(now|today|utcnow)$"
    r"|\.(read_text|read_bytes|write_text|write_bytes)$"
)

# Actions of the policy table without a route, each with the issue that brings it.
COMING_ACTIONS: dict[str, str] = {}
# Facts of a contract that their service does not say yet, each with what brings it.
COMING_FACTS: dict[str, str] = {}


def tracked() -> list[Path]:
    """The files git knows (all files, where there is no git)."""
    done = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=False)
    names = done.stdout.split("\0") if done.returncode == 0 else []
    return [path for name in names if (path := ROOT / name).is_file()] or [p for p in ROOT.rglob("*") if p.is_file()]


def python(*folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Every Python file below some folders, parsed."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, parsed(path)


@cache
def parsed(path: Path) -> ast.Module:
    """A file, parsed once for all rules."""
    return ast.parse(path.read_text("utf-8"))


def pure() -> Iterator[tuple[Path, ast.Module]]:
    """Every file of a domain, its policies and its handlers."""
    for path, tree in python("services"):
        steps = path.relative_to(ROOT).with_suffix("").parts
        if len(steps) > 2 and steps[2] in PURE:
            yield path, tree


def strings(tree: ast.AST) -> set[str]:
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def names(tree: ast.AST) -> set[str]:
    """Every name that is used, imports not counted."""
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return used | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def asks_the_machine(tree: ast.AST) -> list[str]:
    """Calls that ask the machine for the time, for chance or for a file."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if re.search(MACHINE, called):
                found.append(called)
    return found


def floats(tree: ast.AST) -> list[str]:
    """Float literals and the name float, but not where one is looked for to be refused (`isinstance(x, float)`)."""
    asked = {
        id(leaf)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance"
        for leaf in ast.walk(node.args[1])
    }
    return [
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float" and id(node) not in asked)
    ]


def test_no_tracked_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked()
        for host in REGISTRIES
        if host.encode() in path.read_bytes()
    ]
    assert found == []


def test_there_is_no_module_for_whatever_fits_nowhere() -> None:
    empty_words = {"utils", "util", "common", "helpers", "helper", "misc", "lib", "base", "core", "tools"}
    found = [
        str(path.relative_to(ROOT))
        for folder in ("shared", "services", "deploy")
        for path in (ROOT / folder).rglob("*")
        if path.stem in empty_words and (path.is_dir() or path.suffix == ".py")
    ]
    assert found == []


def test_decision_0003_routes_are_declared_without_postponed_annotations() -> None:
    routes = [path for path in ROOT.glob("services/*/api*/**/*.py")] + [*ROOT.glob("services/*/api.py")]
    assert routes
    assert [str(path.relative_to(ROOT)) for path in routes if "import annotations" in path.read_text("utf-8")] == []


def test_no_folder_of_services_imports_its_neighbour_the_console_least_of_all() -> None:
    found = []
    for path, tree in python("services"):
        mine = ".".join(path.relative_to(ROOT).parts[:2])
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path.relative_to(ROOT)}: {name}" for name in modules if foreign(name, mine)]
    assert found == []
    assert foreign("services.evaluation.domain", "services.console")
    assert not foreign("services.console.pages", "services.console")


def foreign(module: str, mine: str) -> bool:
    """Whether a module belongs to a service other than this one."""
    return module.startswith("services.") and module != mine and not module.startswith(f"{mine}.")


def test_a_domain_never_asks_the_machine_for_time_chance_or_files() -> None:
    found = {str(path.relative_to(ROOT)): asked for path, tree in pure() if (asked := asks_the_machine(tree))}
    assert found == {}


def test_figures_are_never_floats() -> None:
    contracts = [(path, tree) for path, tree in python("shared/contracts", "shared/codes")]
    found = {str(path.relative_to(ROOT)): said for path, tree in [*pure(), *contracts] if (said := floats(tree))}
    assert found == {}


def test_a_fact_holds_plain_exact_values_only() -> None:
    allowed = {"str", "int", "bool", "Decimal", "date", "datetime", "NoneType"}

    def leaves(kind: object) -> Iterator[str]:
        if get_origin(kind) is not None:
            for part in get_args(kind):
                yield from leaves(part) if part is not Ellipsis else ()
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            for spec in kind.model_fields.values():
                yield from leaves(spec.annotation)
        elif isinstance(kind, type) and not issubclass(kind, str):
            yield kind.__name__

    for fact in facts():
        assert set(leaves(fact)) <= allowed, fact.__name__
        assert fact.__doc__, f"{fact.__name__} says nothing of what it means"
        assert fact.model_config["frozen"]


@pytest.mark.parametrize(
    ("planted", "check"),
    [
        ("datetime.now(UTC)", asks_the_machine),
        ("date.today()", asks_the_machine),
        ("random.choice(names)", asks_the_machine),
        ("Path('x').read_text()", asks_the_machine),
        ("open(path)", asks_the_machine),
        ("await asyncio.sleep(1)", asks_the_machine),
        ("share = 0.3", floats),
        ("float(total)", floats),
    ],
)
def test_what_is_planted_is_noticed(planted: str, check) -> None:  # type: ignore[no-untyped-def]
    assert check(ast.parse(planted))
    assert not check(ast.parse(f"at = clock; value = {Decimal('1')!r}; now = at; notice = Notice.open(at)"))


def test_every_action_of_the_policy_table_is_used_by_a_route_or_said_to_be_coming() -> None:
    doors = [tree for path, tree in python("services", "shared/doors") if path.name != "policy.py"]
    used = {action for tree in doors for action in strings(tree) & ROLES.keys()}
    assert ROLES.keys() - used - COMING_ACTIONS.keys() == set()
    assert COMING_ACTIONS.keys() & used == set(), "it has come: take it off the list"


@pytest.mark.parametrize("publisher", PUBLISHERS)
def test_every_fact_of_a_contract_is_said_by_its_service_or_said_to_be_coming(publisher: str) -> None:
    package = f"services/{SERVICES[publisher].name}"
    recorded = {name for path, tree in python(package) for name in names(tree) if path.stem != "subscribers"}
    mine = {fact.__name__ for fact in facts() if fact.topic.service == publisher}
    assert mine - recorded - COMING_FACTS.keys() == set()
    assert COMING_FACTS.keys() & recorded & mine == set(), "it has come: take it off the list"


@pytest.mark.parametrize("service", hearing.services(ROOT), ids=lambda service: service.publisher)
def test_a_package_says_what_it_hears_and_says_just_as_its_table_and_contract_do(service: hearing.Service) -> None:
    text = " ".join((ROOT / service.package / "__init__.py").read_text("utf-8").split())
    for word, said in (("Hears", service.hears), ("Says", service.says)):
        line = re.search(rf"{word}: (.*?)\.", text)
        assert line, f"no line `{word}: …`"
        assert tuple(line[1].split(", ")) == (said or ("nothing",)), "run `make contracts`"


@pytest.mark.parametrize("service", hearing.services(ROOT), ids=lambda service: service.publisher)
def test_the_table_read_as_text_is_the_table_that_runs(service: hearing.Service) -> None:
    if not service.hears:
        assert not list((ROOT / service.package).glob("subscribers*"))
        return
    module = __import__(f"{service.package.replace('/', '.')}.subscribers", fromlist=["reactions"])
    parameters = module.reactions.__code__.co_argcount
    table = module.reactions(*(MagicMock() for _ in range(parameters)))
    assert {fact.__name__ for fact in table} == set(service.hears)
