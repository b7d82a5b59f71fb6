"""Builds pilot_registration; the only file that knows every other."""

from __future__ import annotations

from fastapi import FastAPI

from services.pilot_registration import store
from services.pilot_registration.api.desk import desk_routes
from services.pilot_registration.api.imports import import_routes
from services.pilot_registration.api.issues import issue_routes, project_routes
from services.pilot_registration.api.parties import chain_routes, party_routes
from services.pilot_registration.api.pilots import pilot_routes
from services.pilot_registration.api.reads import Reads
from services.pilot_registration.handlers.imports import ListImports
from services.pilot_registration.handlers.issues import IssueFlow, ProjectFlow
from services.pilot_registration.handlers.parties import Registry
from services.pilot_registration.handlers.pilots import CLOSE_NOTICE, PilotFlow
from services.pilot_registration.settings import Settings
from services.pilot_registration.subscribers import reactions
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
    issues, projects = store.quality_issues(database), store.key_projects(database)
    uses, list_rows = store.rows(database, "attachment_uses"), store.rows(database, "list_rows")
    previews, chunks = store.rows(database, "imports"), store.rows(database, "import_chunks")
    attachments = Attachments(database)
    registry = Registry(parties=parties, chains=chains)
    flow = PilotFlow(
        pilots=pilots, parties=parties, chains=chains, quotas=store.quotas(database),
        codes=store.rows(database, "pilot_codes"), uses=uses, papers=attachments, agenda=MongoAgenda(),
    )  # fmt: skip
    imports = ListImports(
        pilots=pilots, issues=issues, projects=projects, parties=store.rows(database, "parties"),
        issue_rows=store.rows(database, "quality_issues"), project_rows=store.rows(database, "key_projects"),
        list_rows=list_rows, imports=previews, chunks=chunks,
    )  # fmt: skip
    issue_flow = IssueFlow(
        issues=issues, pilots=pilots, parties=parties, papers=attachments, uses=uses,
        known_verdicts=store.rows(database, "known_verdicts"),
    )  # fmt: skip
    project_flow = ProjectFlow(projects=projects, pilots=pilots, papers=attachments, uses=uses)
    reads = Reads(
        pilots=pilots, issues=issues, projects=projects, list_rows=list_rows, imports=previews, chunks=chunks, uses=uses
    )
    return Service(
        routers=[
            party_routes(registry, doors, parties=parties),
            chain_routes(registry, doors, chains=chains),
            # Before the pilots: `/pilots/{id}` would take nothing of it, but the more exact address is read first.
            import_routes(imports, doors, reads=reads),
            pilot_routes(flow, doors, reads=reads),
            issue_routes(issue_flow, doors, reads=reads),
            project_routes(project_flow, doors, reads=reads),
            desk_routes(doors, reads=reads),
            attachments.router(doors, may_read=reads.may_read),
        ],
        reactions=reactions(issue_flow),
        due={CLOSE_NOTICE: flow.close_notice},
        collections=store.COLLECTIONS,
        indexes=store.INDEXES,
        attachments=attachments,
    )
