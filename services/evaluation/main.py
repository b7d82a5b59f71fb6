"""Builds evaluation; the only file that knows every other."""

from __future__ import annotations

from fastapi import FastAPI

from services.evaluation.api import routes
from services.evaluation.handlers import Evaluation
from services.evaluation.settings import Settings
from services.evaluation.subscribers import reactions
from shared.doors.service import Parts, Service, serve
from shared.log.store import Rows


def app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    return serve(Settings(), title="Evaluation 评价", build=build)


def build(parts: Parts) -> Service:
    """Wires rows, reactions and doors."""
    known_parties = Rows(parts.database, "known_parties")
    evaluation = Evaluation(known_parties=known_parties)
    return Service(
        routers=[routes(parts.doors, known_parties=known_parties)],
        reactions=reactions(evaluation),
        collections=("known_parties",),
    )
