"""Fixtures every suite may use; nothing imports from here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.local.stack import Stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Real Kafka with the declared topics and a real, authenticated mongod with its users, for the session."""
    async with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
