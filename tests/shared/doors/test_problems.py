"""What a wrong value is told: the rule with its limit or its choices, in both languages, and never the value."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from httpx2 import ASGITransport, AsyncClient
from pydantic import AwareDatetime, BaseModel, Field

from shared.doors import problems


class State(StrEnum):
    DRAFT = "draft"
    RUNNING = "running"


class Given(BaseModel):
    state: State = State.DRAFT
    mode: Literal["add", "remove"] = "add"
    count: int = Field(1, ge=1, le=200)
    share: Decimal = Decimal(1)
    at: AwareDatetime | None = None
    on: date | None = None
    name: str = Field("x", min_length=1, max_length=3)


@pytest.mark.parametrize(
    ("sent", "zh", "en"),
    [
        ({"state": "runing-91"}, "只能是:draft, running", "One of: draft, running"),
        ({"mode": "91"}, "只能是:add, remove", "One of: add, remove"),
        ({"count": 0}, "不得小于 1", "At least 1 is expected"),
        ({"count": 9100}, "不得大于 200", "At most 200 is expected"),
        ({"count": "x91"}, "应为整数", "A whole number is expected"),
        ({"share": "91 %"}, '应为十进制数,例如 "0.6"', 'A decimal number is expected, for example "0.6"'),
        ({"at": "2091-01-01T00:00:00"}, "应带时区,例如 2026-01-01T00:00:00+08:00",
         "Give the offset too, as 2026-01-01T00:00:00+08:00"),
        ({"on": "91"}, "应为日期,例如 2026-01-01", "A date is expected, as 2026-01-01"),
        ({"name": "{91}xx"}, "太长,至多 3 个字符", "Too long: at most 3 characters"),
    ],
)  # fmt: skip
async def test_a_wrong_value_is_told_what_is_allowed_in_both_languages(sent: dict[str, Any], zh: str, en: str) -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def take(body: Given) -> None:
        return None

    async with AsyncClient(transport=ASGITransport(app), base_url="http://doors") as http:
        answer = await http.post("/", json=sent)

    [error] = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, next(iter(sent)))
    assert (error["zh"], error["en"]) == (zh, en)
    assert "91" not in answer.text
