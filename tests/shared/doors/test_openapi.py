"""The API document and its page: valid, complete about keys, tokens and problems, and without a network."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator

PROJECT = Path(__file__).resolve().parents[3]
SERVICES = sorted(path.parent.name for path in PROJECT.glob("services/*/main.py"))


async def test_the_document_is_valid_and_says_what_a_command_needs(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()

    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    command = document["paths"]["/chains"]["post"]
    assert command["security"] == [{"bearer": []}]
    headers = {parameter["name"]: parameter["required"] for parameter in command["parameters"]}
    assert headers == {"Idempotency-Key": True, "If-Match": False}
    for status in ("400", "401", "403", "404", "409", "412", "413", "415", "422", "503"):
        schema = command["responses"][status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}
    assert command["responses"]["201"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Answer"
    }
    assert "HTTPValidationError" not in document["components"]["schemas"]
    read = document["paths"]["/chains"]["get"]
    assert {parameter["name"] for parameter in read["parameters"]} == {"limit", "cursor", "effective", "known"}
    assert read["security"] == [{"bearer": []}]
    form = document["paths"]["/imports"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["$ref"]
    assert "file" in document["components"]["schemas"][form.rpartition("/")[2]]["required"]


async def test_a_real_problem_fits_the_documented_schema(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/openapi.json")).json()
    body = (await http.post("/chains", json={"name": ""}, headers={"Idempotency-Key": "k"})).json()

    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["required"]) <= set(body) <= set(problem["properties"])
    fault = document["components"]["schemas"]["FieldFault"]
    assert set(fault["required"]) <= set(body["errors"][0]) <= set(fault["properties"])


async def test_the_page_and_all_it_loads_come_from_the_service_itself(http: httpx2.AsyncClient) -> None:
    page = await http.get("/docs")

    assert page.status_code == 200
    assert "//" not in page.text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for path in loaded:
        asset = await http.get(f"/{path}")
        assert asset.status_code == 200
        assert len(asset.content) > 100
    assert "'unsafe-inline'" not in page.headers["content-security-policy"].split("style-src")[0]
    assert (await http.get("/docs/redoc.standalone.js")).status_code == 404
    assert (await http.get("/docs/..%2f__init__.py")).status_code == 404


async def test_the_page_needs_no_token_and_its_script_asks_for_the_document_beside_it(app: FastAPI) -> None:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as http:
        assert (await http.get("/docs")).status_code == 200
        assert '"openapi.json"' in (await http.get("/docs/start.js")).text
        assert (await http.get("/openapi.json")).status_code == 200


def run(service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "shared.doors.openapi", f"services.{service}.main:app", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_document_is_written_without_starting_anything_and_is_valid(service: str, tmp_path: Path) -> None:
    target = tmp_path / "docs" / f"{service}.json"

    written = run(service, str(target))

    assert written.returncode == 0, written.stderr
    OpenAPIV31SpecValidator(json.loads(target.read_text())).validate()


def test_a_stale_document_is_told(tmp_path: Path) -> None:
    target = tmp_path / "old.json"
    target.write_text("{}")

    stale = run(SERVICES[0], str(target), "--check")

    assert stale.returncode == 1
    assert "is stale" in stale.stderr
    assert target.read_text() == "{}"
