"""The schema gate lets through what every reader can meet, and names each break that is planted."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.contracts import gate
from deploy.contracts.schemas import FOLDER, files, schema_of, text
from shared.contracts.pilot_registration import IssueListed

ROOT = Path(__file__).resolve().parents[2]
NAME = f"{FOLDER}/pilot-registration/IssueListed.v1.json"
TEXT = {"type": "string"}
Schema = dict[str, Any]
Change = Callable[[Schema], object]


def changed(change: Change) -> Schema:
    """Today's schema of IssueListed after a change."""
    schema = copy.deepcopy(schema_of(IssueListed))
    change(schema)
    return schema


def removed(schema: Schema, name: str) -> None:
    del schema["properties"][name]
    schema["required"].remove(name)


def required(schema: Schema, name: str) -> None:
    schema["properties"][name] = TEXT
    schema["required"].append(name)


def measure(schema: Schema) -> Schema:
    return schema["$defs"]["Measure"]


COMPATIBLE: dict[str, Change] = {
    "nothing": lambda schema: None,
    "an optional field": lambda schema: schema["properties"].update(note=TEXT),
    "an optional field that may be empty": lambda schema: schema["properties"].update(
        note={"anyOf": [TEXT, {"type": "null"}], "default": None}
    ),
    "an optional field of a part": lambda schema: measure(schema)["properties"].update(unit=TEXT),
    "better words": lambda schema: schema.update(description="Said better."),
    "a part under a new name": lambda schema: (
        schema["$defs"].update(Figure=schema["$defs"].pop("Measure")),
        schema["properties"].update(baseline={"$ref": "#/$defs/Figure"}),
    ),
}

BREAKING: dict[str, tuple[Change, str]] = {
    "a removed field": (lambda schema: removed(schema, "owner"), "field owner removed"),
    "a new required field": (lambda schema: required(schema, "note"), "required field note added"),
    "a required field made optional": (lambda schema: schema["required"].remove("owner"), "owner became optional"),
    "a changed type": (lambda schema: schema["properties"].update(grade=TEXT), "grade changed from integer to string"),
    "a wider type": (
        lambda schema: schema["properties"].update(owner={"anyOf": [TEXT, {"type": "null"}]}),
        "owner changed from string to null|string",
    ),
    "a value more in an enum": (
        lambda schema: schema["$defs"]["IssueClass"]["enum"].append("safety"),
        "issue_class can now say 'safety'",
    ),
    "a value less in an enum": (
        lambda schema: schema["$defs"]["IssueClass"]["enum"].remove("brand"),
        "issue_class no longer knows 'brand'",
    ),
    "a changed pattern": (
        lambda schema: measure(schema)["properties"]["value"].update(pattern="^[0-9]+$"),
        "baseline.value changed its pattern",
    ),
    "a dropped pattern": (
        lambda schema: measure(schema)["properties"]["value"].pop("pattern"),
        "baseline.value changed its pattern",
    ),
    "a changed format": (
        lambda schema: measure(schema)["properties"]["on"].update(format="date-time"),
        "baseline.on changed its format from 'date' to 'date-time'",
    ),
    "a removed field of a part": (lambda schema: removed(measure(schema), "n"), "field baseline.n removed"),
    "a new required field of a part": (
        lambda schema: required(measure(schema), "unit"),
        "required field baseline.unit added",
    ),
    "another topic": (
        lambda schema: schema.update({"x-topic": "evaluation.issues"}),
        "topic pilot-registration.issues",
    ),
    "more partitions": (lambda schema: schema.update({"x-partitions": 12}), "partitions 6 became 12"),
    "another key": (lambda schema: schema.update({"x-key": "pilot_id"}), "key issue_id became pilot_id"),
}


@pytest.mark.parametrize("planted", COMPATIBLE)
def test_a_compatible_change_passes(planted: str) -> None:
    old, new = schema_of(IssueListed), changed(COMPATIBLE[planted])
    assert gate.breaks({NAME: old}, {NAME: new}) == []


