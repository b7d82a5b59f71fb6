"""Builds pilot_registration; the only file that knows every other."""

from __future__ import annotations

from fastapi import FastAPI

from services.pilot_registration import store
from services.pilot_registration.api.parties import chain_routes, party_routes
from services.pilot_registration.api.pilots import pilot_routes
from services.pilot_registration.handlers.parties import Registry
from services.pilot_registration.handlers.pilots import CLOSE_NOTICE, PilotFlow
from services.pilot_registration.settings import Settings
from shared.doors.attachments import Attachments
from shared.doors.service import Parts, Service, serve
from shared.log.due import MongoAgenda


def app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    return serve(Settings(), title="Pilot registration 试点登记", build=build)


def build(parts: Parts) -> Service:
    """Wires stores, handlers and doors."""
    database, doors = parts.database, parts.doors
    parties, chains, pilots = store.parties(database), store.chains(database), store.pilots(database)
    attachments = Attachments(database)
    registry = Registry(parties=parties, chains=chains)
    flow = PilotFlow(
        pilots=pilots, parties=parties, chains=chains, quotas=store.quotas(database),
        codes=store.rows(database, "pilot_codes"), uses=store.rows(database, "attachment_uses"),
        papers=attachments, agenda=MongoAgenda(),
    )  # fmt: skip
    return Service(
        routers=[
            party_routes(registry, doors, parties=parties),
            chain_routes(registry, doors, chains=chains),
            pilot_routes(flow, doors, pilots=pilots),
        ],
        due={CLOSE_NOTICE: flow.close_notice},
        collections=store.COLLECTIONS,
        indexes=store.INDEXES,
    )
