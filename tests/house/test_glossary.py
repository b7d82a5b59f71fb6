"""One word per thing: contracts, domains and resource paths are built from docs/glossary.md, and from nothing else."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.contracts.schemas import facts
from shared.contracts import PUBLISHERS, Fact

ROOT = Path(__file__).resolve().parents[2]
GLOSSARY = (ROOT / "docs/glossary.md").read_text("utf-8")

# Plain English that joins domain words in names of errors and parts. No nouns of the domain belong here.
PLAIN = set(
    "Kind Class Value Range Input Not Already Without Of And By For In No To Is Too Many Missing Wrong Unknown Invalid "
    "Same Other Own Open Pending Outdated Empty Begun Nothing Only Never Out".split()
)
# Resources that are no domain word: doors that every service or every tool has.
TECHNICAL = {"health", "metrics", "operations", "openapi.json", "docs", "workbooks"}


def words(name: str) -> list[str]:
    """`NQICoverage` and `RankedPlace` as single words."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z0-9]*", name)


def cells(heading: str) -> list[list[str]]:
    """The rows of every table whose header row has this column, without header and ruler."""
    rows: list[list[str]] = []
    inside = False
    for line in GLOSSARY.splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []
        if heading in row:
            inside = True
        elif not row:
            inside = False
        elif inside and not set(row[0]) <= set("-"):
            rows.append(row)
    return rows


IDENTIFIERS = [name for row in cells("identifier") for name in re.findall(r"[A-Z][A-Za-z]*", row[1])]
NOUNS = {word for name in IDENTIFIERS for word in words(name)}
VERBS = {cell for row in cells("verb") for cell in row if re.fullmatch(r"[A-Z][A-Za-z]+", cell)}
SPOKEN = {word for verb in VERBS for word in words(verb)}


REFUSED = {
    word
    for line in GLOSSARY.partition("Words we do not use")[2].splitlines()
    for word in re.findall(r"[A-Z][a-z]+", line.partition(":")[0])
    if line.startswith("- ")
}


def domain_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    """Every public class of the contracts and domains, with where it stands."""
    files = [ROOT / "shared/contracts" / f"{name.replace('-', '_')}.py" for name in PUBLISHERS]
    files += [*ROOT.glob("services/*/domain.py"), *ROOT.glob("services/*/domain/**/*.py")]
    for path in files:
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                yield str(path.relative_to(ROOT)), node


def refusal_classes() -> set[str]:
    """The errors of the domains: their names are short sentences (`NoticeStillOpen`) in any but the refused words."""
    refusals = {"DomainError", "Forbidden", "NotFound", "InvalidInput"}
    parents = [(node.name, {ast.unparse(base) for base in node.bases}) for _, node in domain_classes()]
    while found := {name for name, bases in parents if bases & refusals} - refusals:
        refusals |= found
    return refusals


def strange(name: str) -> list[str]:
    """The words of a class name that are neither of the glossary nor plain English."""
    return [word for word in words(name) if not {word, word.removesuffix("s")} & (NOUNS | SPOKEN | PLAIN)]


def paths() -> Iterator[tuple[str, str]]:
    """The first step of every route of every service's doors, with where it stands."""
    for path in (*ROOT.glob("services/*/api.py"), *ROOT.glob("services/*/api/**/*.py")):
        if path.parts[-2] == "console":
            continue
        for found in re.finditer(r"\.(?:get|post|put|delete|patch)\(\s*\"/([a-z.-]+)", path.read_text("utf-8")):
            yield str(path.relative_to(ROOT)), found[1]


def singular(step: str) -> str:
    """`quality-issues` as `QualityIssue`."""
    name = "".join(part.capitalize() for part in step.split("-"))
    for ending, replacement in (("ies", "y"), ("oes", "o"), ("s", "")):
        if name.endswith(ending):
            return name.removesuffix(ending) + replacement
    return name


def test_every_word_is_listed_once_in_chinese_and_english() -> None:
    assert len(IDENTIFIERS) > 70
    rows = cells("identifier")
    assert all(len(row) == 4 and all(row) for row in rows)
    assert all(re.search(r"[\u4e00-\u9fff]", row[0] + row[2]) and re.search(r"[A-Za-z]", row[3]) for row in rows)
    names = [name for row in rows for name in re.findall(r"[A-Z][A-Za-z.]*", row[1])]
    assert [name for name in names if names.count(name) > 1] == []


def test_the_mission_s_words_are_all_there() -> None:
    mission = """PilotRegion Pilot Chain QualityMap QualityIssue IssueList LinkagePlan Consortium KeyProjectList
    PolicyToolList KeyProject ChainRole Enterprise Institution PublicNotice Objection AssistanceRequest Match Engagement
    Capability CapabilityGap SharedResource Booking OneStopSite TrainingBase TrainingSession Attachment Learner
    ChiefQualityOfficer Credential Indicator Scorecard Assessment Appraisal RiskSignal TraceLink TiltPolicy TiltDecision
    Veto AwardDocket ConflictOfInterest"""
    assert set(mission.split()) <= set(IDENTIFIERS)


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.__name__)
def test_a_fact_is_a_thing_of_the_glossary_and_a_verb_in_the_past(fact: type[Fact]) -> None:
    verbs = [verb for verb in VERBS if fact.__name__.endswith(verb)]
    assert verbs, "ends with no verb of the glossary"
    things = fact.__name__.removesuffix(max(verbs, key=len))
    assert [word for word in words(things) if not {word, word.removesuffix("s")} & (NOUNS | {"Not"})] == []


def test_what_a_fact_is_about_is_one_identifier_of_the_glossary() -> None:
    bases = {base.__name__ for fact in facts() for base in fact.__mro__ if "topic" in vars(base) and base is not Fact}
    bases -= {fact.__name__ for fact in facts()}
    assert {
        name for name in bases if not name.endswith("Fact") or name.removesuffix("Fact") not in IDENTIFIERS
    } == set()


def test_public_classes_of_contracts_and_domains_use_only_these_words() -> None:
    refusals = refusal_classes()
    wrong = {
        f"{path}: {node.name}": words_left
        for path, node in domain_classes()
        if node.name not in refusals and (words_left := strange(node.name.removesuffix("Fact")))
    }
    assert wrong == {}, "add the word to docs/glossary.md in both languages, or say it with the words that are there"


def test_every_aggregate_bears_an_identifier_of_the_glossary() -> None:
    aggregates = {
        node.name
        for _, node in domain_classes()
        if any(isinstance(base, ast.Name) and base.id == "Aggregate" for base in node.bases)
    }
    assert aggregates
    assert aggregates - set(IDENTIFIERS) == set()


def test_no_class_of_contracts_and_services_says_a_word_we_do_not_use() -> None:
    assert {"Company", "Application", "Manager"} <= REFUSED
    found = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for folder in ("shared/contracts", "services")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef) and REFUSED & set(words(node.name))
    ]
    assert found == []


def test_resource_paths_are_identifiers_in_the_plural() -> None:
    found = dict((step, path) for path, step in paths())
    assert found
    assert {
        step: path for step, path in found.items() if step not in TECHNICAL and singular(step) not in IDENTIFIERS
    } == {}


@pytest.mark.parametrize("name", ["PilotApplication", "CompanyRegistered", "BonusDecided", "ProjectEntity"])
def test_a_name_with_another_word_is_noticed(name: str) -> None:
    assert strange(name)


@pytest.mark.parametrize("step", ["projects", "quality-issue-lists", "tilts-decisions", "bonuses"])
def test_a_path_with_another_word_is_noticed(step: str) -> None:
    assert singular(step) not in IDENTIFIERS
