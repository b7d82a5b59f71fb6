"""The API document of a service, OpenAPI 3.1, and its page, which needs no network.

`python -m shared.doors.openapi services.evaluation.main:app docs/openapi/evaluation.json` writes the document without
starting anything; `--check` compares instead and fails when the file is stale.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse, Response

from shared.kernel import NotFound

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
# The page's own script inline would need 'unsafe-inline'; Swagger UI sets style attributes and data: images.
_PAGE_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"
_START = b"""window.onload = () => SwaggerUIBundle({
  url: "openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null, tryItOutEnabled: false,
});
"""
_PROBLEMS = {
    "400": "The request is malformed 请求有误",
    "401": "Sign in first 请先登录",
    "403": "Your role does not carry this action 角色无权",
    "404": "Missing, or outside your scope 没有,或不在管辖范围",
    "409": "Not possible in the present state 当前状态不允许",
    "412": "If-Match names another version 版本已变",
    "413": "Too large 内容过大",
    "415": "Neither JSON nor a form 类型不支持",
    "422": "A field breaks a rule; every one is listed 字段有误",
    "503": "Try again with the same Idempotency-Key 请稍后用同一键重试",
}
_OF_COMMANDS = tuple(_PROBLEMS)
_OF_READS = ("400", "401", "403", "404", "422", "503")
_PROBLEM = {
    "title": "Problem",
    "type": "object",
    "description": "RFC 9457. `code` is stable; `detail` follows Accept-Language; both languages are always there.",
    "required": ["type", "title", "status", "code", "detail", "detail_zh", "detail_en"],
    "properties": {
        "type": {"type": "string", "format": "uri", "examples": ["urn:liandong:problem:invalid-input"]},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "detail_zh": {"type": "string"},
        "detail_en": {"type": "string"},
        "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldFault"}},
    },
}
_FIELD_FAULT = {
    "title": "FieldFault",
    "type": "object",
    "description": "One fault of one field; of an uploaded workbook also sheet, row (as Excel counts) and column.",
    "required": ["field", "rule", "zh", "en"],
    "properties": {
        "field": {"type": "string"},
        "rule": {"type": "string"},
        "zh": {"type": "string"},
        "en": {"type": "string"},
        "value": {"type": "string"},
        "sheet": {"type": "string"},
        "row": {"type": "integer", "minimum": 0},
        "column": {"type": "string"},
    },
}
_ANSWER = {
    "title": "Answer",
    "type": "object",
    "description": "What a command answers: the aggregate, its version (also as ETag), the ids of the facts written.",
    "required": ["id", "version", "facts", "details"],
    "properties": {
        "id": {"type": "string"},
        "version": {"type": "integer", "minimum": 0},
        "facts": {"type": "array", "items": {"type": "string", "format": "uuid"}},
        "details": {"type": "object"},
    },
}


def install(app: FastAPI) -> None:
    """`/openapi.json` with problems, keys and tokens spelled out, and `/docs` with everything it needs."""
    _serve_page(app)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def text_of(app: FastAPI) -> str:
    """The document as it is committed: sorted, indented, ending in a line feed."""
    return json.dumps(app.openapi(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Writes or (`--check`) compares the document of `module:factory`; answers the exit code."""
    check = "--check" in arguments
    source, target = (argument for argument in arguments if argument != "--check")
    module, _, factory = source.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        for name in ("mongo_password", "hmac_key", "cursor_key"):
            Path(folder, name).write_text("unused")
        os.environ.update(
            LIANDONG_ENV="test", LIANDONG_KAFKA="127.0.0.1:1", LIANDONG_MONGO="127.0.0.1:1",
            LIANDONG_ISSUER="http://127.0.0.1:1", LIANDONG_SECRETS_DIR=folder, LIANDONG_LOG_LEVEL="error",
        )  # fmt: skip
        text = text_of(getattr(importlib.import_module(module), factory)())
    path = Path(target)
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{target} is stale: python -m shared.doors.openapi {source} {target}", file=sys.stderr)
    return 1


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, routes=app.routes, tags=app.openapi_tags)
    document["servers"] = [{"url": "/"}]
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    schemas |= {"Problem": _PROBLEM, "FieldFault": _FIELD_FAULT, "Answer": _ANSWER}
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    parameters = operation.get("parameters", [])
    keyed = [parameter for parameter in parameters if parameter["name"] == "Idempotency-Key"]
    for parameter in keyed:
        parameter["required"] = True
        parameter["schema"] = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"}
    secured = bool(operation.get("security"))
    statuses = _OF_COMMANDS if keyed else _OF_READS if secured else ()
    for status in statuses:
        content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
        responses[status] = {"description": _PROBLEMS[status], "content": content}
    for status, response in responses.items():
        if status.startswith("2"):
            response.setdefault("headers", {})["X-Correlation-Id"] = {"schema": {"type": "string"}}
            empty = response.get("content", {}).get("application/json", {})
            if keyed and empty.get("schema") == {}:
                empty["schema"] = {"$ref": "#/components/schemas/Answer"}
                response["headers"]["ETag"] = {"schema": {"type": "string"}, "description": "The version, in quotes"}


def _serve_page(app: FastAPI) -> None:
    found = importlib.util.find_spec("fastapi_offline")
    assert found is not None
    assert found.origin is not None
    folder = Path(found.origin).parent / "static"
    headers = {"Content-Security-Policy": _PAGE_POLICY}

    @app.get("/docs", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(
            '<!doctype html><html lang="zh-CN"><head><meta charset="utf-8">'
            f"<title>{app.title}</title>"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<link rel="icon" href="docs/favicon.png"><link rel="stylesheet" href="docs/swagger-ui.css"></head>'
            '<body><div id="page"></div><script src="docs/swagger-ui-bundle.js"></script>'
            '<script src="docs/start.js"></script></body></html>',
            headers=headers,
        )

    @app.get("/docs/{asset}", include_in_schema=False)
    async def asset(asset: str) -> Response:
        if asset == "start.js":
            return Response(_START, media_type="text/javascript", headers=headers)
        if asset not in _ASSETS:
            raise NotFound
        return FileResponse(
            folder / asset, media_type=_ASSETS[asset], headers={"Cache-Control": "public, max-age=86400"}
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
