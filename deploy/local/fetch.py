"""Fetches Kafka's jars by pinned coordinates, checks each SHA-256, and keeps them in a cache that all clones share."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jgo.maven import MavenContext

JARS = Path(__file__).with_name("kafka-4.3.1.jars.txt")
_TRIES = 3
_PARALLEL = 8
_TIMEOUT_SECONDS = 20


class FetchError(Exception):
    """Something could not be fetched; the sentence says what, why and what to do."""


def cache_folder() -> Path:
    """Where downloads are kept: `LIANDONG_CACHE`, else `~/.cache/liandong`."""
    return Path(os.environ.get("LIANDONG_CACHE") or Path.home() / ".cache" / "liandong")


def kafka_class_path(say: Callable[[str], None]) -> str:
    """The class path of Kafka 4.3.1 in the order of the pinned list, fetching what is missing or damaged.

    `LIANDONG_OFFLINE=1` never asks the network; `LIANDONG_MAVEN_MIRROR` is asked instead of the default repository.
    Raises FetchError with every jar that could not be had.
    """
    folder = cache_folder() / "kafka-4.3.1"
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(".part-*"):
        shutil.rmtree(stale, ignore_errors=True)
    rows = [line.split() for line in JARS.read_text().splitlines() if line.strip()]
    paths = [folder / f"{gav.split(':')[1]}-{gav.split(':')[2]}.jar" for gav, *_ in rows]
    missing = [
        (gav, sha, path)
        for (gav, sha, _size), path in zip(rows, paths, strict=True)
        if not (path.exists() and _sha256(path) == sha)
    ]
    if missing:
        _fetch_all(missing, total=len(rows), say=say)
    return os.pathsep.join(map(str, paths))


def _fetch_all(missing: list[tuple[str, str, Path]], *, total: int, say: Callable[[str], None]) -> None:
    if os.environ.get("LIANDONG_OFFLINE"):
        raise FetchError(
            f"{len(missing)} of {total} Kafka jars are not in {cache_folder()} and LIANDONG_OFFLINE is set: "
            "unset it once with a network, or copy the cache from another machine."
        )
    faults: list[str] = []
    done = total - len(missing)
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for fault in pool.map(lambda row: _fetch_one(*row), missing):
            if fault:
                faults.append(fault)
            else:
                done += 1
                say(f"kafka jars {done}/{total}")
    if faults:
        raise FetchError(
            f"{len(faults)} Kafka jars could not be fetched ({faults[0]}): check the network, or set "
            "LIANDONG_MAVEN_MIRROR to a repository you can reach."
        )


def _fetch_one(gav: str, sha: str, out: Path) -> str | None:
    group, artifact, version = gav.split(":")
    out.unlink(missing_ok=True)  # damaged: what is kept is never trusted without its hash
    mirror = os.environ.get("LIANDONG_MAVEN_MIRROR")
    fault = "no answer"
    for _ in range(_TRIES):
        # A fresh staging repository per try: the library takes any file it finds for complete.
        with tempfile.TemporaryDirectory(prefix=".part-", dir=out.parent) as staging:
            try:
                remote = {"mirror": mirror.rstrip("/")} if mirror else None
                context = MavenContext(repo_cache=Path(staging), timeout=_TIMEOUT_SECONDS, remote_repos=remote)
                jar = context.project(group, artifact).at_version(version).artifact().resolve()
            except (OSError, RuntimeError) as error:
                fault = f"{gav}: {str(error).splitlines()[0][:120] if str(error) else type(error).__name__}"
                continue
            got = _sha256(jar)
            if got == sha:
                os.replace(jar, out)
                return None
            fault = f"{gav}: SHA-256 is {got}, the pinned list says {sha}"
    return fault


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
