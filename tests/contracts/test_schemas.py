"""What is generated from the contracts is committed, fresh, and valid by its own standard."""

from __future__ import annotations

import json
import shutil
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import Draft7Validator
from referencing.exceptions import Unresolvable

from deploy.contracts import __main__ as command
from deploy.contracts import asyncapi, hearing, page
from deploy.contracts.schemas import DECIMAL, FOLDER, facts, files, schema_of
from shared.contracts import PUBLISHERS, Fact

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = json.loads((Path(__file__).parent / "asyncapi-3.0.0.json").read_text("utf-8"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout's contracts and pages, freshly remade, to be spoilt."""
    for name in command.generated(ROOT):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    for service in hearing.services(ROOT):
        if (ROOT / service.package).exists():
            shutil.copytree(ROOT / service.package, tmp_path / service.package, dirs_exist_ok=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    command.write(tmp_path)
    return tmp_path


def test_everything_generated_is_committed_and_fresh() -> None:
    assert command.stale(ROOT) == [], "run `make contracts` and commit what it writes"


def test_making_twice_gives_the_same_bytes() -> None:
    assert command.generated(ROOT) == command.generated(ROOT)


def test_a_stale_a_missing_and_a_stray_file_are_each_named(copy: Path) -> None:
    assert command.stale(copy) == []
    stale = copy / FOLDER / "pilot-registration" / "PilotDrafted.v1.json"
    stale.write_text(stale.read_text("utf-8").replace("lead_region", "region"), "utf-8")
    missing = copy / FOLDER / "evaluation" / "ScorecardPublished.v1.json"
    missing.unlink()
    stray = copy / FOLDER / "evaluation" / "Forgotten.v1.json"
    stray.write_text("{}", "utf-8")
    spoilt = {str(path.relative_to(copy)) for path in (stale, missing, stray)}
    assert set(command.stale(copy)) == spoilt
    assert {line.removesuffix(" (removed)") for line in command.write(copy)} == spoilt
    assert command.stale(copy) == []


@pytest.mark.parametrize("fact", facts(), ids=lambda fact: fact.__name__)
def test_every_fact_has_a_valid_schema_that_says_where_it_travels(fact: type[Fact]) -> None:
    schema = schema_of(fact)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:liandong:schema:{fact.__name__}:1"
    assert (schema["x-topic"], schema["x-partitions"]) == (fact.topic.name, fact.topic.partitions)
    assert fact.key in schema["required"], "the key of a fact is never optional"
    assert schema["description"]


def test_there_is_one_file_per_fact_under_its_publisher() -> None:
    assert set(files()) == {f"{FOLDER}/{fact.topic.service}/{fact.__name__}.v1.json" for fact in facts()}
    assert {fact.topic.service for fact in facts()} == set(PUBLISHERS), "a fact's topic belongs to its publisher"


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_every_figure_fits_the_pattern_of_figures(value: Decimal) -> None:
    Draft202012Validator({"type": "string", "pattern": DECIMAL}).validate(str(value))


@pytest.mark.parametrize("wrong", [0.5, "0.5 %", "", "NaN", "1,5", None])
def test_what_is_no_figure_does_not(wrong: object) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator({"type": "string", "pattern": DECIMAL}).validate(wrong)


def test_the_command_fails_while_something_is_stale_and_says_what(
    copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--check"], copy) == 0
    (copy / page.PATH).write_text("# Events\n", "utf-8")
    assert command.main(["--check"], copy) == 1
    assert f"stale: {page.PATH}" in capsys.readouterr().out
    assert command.main([], copy) == 0
    assert f"written: {page.PATH}" in capsys.readouterr().out
    assert command.main(["--check"], copy) == 0


def test_the_command_fails_on_a_change_that_breaks_a_reader(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    landed = copy / FOLDER / "pilot-registration" / "PilotDrafted.v1.json"
    schema = json.loads(landed.read_text("utf-8"))
    schema["properties"]["slogan"] = {"type": "string"}
    landed.write_text(json.dumps(schema), "utf-8")
    git = ("git", "-C", str(copy), "-c", "user.name=t", "-c", "user.email=t@example.org")
    for step in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "landed with a slogan")):
        subprocess.run([*git, *step], check=True, capture_output=True)
    assert command.main([], copy) == 1
    assert "REFUSED PilotDrafted.v1: field slogan removed" in capsys.readouterr().out


# --- AsyncAPI ---


def dangling(document: object, root: object | None = None) -> list[str]:
    """Every `$ref` of a document that points nowhere inside it."""
    root = document if root is None else root
    if isinstance(document, list):
        return [found for item in document for found in dangling(item, root)]
    if not isinstance(document, dict):
        return []
    found = [found for item in document.values() for found in dangling(item, root)]
    if isinstance(reference := document.get("$ref"), str):
        place = root
        for step in reference.removeprefix("#/").split("/"):
            place = place.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(place, dict) else None
        if not reference.startswith("#/") or place is None:
            found.append(reference)
    return found


def test_the_asyncapi_document_is_valid_by_the_official_schema_and_has_no_dangling_reference() -> None:
    document = json.loads((ROOT / asyncapi.PATH).read_text("utf-8"))
    Draft7Validator(OFFICIAL).validate(document)
    assert dangling(document) == []
    assert set(document["components"]["messages"]) == {fact.__name__ for fact in facts()}
    for schema in document["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_the_official_schema_and_the_walker_each_catch_what_is_planted() -> None:
    document = json.loads((ROOT / asyncapi.PATH).read_text("utf-8"))
    operation = next(iter(document["operations"].values()))
    operation["messages"][0]["$ref"] += "Gone"
    assert dangling(document) == [operation["messages"][0]["$ref"]]
    operation["action"] = "shout"
    with pytest.raises((ValidationError, Unresolvable), match="shout"):
        Draft7Validator(OFFICIAL).validate(document)


def test_whoever_hears_a_fact_receives_its_message_on_its_topic() -> None:
    document = json.loads((ROOT / asyncapi.PATH).read_text("utf-8"))
    received = {
        (name.split(".hears.")[0], message["$ref"].rpartition("/")[2])
        for name, operation in document["operations"].items()
        if operation["action"] == "receive"
        for message in operation["messages"]
    }
    heard = {(service.publisher, name) for service in hearing.services(ROOT) for name in service.hears}
    assert received == heard
    assert ("evaluation", "PartyRegistered") in heard


# --- who hears what ---


def test_the_page_names_every_fact_with_its_meaning_and_its_hearers() -> None:
    text = (ROOT / page.PATH).read_text("utf-8")
    for fact in facts():
        section = text.split(f"\n#### {fact.__name__}\n")[1].split("\n#### ")[0]
        assert f"`{fact.type_name()}`" in section
        for name in fact.model_fields:
            assert f"| `{name}` |" in section
    beside = {part.split(")")[0] for part in text.split("](../")[1:]}
    assert [name for name in beside if not (ROOT / name).exists()] == []
    links = {part.split(")")[0] for part in text.split("](#")[1:]}
    anchors = {line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")}
    assert links <= anchors


def test_a_reactions_table_that_hides_a_fact_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "subscribers.py"
    table.write_text("def reactions(x):\n    return {PilotApproved: x.a, contracts.PilotDrafted: x.b}\n", "utf-8")
    assert hearing.hears(tmp_path) == ("PilotDrafted", "PilotApproved")
    for hidden in ("{**others}", "{name: x.a for name in names, 'PilotApproved': 1}", "{'PilotApproved': x.a}"):
        table.write_text(
            f"def reactions(x):\n    return {hidden.replace('name: x.a for name in names, ', '')}\n", "utf-8"
        )
        with pytest.raises(ValueError, match="must name each fact"):
            hearing.hears(tmp_path)


def test_a_docstring_is_remade_in_place_however_its_lines_are_wrapped() -> None:
    service = hearing.Service("evaluation", ("A",), tuple(f"Fact{number}" for number in range(30)))
    before = '"""Owns x.\n\nHears: old,\n    older.\nSays: nothing\nyet.\n\nMore.\n"""\n'
    after = hearing.docstring(before, service)
    assert after.startswith('"""Owns x.\n\nHears: A.\nSays: Fact0, ')
    assert after.endswith('Fact29.\n\nMore.\n"""\n')
    assert max(map(len, after.splitlines())) <= 120
    assert hearing.docstring(after, service) == after
    with pytest.raises(ValueError, match="needs the lines"):
        hearing.docstring('"""Owns x."""\n', service)
