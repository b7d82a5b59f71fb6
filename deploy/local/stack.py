"""Starts, watches and stops everything as child processes: ready one after the other, no orphan, ordered clean stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import httpx2

from deploy.local import doctor, kafka, mongod
from deploy.local.fetch import kafka_class_path

PROJECT = Path(__file__).resolve().parents[2]
READY_SECONDS = 90.0
_FIRST_PORT, _LAST_PORT = 20000, 32000  # below the ephemeral range, where a redialling peer could take our port
_POLL_SECONDS = 0.05


class AlreadyRunning(Exception):
    """Another process runs the stack of this home."""


@dataclass
class Child:
    """One process of the stack: how it is started, how it is known to be ready, how long it may take to stop."""

    name: str
    argv: list[str]
    ready: Callable[[], Awaitable[bool]]
    env: dict[str, str] = field(default_factory=dict)
    stop_seconds: float = 20.0
    process: asyncio.subprocess.Process | None = None
    reader: asyncio.Task[None] | None = None
    log: IO[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.returncode is None


class Stack:
    """Kafka, mongod, the development issuer and the services of one home folder; `async with` starts and stops it.

    `services` are names of packages below `services/`; each runs as `<kebab>-0`. `say(name, line)` gets every line
    that a child prints.
    """

    def __init__(
        self,
        home: Path,
        *,
        brokers: int = 1,
        mongods: int = 1,
        services: Sequence[str] = (),
        users: Sequence[str] = ("pilot_registration", "evaluation", "incentive_scoring"),
        issuer: bool = False,
        say: Callable[[str, str], None] = lambda name, line: None,
    ) -> None:
        self.home = home
        self.brokers, self.mongods = brokers, mongods
        self.services, self.users, self.with_issuer = tuple(services), tuple(users), issuer
        self.say = say
        self.children: dict[str, Child] = {}
        self.ports: dict[str, int] = {}
        self._lock: IO[str] | None = None

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
        """Starts everything and returns when all of it is ready; when something fails, what was started is stopped."""
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / "secrets").mkdir(mode=0o700, exist_ok=True)
        (self.home / "logs").mkdir(exist_ok=True)
        self._take_lock()
        try:
            doctor.check_disk(self.home)
            self._choose_ports()
            await asyncio.gather(self._start_kafka(), self._start_mongo())
            if self.with_issuer:
                await self.start("issuer")
            self._write_state()
            await asyncio.gather(*(self.start(_slot(service, 0)) for service in self.services))
            self._write_state()
        except BaseException:
            await self.down()
            raise

    async def down(self) -> None:
        """Stops the services, then the issuer, then Kafka and mongod; each gets its time to finish, then is killed."""
        stores = [name for name in self.children if name.startswith(("kafka-", "mongod-"))]
        doors = [name for name in self.children if name not in stores]
        await asyncio.gather(*(self.terminate(name) for name in doors))
        await asyncio.gather(*(self.terminate(name) for name in stores))
        (self.home / "state.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def start(self, name: str, **environment: str) -> None:
        """Starts one child (again), for this once with more in its environment, and waits until it is ready."""
        child = self.children.get(name) or self._define(name)
        await self._spawn(child, environment)
        await self._until_ready(child)
        self._write_state()

    async def kill(self, name: str) -> None:
        """Ends a child at once with SIGKILL and waits until it is gone."""
        await self._end(self.children[name], signal.SIGKILL)

    async def terminate(self, name: str) -> None:
        """Asks a child to stop, and kills it when it takes longer than it may."""
        await self._end(self.children[name], signal.SIGTERM)

    async def wait_any_exit(self) -> str:
        """Returns the name of the first child that ends by itself."""
        while True:
            for child in self.children.values():
                if child.process is not None and child.process.returncode is not None:
                    return child.name
            await asyncio.sleep(0.2)

    # --- inside ---

    def _take_lock(self) -> None:
        lock = (self.home / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.close()
            raise AlreadyRunning(
                f"{self.home} 已在运行(见 `./liandong dev status`)。 / "
                f"The stack of {self.home} is running already (see `./liandong dev status`)."
            ) from error
        self._lock = lock

    def _choose_ports(self) -> None:
        kept = self.home / "ports.json"
        known: dict[str, int] = json.loads(kept.read_text()) if kept.exists() else {}
        names = [f"kafka-{i}" for i in range(self.brokers)] + [f"controller-{i}" for i in range(self.brokers)]
        names += [f"mongod-{i}" for i in range(self.mongods)] + ["issuer"] * self.with_issuer
        names += [_slot(service, 0) for service in self.services]
        taken = set(known.values())
        for name in names:
            if name not in known:
                known[name] = _free_port(taken)
                taken.add(known[name])
            else:
                doctor.check_port(known[name], name)
        kept.write_text(json.dumps(known, indent=1))
        self.ports = known

    def _mongo_ports(self) -> list[int]:
        return [self.ports[f"mongod-{i}"] for i in range(self.mongods)]

    async def _start_kafka(self) -> None:
        def report(line: str) -> None:
            self.say("kafka", line)

        class_path = await asyncio.to_thread(kafka_class_path, report)
        ports = [(self.ports[f"kafka-{i}"], self.ports[f"controller-{i}"]) for i in range(self.brokers)]
        properties = [
            kafka.write_properties(self.home / f"kafka-{i}", node=i, ports=ports) for i in range(self.brokers)
        ]
        await asyncio.gather(*(kafka.format_node(class_path, path) for path in properties))
        everyone = [broker for broker, _controller in ports]
        for i, path in enumerate(properties):
            self.children[f"kafka-{i}"] = Child(
                f"kafka-{i}", kafka.command(class_path, path), ready=lambda: kafka.ready(everyone)
            )
            await self._spawn(self.children[f"kafka-{i}"])
        await self._until_ready(self.children["kafka-0"])
        from shared.contracts import topics  # noqa: PLC0415 - keeps `dev down` free of the contracts

        await kafka.create_topics(self.kafka, topics(), copies=self.brokers)

    async def _start_mongo(self) -> None:
        key = self.home / "secrets" / "replica-set-key"
        mongod.write_key(key)
        for i, port in enumerate(self._mongo_ports()):
            argv = mongod.command(self.home / f"mongod-{i}", port=port, key_file=key)
            self.children[f"mongod-{i}"] = child = Child(f"mongod-{i}", argv, ready=partial(_accepts, port))
            await self._spawn(child)
        for i in range(self.mongods):
            await self._until_ready(self.children[f"mongod-{i}"])
        await mongod.initiate(self._mongo_ports(), admin_password=self.secret("admin"))
        passwords = {user: _secret(self.home / "secrets" / user / "mongo_password") for user in self.users}
        admin = self.admin()
        try:
            await mongod.create_users(admin, passwords, auditor=self.secret("auditor"), clock=self.secret("clock"))
        finally:
            admin.close()

    def _define(self, name: str) -> Child:
        if name not in self.ports:
            self.ports[name] = _free_port(set(self.ports.values()))
        port = self.ports[name]
        serve = [sys.executable, "-m", "uvicorn", "--factory", "--host", "127.0.0.1", "--port", str(port)]
        serve += ["--no-access-log", "--timeout-graceful-shutdown", "10"]
        if name == "issuer":
            env = {"LIANDONG_ENV": "development", "LIANDONG_ISSUER": self.issuer_url}
            env["LIANDONG_ISSUER_KEY"] = str(self.home / "secrets" / "issuer-key")
            child = Child(name, [*serve, "deploy.local.issuer:app"], lambda: _http_ok(port, "/health/ready"), env)
        else:
            kebab, _, slot = name.rpartition("-")
            service = kebab.replace("-", "_")
            env = self.environment(service, int(slot))
            argv = [*serve, f"services.{service}.main:app"]
            child = Child(name, argv, lambda: _http_ok(port, "/health/ready"), env)
        self.children[name] = child
        return child

    async def wait_exit(self, name: str) -> None:
        """Returns when the child has ended by itself."""
        process = self.children[name].process
        if process is not None:
            await process.wait()

    async def _spawn(self, child: Child, more: Mapping[str, str] = MappingProxyType({})) -> None:
        child.log = (self.home / "logs" / f"{child.name}.log").open("ab")
        environment = {**os.environ, **child.env, **more, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(PROJECT)}
        child.process = await asyncio.create_subprocess_exec(
            *_die_with_parent(), *child.argv, env=environment, cwd=PROJECT, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            limit=2**20,
        )  # fmt: skip
        child.reader = asyncio.create_task(self._read(child))

    async def _read(self, child: Child) -> None:
        assert child.process is not None
        assert child.process.stdout is not None
        assert child.log is not None
        stream, log = child.process.stdout, child.log
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line over the limit: its head is dropped, the rest follows
                continue
            if not line:
                break
            log.write(line)
            log.flush()
            self.say(child.name, line.decode(errors="replace").rstrip())
        log.close()

    async def _until_ready(self, child: Child) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while not await child.ready():
            if not child.running:
                raise doctor.NotReady(f"{child.name} ended while starting: {self._tail(child)}")
            if asyncio.get_running_loop().time() > deadline:
                raise doctor.NotReady(f"{child.name} was not ready within {READY_SECONDS:.0f} s: {self._tail(child)}")
            await asyncio.sleep(_POLL_SECONDS)

    def _tail(self, child: Child) -> str:
        lines = (self.home / "logs" / f"{child.name}.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-4:]) or "it printed nothing"

    async def _end(self, child: Child, how: signal.Signals) -> None:
        if child.process is not None and child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, how)
            try:
                await asyncio.wait_for(child.process.wait(), child.stop_seconds)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.process.pid, signal.SIGKILL)
                await child.process.wait()
        if child.reader is not None:
            await child.reader
            child.reader = None

    def _write_state(self) -> None:
        pids = {name: child.process.pid for name, child in self.children.items() if child.running and child.process}
        state = {"pid": os.getpid(), "children": pids, "ports": self.ports, "home": str(self.home)}
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


def _free_port(taken: set[int]) -> int:
    for _ in range(1000):
        port = _FIRST_PORT + secrets.randbelow(_LAST_PORT - _FIRST_PORT)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise doctor.NotReady("No free port between 20000 and 32000: end some programs first.")


def _die_with_parent() -> list[str]:
    # setpriv keeps the pid and lets the kernel end the child when we are killed -9 ourselves.
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []


async def _accepts(port: int) -> bool:
    try:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _http_ok(port: int, path: str) -> bool:
    try:
        async with httpx2.AsyncClient(timeout=5) as http:
            return (await http.get(f"http://127.0.0.1:{port}{path}")).status_code == httpx2.codes.OK
    except httpx2.HTTPError:
        return False
