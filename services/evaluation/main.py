"""Builds evaluation; the only file that knows every other."""

from __future__ import annotations

from datetime import timedelta

from fastapi import FastAPI

from services.evaluation import store
from services.evaluation.api import assessments as assessment_door
from services.evaluation.api import closures as closure_door
from services.evaluation.api import export as export_door
from services.evaluation.api import publication as publication_door
from services.evaluation.api import scorecards as scorecard_door
from services.evaluation.api import stream as stream_door
from services.evaluation.api import subjects as subject_door
from services.evaluation.domain import Assessment, Closure, Publication, RevisionRound, Scorecard
from services.evaluation.handlers import Assessments, Closures, Hearing, Revisions, Scorecards
from services.evaluation.handlers.scorecards import FOLLOW
from services.evaluation.settings import Settings
from services.evaluation.subscribers import reactions
from shared.doors.service import Parts, Service, serve
from shared.log.due import MongoAgenda
from shared.log.store import Documents, Rows


def app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    return serve(Settings(), title="Evaluation 评价", build=build)


def build(parts: Parts) -> Service:
    """Wires facts, aggregates, reactions and doors."""
    database, doors, settings = parts.database, parts.doors, parts.settings
    assert isinstance(settings, Settings)
    known_parties, known_issues = Rows(database, "known_parties"), Rows(database, "known_issues")
    claims = Rows(database, "closure_claims")
    facts, ledger, agenda = store.MongoKeptFacts(database), store.MongoLedger(database), MongoAgenda()
    cards = Documents(database, "scorecards", Scorecard)
    closures = Closures(
        closures=Documents(database, "closures", Closure), known_issues=known_issues, claims=claims, facts=facts
    )
    scorecards = Scorecards(
        cards=cards,
        publications=Documents(database, "publications", Publication),
        facts=facts,
        known_parties=known_parties,
        ledger=ledger,
        agenda=agenda,
    )
    revisions = Revisions(
        rounds=Documents(database, "revision_rounds", RevisionRound),
        cards=cards,
        plans=Rows(database, "revision_plans"),
        published=store.MongoPublishedCards(database),
        facts=facts,
        ledger=ledger,
        agenda=agenda,
        scorecards=scorecards,
        quiet=timedelta(seconds=settings.revision_quiet_seconds),
        patience=timedelta(seconds=settings.revision_patience_seconds),
    )
    stored_assessments = Documents(database, "assessments", Assessment)
    assessments = Assessments(
        assessments=stored_assessments,
        cards=cards,
        imports=Rows(database, "assessment_imports"),
        known_parties=known_parties,
        facts=facts,
        ledger=ledger,
    )
    hearing = Hearing(known_parties=known_parties, known_issues=known_issues, claims=claims, facts=facts)
    return Service(
        routers=[
            subject_door.routes(doors, known_parties=known_parties),
            closure_door.routes(closures, doors, known_issues=known_issues, claims=claims),
            assessment_door.routes(assessments, doors, stored=stored_assessments),
            publication_door.routes(scorecards, doors),
            stream_door.routes(doors, cards=cards, ledger=ledger, stopping=parts.stopping),
            export_door.routes(doors, cards=cards, known_parties=known_parties),
            scorecard_door.routes(scorecards, doors, cards=cards, known_parties=known_parties, ledger=ledger),
        ],
        reactions=reactions(hearing),
        due={FOLLOW: revisions.follow},
        collections=store.COLLECTIONS,
        indexes=store.INDEXES,
    )
