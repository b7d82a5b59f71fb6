"""Scorecards to read: newest, by revision or on two clocks, with the records behind every figure."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse

from services.evaluation.api import shown
from services.evaluation.api.access import card_for, conditions
from services.evaluation.domain import Scorecard
from services.evaluation.handlers import Scorecards
from services.evaluation.handlers.ports import Ledger
from services.evaluation.handlers.scorecards import window_of
from services.evaluation.policies.indicators import Subject
from shared.contracts.evaluation import ScorecardPublished, SubjectKind
from shared.doors.doors import Clocks, Doors, ReadRequest
from shared.kernel import FieldError, InvalidInput, NotFound
from shared.log.store import Documents, Rows

_TOPIC = "evaluation.scorecards"
_REVISION_OR_CLOCKS = FieldError(
    "revision",
    "revision-or-clocks",
    "revision 与 effective、known 不能同时给出:版次的两个时钟已定",
    "Give either revision or effective and known: a revision has its own two clocks",
)


def routes(
    scorecards: Scorecards, doors: Doors, *, cards: Documents[Scorecard], known_parties: Rows, ledger: Ledger
) -> APIRouter:
    """Everything about scorecards. An enterprise or institution sees its own card and those of the regions in scope."""
    router = APIRouter()

    @router.get("/scorecards", tags=["scorecards"])
    async def list_scorecards(  # the filters of a list
        request: Request,
        read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))],
        kind: Annotated[SubjectKind | None, Query()] = None,
        region: Annotated[str | None, Query(pattern=r"^\d{6}$")] = None,
        cycle: Annotated[str | None, Query(max_length=40)] = None,
    ) -> JSONResponse:
        where = conditions(read, kind=kind, region=region, cycle=cycle)
        page = await cards.page(read.scope, where, after=read.after, limit=read.limit)
        names = await shown.names_of(page.items, known_parties)
        return doors.page(request, [shown.line(card, names) for card in page.items], page.after)

    @router.get("/scorecards/{id}", tags=["scorecards"])
    async def read_scorecard(
        id: str,
        read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))],
        clocks: Annotated[Clocks, Depends(doors.clocks())],
        revision: Annotated[int | None, Query(ge=1)] = None,
    ) -> JSONResponse:
        """The newest revision, an earlier one by number, or the figures as effective and known at given positions."""
        card = await card_for(cards, id, read)
        names = await shown.names_of([card], known_parties)
        if revision is not None and (clocks.effective is not None or clocks.known is not None):
            raise InvalidInput(errors=[_REVISION_OR_CLOCKS])
        if revision is not None:
            return JSONResponse(shown.revision(await _revision(card, revision), card, names))
        assert card.published is not None
        if clocks.effective is None and clocks.known is None:
            return JSONResponse(shown.revision(card.published, card, names), headers={"ETag": f'"{card.version}"'})
        subject, window = _subject(card), window_of(card.window_start, card.window_end, _effective(card, clocks))
        known = await _closed(clocks.known)
        _found, figures = await scorecards.figures(subject, card.cycle, window, known=known)
        return JSONResponse(shown.recomputed(figures, card, names, known=known))

    @router.get("/scorecards/{id}/records", tags=["scorecards"])
    async def read_records(  # two clocks, a filter and the page
        request: Request,
        id: str,
        read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))],
        clocks: Annotated[Clocks, Depends(doors.clocks())],
        indicator: Annotated[str, Query(pattern=r"^I\d\d$")],
    ) -> JSONResponse:
        """The records in a figure and those left out, each with why; at the newest revision's positions or others."""
        card = await card_for(cards, id, read)
        assert card.published is not None
        found, _figures = await scorecards.figures(
            _subject(card),
            card.cycle,
            window_of(card.window_start, card.window_end, _effective(card, clocks)),
            known=await _closed(clocks.known if clocks.known is not None else card.published.known),
        )
        figure = next((figure for figure in found if figure.indicator.id == indicator), None)
        if figure is None:
            known = ", ".join(figure.indicator.id for figure in found)
            raise InvalidInput(
                errors=[
                    FieldError(
                        "indicator",
                        "not-on-this-card",
                        f"该记分卡没有指标 {indicator};有 {known}",
                        f"This card has no {indicator}; it has {known}",
                    )
                ]
            )
        records = [record for record in figure.records if read.after is None or record.key > read.after]
        page = records[: read.limit]
        more = page[-1].key if len(records) > read.limit else None
        return doors.page(request, [shown.record(record) for record in page], more)

    @router.get("/scorecards/{id}/revisions", tags=["scorecards"])
    async def list_revisions(
        id: str, read: Annotated[ReadRequest, Depends(doors.reader("scorecard.read"))]
    ) -> JSONResponse:
        """Every revision with its hashes, and the fact that led from one to the next."""
        card = await card_for(cards, id, read)
        return JSONResponse({"items": shown.revisions(await ledger.history(f"{_TOPIC}/{card.id}")), "next": None})

    async def _revision(card: Scorecard, number: int) -> ScorecardPublished:
        for event in await ledger.history(f"{_TOPIC}/{card.id}"):
            if event["type"] == "ScorecardPublished":
                fact = ScorecardPublished.model_validate_json(event["data"])
                if fact.revision == number:
                    return fact
        raise NotFound

    async def _closed(known: int | None) -> int | None:
        closed = await ledger.closed()
        if known is not None and known > closed:
            raise InvalidInput(
                errors=[
                    FieldError(
                        "known",
                        "position-ahead",
                        f"日志目前只到 {closed}",
                        f"The log has only come to {closed}",
                        str(known),
                    )
                ]
            )
        return known

    return router


def _subject(card: Scorecard) -> Subject:
    return Subject(card.subject_kind.value, card.subject)  # type: ignore[arg-type]  # individuals have no card


def _effective(card: Scorecard, clocks: Clocks) -> datetime:
    assert card.published is not None
    return clocks.effective if clocks.effective is not None else card.published.effective
