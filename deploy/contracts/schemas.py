"""A JSON Schema (2020-12) per fact and version, as the data of the fact stands on the wire."""

from __future__ import annotations

import json
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from shared.contracts import PUBLISHERS, Fact, facts_of

FOLDER = "shared/contracts/schemas"
DECIMAL = r"^-?[0-9]+(\.[0-9]+)?(E[+-]?[0-9]+)?$"
"""A figure: decimal digits in a string, exact; never a JSON number."""


class _Wire(GenerateJsonSchema):
    """Pydantic's schema, with figures told apart from other text and without the titles that repeat a field's name."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        """Decimals travel as text."""
        return {"type": "string", "pattern": DECIMAL, "$comment": "decimal"}

    def get_title_from_name(self, name: str) -> str:
        """No title per field: it would only say the name again."""
        return ""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """See get_title_from_name."""
        return False


def schema_of(fact: type[Fact]) -> dict[str, Any]:
    """The schema of a fact's data, with its topic, partitions and key as annotations."""
    body = fact.model_json_schema(mode="serialization", schema_generator=_Wire)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:liandong:schema:{fact.__name__}:1",
        "title": body.pop("title"),
        "description": body.pop("description"),
        "x-topic": fact.topic.name,
        "x-partitions": fact.topic.partitions,
        "x-key": fact.key,
    }
    parts = {"$defs": body.pop("$defs")} if "$defs" in body else {}
    return head | body | parts


def facts() -> tuple[type[Fact], ...]:
    """Every fact of every publisher, in the order of the contract files."""
    return tuple(fact for publisher in PUBLISHERS for fact in facts_of(publisher))


def files() -> dict[str, str]:
    """Path and text of every schema file."""
    return {f"{FOLDER}/{fact.topic.service}/{fact.__name__}.v1.json": text(schema_of(fact)) for fact in facts()}


def text(document: dict[str, Any]) -> str:
    """A JSON document as it is committed: readable, stable, in the order it was built."""
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
