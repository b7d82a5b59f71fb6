"""Fetches Kafka's jars by pinned coordinates, checks each SHA-256, and keeps them in a cache that all clones share."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.local.doctor import NotReady, check_disk, make_folder

JARS = Path(__file__).with_name("kafka-4.3.1.jars.txt")
_TRIES = 3
_PARALLEL = 8
_TIMEOUT_SECONDS = 20


class FetchError(NotReady):
    """Something could not be fetched; the sentence says what, why and what to do."""


def cache_folder() -> Path:
    """Where downloads are kept: `LIANDONG_CACHE`, else `liandong` below `XDG_CACHE_HOME` or `~/.cache`."""
    if own := os.environ.get("LIANDONG_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "liandong"


def kafka_class_path(say: Callable[[str], None]) -> str:
    """The class path of Kafka 4.3.1 in the order of the pinned list, fetching what is missing or damaged.

    `LIANDONG_OFFLINE=1` never asks the network; `LIANDONG_MAVEN_MIRROR` is asked instead of the default repository.
    Raises FetchError with every jar that could not be had.
    """
    folder = cache_folder() / "kafka-4.3.1"
    make_folder(folder)
    rows = [line.split() for line in JARS.read_text().splitlines() if line.strip()]
    paths = [folder / f"{gav.split(':')[1]}-{gav.split(':')[2]}.jar" for gav, *_ in rows]

    def missing() -> list[tuple[str, str, Path]]:
        pairs = zip(rows, paths, strict=True)
        return [(gav, sha, path) for (gav, sha, _size), path in pairs if not (path.exists() and _sha256(path) == sha)]

    if missing():
        with (folder / ".lock").open("w") as lock:  # two stacks, or two clones, that start at once fetch once
            fcntl.flock(lock, fcntl.LOCK_EX)
            for stale in folder.glob(".part-*"):
                shutil.rmtree(stale, ignore_errors=True)
            if still := missing():
                _fetch_all(still, rows=rows, say=say)
    return os.pathsep.join(map(str, paths))


def _fetch_all(missing: list[tuple[str, str, Path]], *, rows: list[list[str]], say: Callable[[str], None]) -> None:
    damaged = [path.name for _gav, _sha, path in missing if path.exists()]
    if damaged:
        say(f"文件损坏,重新下载 / damaged, fetching again: {', '.join(damaged[:3])}{' …' if len(damaged) > 3 else ''}")
    total = len(rows)
    if os.environ.get("LIANDONG_OFFLINE"):
        raise FetchError(
            f"{cache_folder()} 中缺少(或损坏){len(missing)}/{total} 个 Kafka jar,而 LIANDONG_OFFLINE 已设置:"
            "请联网后取消该设置运行一次,或从另一台机器复制缓存。 / "
            f"{len(missing)} of {total} Kafka jars are not in {cache_folder()} and LIANDONG_OFFLINE is set: "
            "unset it once with a network, or copy the cache from another machine."
        )
    sizes = {gav: int(size) for gav, _sha, size in rows}
    check_disk(cache_folder(), sum(sizes[gav] for gav, *_ in missing) * 2)
    faults: list[str] = []
    done, fetched = total - len(missing), 0
    with ThreadPoolExecutor(_PARALLEL) as pool:
        for (gav, *_), fault in zip(missing, pool.map(lambda row: _fetch_one(*row), missing), strict=True):
            if fault:
                faults.append(fault)
            else:
                done, fetched = done + 1, fetched + sizes[gav]
                say(f"下载 Kafka / kafka jars {done}/{total} · {fetched / 1e6:.1f} MB")
    if faults:
        raise FetchError(
            f"{len(faults)} 个 Kafka jar 下载失败({faults[0]}):"
            "请检查网络,或用 LIANDONG_MAVEN_MIRROR 指定可用的镜像。 / "
            f"{len(faults)} Kafka jars could not be fetched ({faults[0]}): check the network, or set "
            "LIANDONG_MAVEN_MIRROR to a repository you can reach."
        )


def _fetch_one(gav: str, sha: str, out: Path) -> str | None:
    from jgo.maven import MavenContext  # noqa: PLC0415 - a third of a second that only a download needs

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
