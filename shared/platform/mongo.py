"""The MongoDB client of a service: its own user, majority everywhere, and no call without a time limit."""

from __future__ import annotations

from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from shared.platform.settings import ServiceSettings


def connect(settings: ServiceSettings) -> Any:
    """The service's own database through its own user. The client is closed with `database.client.close()`."""
    client: Any = AsyncIOMotorClient(
        f"mongodb://{settings.mongo}",
        **_login(settings),
        replicaSet=settings.replica_set,
        retryWrites=True,
        retryReads=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        serverSelectionTimeoutMS=3000,
        connectTimeoutMS=3000,
        socketTimeoutMS=8000,
    )
    return client[settings.service]


def connect_node(settings: ServiceSettings, host: str) -> Any:
    """A client of one member of the set, to ask it about itself; closed by whoever asked."""
    return AsyncIOMotorClient(
        f"mongodb://{host}",
        **_login(settings),
        directConnection=True,
        serverSelectionTimeoutMS=1500,
        connectTimeoutMS=1500,
        socketTimeoutMS=3000,
    )


def _login(settings: ServiceSettings) -> dict[str, Any]:
    return {
        "username": settings.service,
        "password": settings.mongo_password.get_secret_value(),
        "authSource": "admin",
        "appname": settings.slot,
    }
