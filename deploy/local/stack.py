"""Starts, watches and stops everything as child processes: ready one after the other, no orphan, ordered clean stop."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import IO, Any

from deploy.local import archive, doctor, kafka, mongod
from deploy.local.children import PROJECT, Child, Children
from deploy.local.fetch import kafka_class_path
from deploy.local.packages import database_users, service_packages
from deploy.local.ports import Ports
from deploy.local.readiness import accepts, always, http_ok, until_ready
from deploy.local.watch import wait_any_exit, watch
from shared.contracts import topics

__all__ = ["PROJECT", "AlreadyRunning", "Child", "Stack", "service_packages"]


class AlreadyRunning(Exception):
    """Another process runs the stack of this home."""


class Stack:
    """Kafka, mongod, the development issuer and the services of one home folder; `async with` starts and stops it.

    `services` are names of packages below `services/`, each running as `<kebab>-0`; `start("evaluation-1")` adds a
    process to one. `say(name, line)` gets every line that a child prints. `clock_at` is where the development clock of
    a new home begins.
    """

    def __init__(
        self,
        home: Path,
        *,
        brokers: int = 1,
        mongods: int = 1,
        services: Sequence[str] = (),
        users: Sequence[str] | None = None,
        issuer: bool = False,
        say: Callable[[str, str], None] = lambda name, line: None,
        clock_at: datetime | None = None,
    ) -> None:
        self.home = home.absolute()
        self.brokers, self.mongods = brokers, mongods
        self.services, self.users, self.with_issuer = tuple(services), tuple(users or database_users()), issuer
        self.say, self.clock_at = say, clock_at
        self.children: dict[str, Child] = {}
        self.ports = Ports(home / "ports.json")
        self.phase = "starting"
        self._lock: IO[str] | None = None
        self._nursery = Children(self.home / "logs", say)
        self._archiver: Child | None = None
        self._class_path = ""
        self._since = time.time()

    # --- what others ask ---

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap servers."""
        return ",".join(f"127.0.0.1:{self.ports[f'kafka-{i}']}" for i in range(self.brokers))

    @property
    def mongo(self) -> str:
        """The replica set's members as host:port, comma separated."""
        return ",".join(f"127.0.0.1:{self.ports[f'mongod-{i}']}" for i in range(self.mongods))

    @property
    def issuer_url(self) -> str:
        """The development issuer's address, also the `iss` of its tokens."""
        return f"http://127.0.0.1:{self.ports['issuer']}"

    def url(self, service: str, slot: int = 0) -> str:
        """The HTTP address of a service process."""
        return f"http://127.0.0.1:{self.ports[_slot(service, slot)]}"

    def admin(self) -> Any:
        """A motor client with all rights, for tests and set-up."""
        return mongod.client(self._mongo_ports(), user="admin", password=self.secret("admin"))

    def as_user(self, user: str) -> Any:
        """A motor client signed in as a service, `auditor` or `clock`."""
        service = self.home / "secrets" / user / "mongo_password"
        password = service.read_text() if service.exists() else self.secret(user)
        return mongod.client(self._mongo_ports(), user=user, password=password)

    def secret(self, name: str) -> str:
        """A secret of the stack itself, made on first use and kept in a file of mode 0600."""
        return _secret(self.home / "secrets" / name)

    def environment(self, service: str, slot: int = 0) -> dict[str, str]:
        """The environment a service process of this stack runs in."""
        folder = self.home / "secrets" / service
        for name in ("mongo_password", "hmac_key", "cursor_key"):
            _secret(folder / name)
        return {
            "LIANDONG_ENV": "development",
            "LIANDONG_SERVICE_SLOT": _slot(service, slot),
            "LIANDONG_KAFKA": self.kafka,
            "LIANDONG_MONGO": self.mongo,
            "LIANDONG_REPLICA_SET": mongod.REPLICA_SET,
            "LIANDONG_SECRETS_DIR": str(folder),
            "LIANDONG_ISSUER": self.issuer_url if "issuer" in self.ports else "http://127.0.0.1:1",
            "LIANDONG_AUDIENCE": "liandong",
        }

    # --- start and stop ---

    async def __aenter__(self) -> Stack:
        await self.up()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Starts everything and returns when all of it is ready; when something fails, what was started is stopped.

        The services load their code while Kafka and mongod start, and go on when both are ready.
        """
        doctor.make_folder(self.home)
        doctor.make_folder(self.home / "secrets", mode=0o700)
        doctor.make_folder(self.home / "logs")
        self._take_lock()
        try:
            self.ports = Ports(self.home / "ports.json")
            doctor.check_disk(self.home)
            doctor.java()
            doctor.mongod()  # what is missing is told before anything starts
            await self._take_ports()
            self._write_state()
            early = [_slot(service, 0) for service in self.services]
            doors = [self._define(name) for name in ["issuer"] * self.with_issuer + early]
            for child in doors:
                await self._nursery.spawn(child)
            if self.with_issuer:
                self._nursery.open_gate(self.children["issuer"])
            await _together(self._start_kafka(), self._start_mongo())
            await self._begin_clock()
            for child in doors:
                self._nursery.open_gate(child)
            await asyncio.gather(*(until_ready(child) for child in doors))
            await self._make_archive()
            self.phase = "ready"
            self._write_state()
        except BaseException:
            await self.down()
            raise

    async def down(self) -> None:
        """Stops the services, then the issuer, then Kafka and mongod; each gets its time to finish, then is killed."""
        self.phase = "stopping"
        if self._lock is not None:
            self._write_state()
        stores = [name for name in self.children if name.startswith(("kafka-", "mongod-"))]
        services = [name for name in self.children if name not in stores and name != "issuer"]
        issuer = [name for name in self.children if name == "issuer"]
        if self._archiver is not None:
            await self._nursery.end(self._archiver, signal.SIGKILL)
        for together in (services, issuer, stores):
            await asyncio.gather(*(self.terminate(name) for name in together))
        if "kafka-0" in self.children:
            archive.keep_notes()
        await self._nursery.close()
        self.ports.release()
        if self._lock is not None:
            (self.home / "state.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def kill_now(self) -> None:
        """Kills every child at once, without waiting: for somebody who asks a second time."""
        for child in self.children.values():
            child.wanted = False
            self._nursery.signal(child, signal.SIGKILL)

    async def start(self, name: str, **environment: str) -> None:
        """Starts one child (again), for this once with more in its environment, and waits until it is ready.

        A service's name carries the number of its process: `evaluation-1` is a second one beside `evaluation-0`.
        """
        child = self.children.get(name) or self._define(name)
        if child.reader is not None:  # it ended by itself
            await self._nursery.end(child, signal.SIGKILL)
        await self._nursery.spawn(child, environment)
        self._nursery.open_gate(child)
        await until_ready(child)
        self._write_state()

    def pause(self, name: str) -> None:
        """Stops a child in the middle of what it does (SIGSTOP): it lives, keeps its connections, answers nothing."""
        self._nursery.signal(self.children[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Lets a paused child go on."""
        self._nursery.signal(self.children[name], signal.SIGCONT)

    async def kill(self, name: str) -> None:
        """Ends a child at once with SIGKILL and waits until it is gone."""
        await self._nursery.end(self.children[name], signal.SIGKILL)

    async def terminate(self, name: str) -> None:
        """Asks a child to stop, and kills it when it takes longer than it may."""
        await self._nursery.end(self.children[name], signal.SIGTERM)

    async def wait_any_exit(self) -> str:
        """Returns the name of the first child that ends by itself (not by `kill`, `terminate` or `down`)."""
        return await wait_any_exit(self.children)

    async def watch(self, tell: Callable[[str], None]) -> None:
        """Tells of every child that ends by itself and starts it again, five times at most; runs until cancelled."""
        await watch(self.children, start=self.start, gave_up=self._write_state, tell=tell)

    # --- inside ---

    def _take_lock(self) -> None:
        lock = (self.home / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise AlreadyRunning(
                f"{self.home} 已在运行(见 `./liandong dev status`)。 / "
                f"The stack of {self.home} is running already (see `./liandong dev status`)."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    async def _take_ports(self) -> None:
        names = [f"kafka-{i}" for i in range(self.brokers)] + [f"controller-{i}" for i in range(self.brokers)]
        replicas = [f"mongod-{i}" for i in range(self.mongods)]  # the set's own configuration names their ports
        names += replicas + ["issuer"] * self.with_issuer + [_slot(service, 0) for service in self.services]
        await self.ports.take(names, fixed=replicas, say=partial(self.say, "stack"))

    def _mongo_ports(self) -> list[int]:
        return [self.ports[f"mongod-{i}"] for i in range(self.mongods)]

    async def _start_kafka(self) -> None:
        def report(line: str) -> None:
            self.say("kafka", line)

        class_path = self._class_path = await asyncio.to_thread(kafka_class_path, report)
        ports = [(self.ports[f"kafka-{i}"], self.ports[f"controller-{i}"]) for i in range(self.brokers)]
        properties = [
            kafka.write_properties(self.home / f"kafka-{i}", node=i, ports=ports) for i in range(self.brokers)
        ]
        await _together(*(kafka.format_node(class_path, path, node=i) for i, path in enumerate(properties)))
        everyone = [broker for broker, _controller in ports]
        for i, path in enumerate(properties):
            self.children[f"kafka-{i}"] = Child(
                f"kafka-{i}", kafka.command(class_path, path), ready=lambda: kafka.ready(everyone)
            )
            await self._nursery.spawn(self.children[f"kafka-{i}"])
        await until_ready(self.children["kafka-0"])
        await kafka.create_topics(self.kafka, topics(), copies=self.brokers)

    async def _start_mongo(self) -> None:
        key = self.home / "secrets" / "replica-set-key"
        mongod.write_key(key)
        for i, port in enumerate(self._mongo_ports()):
            argv = mongod.command(self.home / f"mongod-{i}", port=port, key_file=key)
            self.children[f"mongod-{i}"] = child = Child(f"mongod-{i}", argv, ready=partial(accepts, port))
            await self._nursery.spawn(child)
        for i in range(self.mongods):
            await until_ready(self.children[f"mongod-{i}"])
        await mongod.initiate(self._mongo_ports(), admin_password=self.secret("admin"))
        passwords = {user: _secret(self.home / "secrets" / user / "mongo_password") for user in self.users}
        admin = self.admin()
        try:
            await mongod.create_users(admin, passwords, auditor=self.secret("auditor"), clock=self.secret("clock"))
        finally:
            admin.close()

    async def _begin_clock(self) -> None:
        if self.clock_at is None:
            return
        offset = (self.clock_at - datetime.now(UTC)) // timedelta(microseconds=1)
        client = self.as_user("clock")
        try:
            told = {"$setOnInsert": {"offset_us": offset}}
            await client[mongod.CLOCK_DATABASE].clock.update_one({"_id": "clock"}, told, upsert=True)
        finally:
            client.close()

    async def _make_archive(self) -> None:
        if command := archive.to_make(self._class_path):
            self._archiver = Child("archive", command, ready=always)
            await self._nursery.spawn(self._archiver)

    def _define(self, name: str) -> Child:
        if name not in self.ports:
            self.ports.choose(name)
        port = self.ports[name]
        serve = [sys.executable, "-m", "deploy.local.serve"]
        if name == "issuer":
            env = {"LIANDONG_ENV": "development", "LIANDONG_ISSUER": self.issuer_url}
            env["LIANDONG_ISSUER_KEY"] = str(self.home / "secrets" / "issuer-key")
            module = "deploy.local.issuer"
        else:
            kebab, _, slot = name.rpartition("-")
            service = kebab.replace("-", "_")
            if service not in service_packages() or not slot.isdigit():
                raise doctor.NotReady(
                    f"没有名为 {name} 的服务:可用 {', '.join(service_packages())}。 / "
                    f"There is no service {name}: there are {', '.join(service_packages())}."
                )
            env = self.environment(service, int(slot))
            module = f"services.{service}.main"
        ready = partial(http_ok, port, "/health/ready")
        child = Child(name, [*serve, module, str(port)], ready, env, gated=True)
        self.children[name] = child
        return child

    async def wait_exit(self, name: str) -> None:
        """Returns when the child has ended by itself."""
        process = self.children[name].process
        if process is not None:
            await process.wait()

    def _write_state(self) -> None:
        running = [child for child in self.children.values() if child.running]
        state = {
            "pid": os.getpid(),
            "phase": self.phase,
            "home": str(self.home),
            "since": self._since,
            "children": {child.name: child.process.pid for child in running if child.process},
            "ended": [child.name for child in self.children.values() if not child.running and child.process],
            "restarts": {child.name: child.restarts for child in self.children.values()},
            "ports": self.ports,
            "mongods": self.mongods,
        }
        path = self.home / "state.json"
        path.with_suffix(".tmp").write_text(json.dumps(state, indent=1))
        os.replace(path.with_suffix(".tmp"), path)


def _slot(service: str, slot: int) -> str:
    return f"{service.replace('_', '-')}-{slot}"


def _secret(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    return path.read_text()


async def _together(*work: Coroutine[Any, Any, None]) -> None:
    """Does all of it; when one part fails, the others are stopped before the failure goes on."""
    tasks = [asyncio.create_task(part) for part in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
