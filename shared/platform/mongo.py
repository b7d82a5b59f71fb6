"""The MongoDB client of a service: its own user, majority everywhere, and no call without a time limit."""

from __future__ import annotations

from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient

from shared.platform.settings import ServiceSettings


def connect(settings: ServiceSettings) -> Any:
    """The service's own database through its own user. The client is closed with `database.client.close()`."""
    client: Any = AsyncIOMotorClient(
        f"mongodb://{settings.mongo}",
        username=settings.service,
        password=settings.mongo_password.get_secret_value(),
        authSource="admin",
        replicaSet=settings.replica_set,
        appname=settings.slot,
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
