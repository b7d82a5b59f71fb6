"""mongod as an authenticated replica set, with one least-privilege user per service."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.errors import ConnectionFailure, OperationFailure

from deploy.local import doctor

REPLICA_SET = "rs0"
CLOCK_DATABASE = "liandong_clock"
REMOVABLE = ("due", "attachments.files", "attachments.chunks", "uploads")
"""Collections whose documents a service may remove; nothing else, `commits` above all, can lose a document."""

_READ_WRITE = ["find", "insert", "update", "createCollection", "createIndex", "listCollections", "listIndexes"]
_MEASURE = ["collStats", "dbStats"]
_ALREADY_INITIALISED = 23


def command(folder: Path, *, port: int, key_file: Path) -> list[str]:
    """The command line of a node that fails over in two seconds and stops in one."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    return [
        doctor.mongod(), "--port", str(port), "--bind_ip", "127.0.0.1", "--dbpath", str(folder / "data"),
        "--replSet", REPLICA_SET, "--keyFile", str(key_file), "--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64",
        "--nounixsocket", "--networkMessageCompressors", "disabled",
        "--setParameter", "diagnosticDataCollectionEnabled=false",
        "--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100",
        "--setParameter", "transactionLifetimeLimitSeconds=5",
    ]  # fmt: skip


def write_key(path: Path) -> None:
    """Writes the replica set's shared key once."""
    if not path.exists():
        path.write_text(base64.b64encode(secrets.token_bytes(96)).decode())
        path.chmod(0o400)


def client(ports: Sequence[int], *, user: str = "", password: str = "", direct: bool = False) -> Any:
    """A motor client for the set, as administrator when no user is named."""
    options: dict[str, Any] = {"serverSelectionTimeoutMS": 3000, "socketTimeoutMS": 20000}
    if user:
        options |= {"username": user, "password": password, "authSource": "admin"}
    if direct:
        return AsyncIOMotorClient(f"127.0.0.1:{ports[0]}", directConnection=True, **options)
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return AsyncIOMotorClient(f"mongodb://{hosts}", replicaSet=REPLICA_SET, w="majority", **options)


async def initiate(ports: Sequence[int], *, admin_password: str) -> None:
    """Makes the replica set and its administrator (localhost exception); harmless when both are there."""
    first = client(ports, direct=True)
    members = [{"_id": i, "host": f"127.0.0.1:{port}"} for i, port in enumerate(ports)]
    settings = {"electionTimeoutMillis": 1500, "heartbeatIntervalMillis": 500}
    try:
        await first.admin.command("replSetInitiate", {"_id": REPLICA_SET, "members": members, "settings": settings})
    except OperationFailure as error:
        if error.code != _ALREADY_INITIALISED and "requires authentication" not in str(error):
            raise
    finally:
        first.close()
    await _create_administrator(ports, admin_password)


async def _create_administrator(ports: Sequence[int], password: str) -> None:
    """Waits for a primary; the localhost exception lets the first user be made there, and nowhere else."""
    deadline = asyncio.get_running_loop().time() + 60
    nodes = [client([port], direct=True) for port in ports]
    try:
        while asyncio.get_running_loop().time() < deadline:
            for node in nodes:
                with suppress(ConnectionFailure):
                    if (await node.admin.command("hello")).get("isWritablePrimary"):
                        with suppress(OperationFailure):  # it exists already
                            await node.admin.command("createUser", "admin", pwd=password, roles=["root"])
                        return
            await asyncio.sleep(0.05)
    finally:
        for node in nodes:
            node.close()
    raise doctor.NotReady("mongod elected no primary within 60 s: look at its log with `./liandong dev logs`.")


async def create_users(admin: Any, passwords: dict[str, str], *, auditor: str, clock: str) -> None:
    """One user per service, confined to its own database; `auditor` reads all; `clock` moves development time."""
    await admin.admin.command(
        "setDefaultRWConcern", defaultReadConcern={"level": "majority"}, defaultWriteConcern={"w": "majority"}
    )
    for service, password in passwords.items():
        privileges: list[dict[str, Any]] = [
            {"resource": {"db": service, "collection": ""}, "actions": _READ_WRITE + _MEASURE},
            {"resource": {"db": CLOCK_DATABASE, "collection": "clock"}, "actions": ["find"]},
            {"resource": {"cluster": True}, "actions": ["getParameter"]},  # the start-up self-check reads one
        ]
        privileges += [{"resource": {"db": service, "collection": c}, "actions": ["remove"]} for c in REMOVABLE]
        await _role(admin, service, privileges)
        await _user(admin, service, password, [{"role": service, "db": "admin"}])
    await _user(admin, "auditor", auditor, [{"role": "read", "db": service} for service in passwords])
    await _user(admin, "clock", clock, [{"role": "readWrite", "db": CLOCK_DATABASE}])


async def _role(admin: Any, name: str, privileges: list[dict[str, Any]]) -> None:
    verb = "updateRole" if (await admin.admin.command("rolesInfo", name))["roles"] else "createRole"
    await admin.admin.command(verb, name, privileges=privileges, roles=[])


async def _user(admin: Any, name: str, password: str, roles: list[dict[str, str]]) -> None:
    verb = "updateUser" if (await admin.admin.command("usersInfo", name))["users"] else "createUser"
    await admin.admin.command(verb, name, pwd=password, roles=roles)