@pytest.mark.parametrize("planted", BREAKING)
def test_a_breaking_change_is_refused_by_name(planted: str) -> None:
    change, sentence = BREAKING[planted]
    found = gate.breaks({NAME: schema_of(IssueListed)}, {NAME: changed(change)})
    assert len(found) == 1, found
    assert found[0].startswith("IssueListed.v1: ")
    assert sentence in found[0]


def test_a_withdrawn_fact_is_refused_and_a_new_one_is_not() -> None:
    old = {NAME: schema_of(IssueListed)}
    assert gate.breaks(old, {}) == ["IssueListed.v1: the fact is withdrawn, its readers wait for ever"]
    assert gate.breaks({}, old) == []


# --- what it compares with ---


class Checkout:
    """A small git checkout with one schema in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str) -> None:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        subprocess.run(["git", "-C", self.root, *identity, *arguments], check=True, capture_output=True)

    def commit(self, schema: Schema, name: str = NAME) -> None:
        """Commits one state of a schema."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text(schema), "utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "a state")


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def with_note(schema: Schema) -> None:
    schema["properties"]["note"] = TEXT


def test_rule_25_before_the_first_release_a_schema_is_held_to_the_state_it_landed_with(checkout: Checkout) -> None:
    checkout.commit(schema_of(IssueListed))
    checkout.commit(changed(with_note))
    against = gate.baseline(checkout.root)
    assert (against.name, against.partial) == (gate.FIRST_LANDED, "")
    assert against.schemas == {NAME: schema_of(IssueListed)}
    assert gate.refused(checkout.root, {NAME: changed(lambda schema: removed(schema, "owner"))}, against)


def test_rule_25_after_a_release_it_is_held_to_the_newest_one(checkout: Checkout) -> None:
    checkout.commit(schema_of(IssueListed))
    checkout.git("tag", "v0.1.0")
    checkout.commit(changed(with_note))
    checkout.git("tag", "v0.2.0")
    checkout.git("tag", "not-a-release")
    checkout.commit(schema_of(IssueListed))
    against = gate.baseline(checkout.root)
    assert against.name == "release v0.2.0"
    assert gate.refused(checkout.root, {NAME: schema_of(IssueListed)}, against) == [
        "IssueListed.v1: field note removed: old consumers look for it"
    ]


def test_a_shallow_clone_and_an_archive_are_told_what_is_missing(checkout: Checkout, tmp_path: Path) -> None:
    checkout.commit(schema_of(IssueListed))
    checkout.commit(changed(with_note))
    shallow = tmp_path / "shallow"
    checkout.git("clone", "-q", "--depth", "1", f"file://{checkout.root}", str(shallow))
    assert "shallow" in gate.baseline(shallow).partial
    archive = tmp_path.parent / f"{tmp_path.name}-archive"
    archive.mkdir()
    against = gate.baseline(archive)
    assert against.schemas == {}
    assert "no git history" in against.partial


def test_a_break_is_accepted_only_in_writing_and_only_while_it_is_one(checkout: Checkout) -> None:
    checkout.commit(schema_of(IssueListed))
    against = gate.baseline(checkout.root)
    broken = {NAME: changed(lambda schema: removed(schema, "owner"))}
    sentence = "IssueListed.v1: field owner removed: old consumers look for it"
    assert gate.refused(checkout.root, broken, against) == [sentence]
    accepted = checkout.root / gate.ACCEPTED
    accepted.write_text(json.dumps({against.name: {sentence: "nobody ever read it, decision 0099"}}), "utf-8")
    assert gate.refused(checkout.root, broken, against) == []
    assert "accepts what is no break" in gate.refused(checkout.root, {NAME: schema_of(IssueListed)}, against)[0]
    accepted.write_text(json.dumps({"release v0.0.1": {sentence: "long ago"}}), "utf-8")
    assert len(gate.refused(checkout.root, broken, against)) == 2


def test_rule_25_the_contracts_of_this_checkout_break_no_reader() -> None:
    current = {name: json.loads(content) for name, content in files().items()}
    assert gate.refused(ROOT, current, gate.baseline(ROOT)) == []
