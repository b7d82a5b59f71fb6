"""What a request's body may be: JSON that a store can hold, or a form with files; anything else is refused early."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from starlette.datastructures import FormData, UploadFile

from shared.kernel import DomainError, FieldError, InvalidInput

JSON_BYTES_MAX = 1024 * 1024
FORM_BYTES_MAX = 6 * 1024 * 1024
JSON_DEPTH_MAX = 32
INTEGER_MAX = 2**63 - 1
FORM_FILES_MAX = 4
FORM_FIELDS_MAX = 32
FORM_FIELD_BYTES_MAX = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_SURROGATE = re.compile("[\ud800-\udfff]")


class BodyTooLarge(DomainError):
    """The body passes the limit of its kind."""

    code = "body-too-large"
    status = 413
    zh = "请求内容过大,上限为 {limit} 字节"
    en = "The body is too large; the limit is {limit} bytes"


class MediaTypeUnsupported(DomainError):
    """A body is JSON or a multipart form, and neither is compressed."""

    code = "media-type-unsupported"
    status = 415
    zh = "请以 application/json 或 multipart/form-data 提交,不压缩"
    en = "Send application/json or multipart/form-data, not compressed"


class BodyMalformed(DomainError):
    """The body cannot be read as what it says it is."""

    code = "body-malformed"
    status = 400
    zh = "请求内容无法读取:格式不完整,或字段、文件过多"
    en = "The body cannot be read: it is incomplete, or has too many fields or files"


class BodyTooSlow(DomainError):
    """The body did not arrive in time."""

    code = "body-too-slow"
    status = 408
    zh = "请求内容未在 {seconds} 秒内传完"
    en = "The body did not arrive within {seconds} seconds"


_RULES = {
    "json-invalid": ("不是有效的 JSON(UTF-8)", "This is not valid JSON in UTF-8"),
    "json-too-deep": ("JSON 嵌套超过 32 层", "The JSON is nested deeper than 32 levels"),
    "key-refused": ("字段名不能以 $ 开头,也不能含点或空字符", "A name may not start with $ nor hold a dot or NUL"),
    "key-twice": ("同一字段出现了两次", "The same name appears twice"),
    "number-not-finite": ("数字超出范围", "The number is out of range"),
    "text-refused": ("文本含有空字符或不完整的字符", "The text holds a NUL or half a character"),
}


class _Object(dict[str, Any]):
    """A JSON object that remembers the names given twice, which a plain dict forgets."""

    twice: tuple[str, ...] = ()


def check_json(body: bytes) -> None:
    """Raises InvalidInput (422) naming what no store may see: operators, NUL, names given twice, NaN, depth."""
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object, parse_constant=float)
    except RecursionError:
        raise _refusal("", "json-too-deep") from None
    except ValueError:
        raise _refusal("", "json-invalid") from None
    faults = []
    for path, rule in _faults(value):
        zh, en = _RULES[rule]
        faults.append(FieldError(path or "body", rule, zh, en))
        if len(faults) == 20:
            break
    if faults:
        raise InvalidInput(errors=faults)


async def form_digest(form: FormData, digest: Any) -> None:
    """Feeds every field and the content of every file, but no file's name, into a digest, in the order sent."""
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            content = hashlib.sha256()
            await value.seek(0)
            while piece := await value.read(_PIECE_BYTES):
                content.update(piece)
            await value.seek(0)
            told = content.hexdigest()
        else:
            if refused(value):
                raise _refusal(name, "text-refused")
            told = value
        if refused(name):
            raise _refusal("body", "key-refused")
        digest.update(json.dumps([name, isinstance(value, UploadFile), told]).encode())


def refused(text: str) -> bool:
    """Whether a text holds what neither a store nor a log takes: NUL or half of a surrogate pair."""
    return "\0" in text or _SURROGATE.search(text) is not None


def check_text(name: str, text: str) -> None:
    """Raises InvalidInput when a query parameter holds such a text."""
    if refused(text) or refused(name):
        raise _refusal(name if not refused(name) else "query", "text-refused")


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        made.twice = tuple(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return made


def _faults(value: Any) -> Iterator[tuple[str, str]]:
    stack = [(value, "", 1)]
    while stack:
        item, path, depth = stack.pop()
        if isinstance(item, dict | list) and depth > JSON_DEPTH_MAX:
            yield path, "json-too-deep"
        elif isinstance(item, dict):
            for name in getattr(item, "twice", ()):
                yield _joined(path, name), "key-twice"
            for name, child in item.items():
                if name.startswith("$") or "." in name or refused(name):
                    yield _joined(path, name), "key-refused"
                stack.append((child, _joined(path, name), depth + 1))
        elif isinstance(item, list):
            stack.extend((child, _joined(path, str(index)), depth + 1) for index, child in enumerate(item))
        elif isinstance(item, str):
            if refused(item):
                yield path, "text-refused"
        elif isinstance(item, float):
            if not math.isfinite(item):
                yield path, "number-not-finite"
        elif isinstance(item, int) and abs(item) > INTEGER_MAX:
            yield path, "number-not-finite"


def _joined(path: str, name: str) -> str:
    shown = _SURROGATE.sub("\ufffd", name.replace("\0", "\ufffd"))[:60]
    return f"{path}.{shown}"[-200:] if path else shown


def _refusal(field: str, rule: str) -> InvalidInput:
    zh, en = _RULES[rule]
    return InvalidInput(errors=[FieldError(_joined("", field) or "body", rule, zh, en)])
