"""A small application behind the real gate, and a client that is let in."""

from collections.abc import AsyncIterator, Iterator

import httpx2
import pytest
import pytest_asyncio
from fastapi import FastAPI
from structlog.testing import capture_logs
from structlog.types import EventDict

from shared.doors.doors import Doors
from shared.doors.service import application
from tests.shared.doors.chains import bearer, made_doors, routes


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What is logged meanwhile."""
    with capture_logs() as events:
        yield events


@pytest.fixture
def doors() -> Doors:
    return made_doors()


@pytest.fixture
def app(doors: Doors) -> FastAPI:
    return application(doors, title="Chains 产业链", routers=[routes(doors)])


@pytest_asyncio.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that is let in, without a network."""
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test", headers=bearer()) as client:
        yield client
