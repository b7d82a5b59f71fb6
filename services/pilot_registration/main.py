"""Builds pilot_registration; the only file that knows every other."""

from __future__ import annotations

from fastapi import FastAPI

from services.pilot_registration import store
from services.pilot_registration.api import routes
from services.pilot_registration.handlers import PilotRegistration
from services.pilot_registration.settings import Settings
from shared.doors.service import Parts, Service, serve


def app() -> FastAPI:
    """The application, for `uvicorn --factory`."""
    return serve(Settings(), title="Pilot registration 试点登记", build=build)


def build(parts: Parts) -> Service:
    """Wires stores, handlers and doors."""
    parties = store.parties(parts.database)
    registration = PilotRegistration(parties=parties)
    return Service(routers=[routes(registration, parts.doors, parties=parties)], collections=store.COLLECTIONS)
