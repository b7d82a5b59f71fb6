"""Where incentive_scoring keeps its things, and the policy files people write."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import yaml

from services.incentive_scoring.policies.rules import PolicyDocument
from shared.log.indexes import Index

POLICY_FILES = Path(__file__).with_name("policies_data")

COLLECTIONS = (
    "tilt_policies", "award_dockets", "tilt_decisions", "vetoes", "base_score_imports", "deciding",
    "known_parties", "known_scorecards", "known_assessments",
)  # fmt: skip
INDEXES = (
    Index("tilt_decisions", (("docket_id", 1), ("_id", 1))),
    Index("tilt_decisions", (("subject", 1), ("_id", 1))),
    Index("tilt_decisions", (("level", 1), ("state", 1), ("subject_kind", 1), ("_id", 1))),
    Index("award_dockets", (("state", 1), ("level", 1))),
    Index("vetoes", (("subject_kind", 1), ("state", 1), ("_id", 1))),
    Index("known_scorecards", (("scorecard_id", 1), ("revision", -1))),
)


class PolicyFileWrong(Exception):
    """A policy file cannot be read, or says what a policy cannot say; the message names file and place."""


def policy_files(folder: Path = POLICY_FILES) -> MappingProxyType[str, PolicyDocument]:
    """Every policy file by version, checked; a wrong one stops the service with a sentence that names it."""
    found: dict[str, PolicyDocument] = {}
    for path in sorted(folder.glob("*.yaml")):
        try:
            document = PolicyDocument.model_validate(yaml.load(path.read_text("utf-8"), _NoTwice))  # noqa: S506
        except (yaml.YAMLError, ValueError) as wrong:
            raise PolicyFileWrong(f"{path.name}: {wrong}") from wrong
        if document.version != path.stem:
            raise PolicyFileWrong(f"{path.name} holds version {document.version}: name and version must agree")
        found[document.version] = document
    return MappingProxyType(found)


class _NoTwice(yaml.SafeLoader):
    """A safe loader that refuses a key given twice: YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:
        """The mapping, each key once."""
        keys = [self.construct_object(key, deep=True) for key, _value in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.constructor.ConstructorError(None, None, f"a key stands twice in {keys}", node.start_mark)
        return super().construct_mapping(node, deep)


def policy_schema() -> dict[str, object]:
    """The JSON Schema of a policy file, committed beside the files for whoever writes one."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | PolicyDocument.model_json_schema()
    return schema | {"title": "倾斜政策 tilt policy"}
