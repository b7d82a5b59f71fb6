"""Publishing the scorecards of a cycle over HTTP."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from services.evaluation.handlers import OpenPublication, Scorecards
from services.evaluation.handlers.scorecards import BUCKETS, ROUND
from services.evaluation.policies.facts import end_of_day, start_of_day
from shared.contracts.evaluation import SubjectKind
from shared.doors.doors import CommandRequest, Doors
from shared.kernel import YEARS, FieldError, InvalidInput, instant

PUBLISHED_KINDS = (SubjectKind.REGION, SubjectKind.ENTERPRISE, SubjectKind.INSTITUTION)
Cycle = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,39}$")]


class PublishInput(BaseModel):
    """Which cycle, and the window in which facts count: a civil date means the whole day in Asia/Shanghai."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"cycle": "2026", "window_start": "2025-01-01", "window_end": "2026-12-31", "kinds": ["region"]}
            ]
        },
    )
    cycle: Cycle
    window_start: str = Field(max_length=40, description="instant with offset (exclusive) or first day")
    window_end: str = Field(max_length=40, description="instant with offset (inclusive) or last day")
    kinds: list[SubjectKind] = Field(default=list(PUBLISHED_KINDS), min_length=1, max_length=3)


def routes(scorecards: Scorecards, doors: Doors) -> APIRouter:
    """One route: a publication is one command in many chunks."""
    router = APIRouter()

    @router.post("/scorecards/publish", status_code=201, tags=["scorecards"])
    async def publish(
        body: PublishInput, request: Annotated[CommandRequest, Depends(doors.command("scorecard.publish"))]
    ) -> JSONResponse:
        """Publishes every subject known by now, in chunks; the same key goes on where a lost connection broke off."""
        command = _command(body)
        answer = await request.execute_in_chunks(
            lock=ROUND,
            chunks=[
                lambda: scorecards.open(command, at=request.at),
                *(
                    lambda bucket=bucket: scorecards.publish(body.cycle, bucket, at=request.at)
                    for bucket in range(BUCKETS)
                ),
            ],
            last=lambda: scorecards.close(body.cycle, at=request.at),
        )
        return doors.accepted(answer, status=201)

    return router


def _command(body: PublishInput) -> OpenPublication:
    errors: list[FieldError] = []
    start = _instant("window_start", body.window_start, lambda day: start_of_day(day) - 1, errors)
    end = _instant("window_end", body.window_end, end_of_day, errors)
    if SubjectKind.INDIVIDUAL in body.kinds:
        errors.append(
            FieldError("kinds", "no-such-scorecard", "暂不发布个人记分卡", "No scorecards of individuals are published")
        )
    if errors or start is None or end is None:
        raise InvalidInput(errors=errors)
    kinds = tuple(kind for kind in PUBLISHED_KINDS if kind in body.kinds)
    return OpenPublication(cycle=body.cycle, window_start=start, window_end=end, kinds=kinds)


def _instant(field: str, given: str, edge_of: Callable[[date], int], errors: list[FieldError]) -> datetime | None:
    """An instant as given, or the edge of a civil day; None and one more error when it is neither."""
    try:
        if len(given) == len("2026-01-01"):
            day = date.fromisoformat(given)
            if day.year in YEARS:
                return instant(edge_of(day))
        else:
            at = datetime.fromisoformat(given)
            if at.tzinfo is not None and at.year in YEARS:
                return at
    except (ValueError, OverflowError):
        pass
    zh = "应为 1900 至 2200 年间的日期或带时区的时刻,例如 2026-01-01 或 2026-01-01T00:00:00+08:00"
    en = "Give a date from 1900 to 2200 or an instant with its offset, as 2026-01-01 or 2026-01-01T00:00:00+08:00"
    errors.append(FieldError(field, "date-or-instant", zh, en, given))
    return None
