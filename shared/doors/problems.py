"""Refusals as problem+json (RFC 9457): a stable code, Chinese and English, and every faulty field."""

from __future__ import annotations

from collections import defaultdict
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from shared.doors.bodies import BodyMalformed
from shared.kernel import DomainError, FieldError, Forbidden, InvalidInput, NotFound, RowError

log = structlog.get_logger()

# What stands in braces comes from the rule, never from the value that was sent.
_FIELD_RULES: dict[str, tuple[str, str]] = {
    "missing": ("必填", "This field is required"),
    "extra_forbidden": ("没有这个字段", "There is no such field"),
    "enum": ("只能是:{expected}", "One of: {expected}"),
    "literal_error": ("只能是:{expected}", "One of: {expected}"),
    "string_too_long": ("太长,至多 {max_length} 个字符", "Too long: at most {max_length} characters"),
    "string_too_short": ("太短,至少 {min_length} 个字符", "Too short: at least {min_length} characters"),
    "too_long": ("太多,至多 {max_length} 项", "Too many: at most {max_length}"),
    "too_short": ("太少,至少 {min_length} 项", "Too few: at least {min_length}"),
    "greater_than": ("应大于 {gt}", "More than {gt} is expected"),
    "greater_than_equal": ("不得小于 {ge}", "At least {ge} is expected"),
    "less_than": ("应小于 {lt}", "Less than {lt} is expected"),
    "less_than_equal": ("不得大于 {le}", "At most {le} is expected"),
    "int_parsing": ("应为整数", "A whole number is expected"),
    "int_type": ("应为整数", "A whole number is expected"),
    "int_from_float": ("应为整数", "A whole number is expected"),
    "decimal_parsing": ('应为十进制数,例如 "0.6"', 'A decimal number is expected, for example "0.6"'),
    "decimal_type": ('应为十进制数,例如 "0.6"', 'A decimal number is expected, for example "0.6"'),
    "bool_parsing": ("应为 true 或 false", "true or false is expected"),
    "bool_type": ("应为 true 或 false", "true or false is expected"),
    "string_type": ("应为文本", "Text is expected"),
    "list_type": ("应为列表", "A list is expected"),
    "model_attributes_type": ("应为 JSON 对象", "A JSON object is expected"),
    "timezone_aware": (
        "应带时区,例如 2026-01-01T00:00:00+08:00",
        "Give the offset too, as 2026-01-01T00:00:00+08:00",
    ),
    "datetime_parsing": (
        "应为带时区的时刻,例如 2026-01-01T00:00:00+08:00",
        "An instant is expected, as 2026-01-01T00:00:00+08:00",
    ),
    "datetime_from_date_parsing": (
        "应为带时区的时刻,例如 2026-01-01T00:00:00+08:00",
        "An instant is expected, as 2026-01-01T00:00:00+08:00",
    ),
    "date_parsing": ("应为日期,例如 2026-01-01", "A date is expected, as 2026-01-01"),
    "date_from_datetime_inexact": ("应为日期,例如 2026-01-01", "A date is expected, as 2026-01-01"),
    "date_from_datetime_parsing": ("应为日期,例如 2026-01-01", "A date is expected, as 2026-01-01"),
    "string_pattern_mismatch": ("格式不对", "The format is wrong"),
    "instant_range": ("时间应在 1900 年至 2200 年之间", "The time must lie between 1900 and 2200"),
    "json_invalid": ("不是有效的 JSON", "This is not valid JSON"),
}


class MethodNotAllowed(DomainError):
    """The address exists, but not with this method."""

    code = "method-not-allowed"
    status = 405
    zh = "此地址不支持该方法"
    en = "This address does not take that method"


class Unavailable(DomainError):
    """The store cannot be reached right now."""

    code = "unavailable"
    status = 503
    zh = "暂时无法提供服务,请稍后用同一个 Idempotency-Key 重试"
    en = "Not available right now: try again with the same Idempotency-Key"


class Broken(DomainError):
    """A fault of ours; the log has it under the correlation id."""

    code = "internal"
    status = 500
    zh = "系统内部错误,请把 correlation_id 告知管理员"
    en = "A fault of ours: tell the operator the correlation id"


def install(app: FastAPI) -> None:
    """Makes every refusal of the application a problem."""

    @app.exception_handler(DomainError)
    async def refused(request: Request, error: DomainError) -> JSONResponse:
        return problem(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return problem(request, InvalidInput(errors=[_field_error(fault) for fault in error.errors()]))

    @app.exception_handler(HTTPException)
    async def routed(request: Request, error: HTTPException) -> JSONResponse:
        if isinstance(error.__cause__, DomainError):
            return problem(request, error.__cause__)
        known = {400: BodyMalformed, 404: NotFound, 405: MethodNotAllowed, 403: Forbidden}
        answer = problem(request, known.get(error.status_code, InvalidInput)())
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> JSONResponse:
        log.error("request.broken", path=request.url.path, exc_info=error)
        return problem(request, Broken())


def problem(request: Request, error: DomainError) -> JSONResponse:
    """The answer to a refusal. A record out of scope and a missing one answer with the same bytes."""
    english = request.headers.get("accept-language", "zh").lower().startswith("en")
    body: dict[str, Any] = {
        "type": f"urn:liandong:problem:{quote(error.code)}",
        "title": error.code,
        "status": error.status,
        "code": error.code,
        "detail": error.sentence("en" if english else "zh"),
        "detail_zh": error.sentence("zh"),
        "detail_en": error.sentence("en"),
    }
    if error.errors:
        body["errors"] = [_shown(fault) for fault in error.errors]
    return JSONResponse(body, error.status, media_type="application/problem+json")


def _shown(fault: FieldError) -> dict[str, Any]:
    shown: dict[str, Any] = {"field": fault.field, "rule": fault.rule, "zh": fault.zh, "en": fault.en}
    if isinstance(fault, RowError):
        shown = {"sheet": fault.sheet, "row": fault.row, "column": fault.column} | shown
    return shown | ({"value": fault.value} if fault.value is not None else {})


def _field_error(fault: dict[str, Any]) -> FieldError:
    # The value is left out: it may hold what must not be repeated, an id above all.
    field = ".".join(str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header"))
    zh, en = _FIELD_RULES.get(fault["type"], ("取值不对", str(fault["msg"]).replace("{", "{{").replace("}", "}}")))
    limits = defaultdict(lambda: "?", {name: _limit(value) for name, value in fault.get("ctx", {}).items()})
    zh, en = zh.format_map(limits), en.format_map(limits)
    return FieldError(field=field or "body", rule=fault["type"], zh=zh, en=en)


def _limit(value: object) -> str:
    """A rule's limit as people write it: pydantic quotes the choices and joins the last with "or"."""
    return str(value).replace("'", "").replace(" or ", ", ")
