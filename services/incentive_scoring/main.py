"""Builds incentive_scoring; the only file that knows every other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from services.incentive_scoring import store
from services.incentive_scoring.api import award_dockets as docket_door
from services.incentive_scoring.api import tilt_decisions as decision_door
from services.incentive_scoring.api import tilt_policies as policy_door
from services.incentive_scoring.api import vetoes as veto_door
from services.incentive_scoring.domain import AwardDocket, TiltDecision, TiltPolicy, Veto
from services.incentive_scoring.handlers import AwardDockets, Hearing, Knowledge, TiltPolicies, Vetoes, WhatIf
from services.incentive_scoring.handlers.vetoing import ESCALATION
from services.incentive_scoring.settings import Settings
from services.incentive_scoring.subscribers import reactions
from shared.doors.attachments import Attachment, Attachments
from shared.doors.service import Parts, Service, serve
from shared.kernel import Actor
from shared.log.due import MongoAgenda
from shared.log.store import Documents, Rows


def app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    return serve(Settings(), title="Incentive scoring 激励评分", build=build)


def build(parts: Parts) -> Service:
    """Wires stores, handlers, reactions and doors."""
    database, doors = parts.database, parts.doors
    policies = Documents(database, "tilt_policies", TiltPolicy)
    dockets = Documents(database, "award_dockets", AwardDocket)
    decisions = Documents(database, "tilt_decisions", TiltDecision)
    vetoes = Documents(database, "vetoes", Veto)
    imports, known_parties = Rows(database, "base_score_imports"), Rows(database, "known_parties")
    known_scorecards, known_assessments = Rows(database, "known_scorecards"), Rows(database, "known_assessments")
    attachments = Attachments(database)
    tilt_policies = TiltPolicies(policies=policies, files=store.policy_files())
    knowledge = Knowledge(
        policies=policies, decisions=decisions, vetoes=vetoes, known_scorecards=known_scorecards,
        known_assessments=known_assessments,
    )  # fmt: skip
    award_dockets = AwardDockets(
        dockets=dockets, decisions=decisions, imports=imports, deciding=Rows(database, "deciding"),
        known_parties=known_parties, knowledge=knowledge,
    )  # fmt: skip
    raised = Vetoes(
        vetoes=vetoes, dockets=dockets, known_parties=known_parties, agenda=MongoAgenda(), award_dockets=award_dockets
    )
    hearing = Hearing(
        known_parties=known_parties, known_scorecards=known_scorecards, known_assessments=known_assessments
    )
    return Service(
        routers=[
            policy_door.routes(tilt_policies, doors, approved=policies),
            docket_door.routes(
                award_dockets, WhatIf(award_dockets), doors, dockets=dockets, decisions=decisions, imports=imports
            ),
            decision_door.routes(award_dockets, doors, decisions=decisions),
            veto_door.routes(raised, doors, stored=vetoes, attachments=attachments),
            attachments.router(doors, may_read=_may_read),
            _files_held(tilt_policies),
        ],
        reactions=reactions(hearing),
        due={ESCALATION: raised.escalate},
        collections=store.COLLECTIONS,
        indexes=store.INDEXES,
        attachments=attachments,
    )


async def _may_read(actor: Actor, attachment: Attachment) -> bool:
    """Evidence of a veto is for whoever uploaded it and for those who confirm and check."""
    return bool(actor.roles & {"supervision", "office", "secretariat", "auditor"})


def _files_held(tilt_policies: TiltPolicies) -> APIRouter:
    """Checks at start that no file of an approved policy has changed; when one has, the service does not come up."""

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        await tilt_policies.check_files()
        yield

    return APIRouter(lifespan=lifespan)
