"""The archive of Kafka's loaded classes (AppCDS), made once per machine and Java: brokers start in about half the time.

The first broker notes what it loads, the next start makes the archive from these notes beside its work, at the lowest
priority, and every later one uses it. A start never waits for any of it; without an archive Kafka loads as usual.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from deploy.local import doctor
from deploy.local.fetch import JARS, cache_folder

_NOTES_BYTES_MIN = 200_000
"""Notes of a broker that was killed while it started are no use: complete ones have about 700 kB."""


def flags(*, note: bool) -> list[str]:
    """What a broker's command line gets: the archive to use, or (when it may `note`) a file for its classes."""
    archive, notes = _files()
    if archive.exists():
        return [f"-XX:SharedArchiveFile={archive}"] if archive.stat().st_size else []
    if note and not usable(notes):
        return [f"-XX:DumpLoadedClassList={notes.with_name(f'{notes.name}.{os.getpid()}')}"]
    return []


def keep_notes() -> None:
    """Keeps what our broker has noted, after it has ended."""
    _archive, notes = _files()
    mine = notes.with_name(f"{notes.name}.{os.getpid()}")
    if usable(mine):
        os.replace(mine, notes)
    mine.unlink(missing_ok=True)


def to_make(class_path: str) -> list[str] | None:
    """The command that makes the archive now, or None when it is there or cannot be made yet."""
    archive, notes = _files()
    if archive.exists() or not usable(notes):
        return None
    return [sys.executable, "-m", "deploy.local.archive", class_path]


def make(class_path: str) -> None:
    """Makes the archive, unless another stack is at it. An empty one says that this Java cannot: nobody tries again."""
    archive, notes = _files()
    with notes.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.nice(19)
        part = archive.with_name(f".part-{archive.name}-{os.getpid()}")
        command = [doctor.java(), "-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedClassListFile={notes}"]
        command += [f"-XX:SharedArchiveFile={part}", "-cp", class_path]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        if done.returncode or not part.exists():
            part.write_bytes(b"")
        os.replace(part, archive)
        notes.unlink()


def usable(notes: Path) -> bool:
    """Whether a file of notes is there and complete."""
    return notes.exists() and notes.stat().st_size >= _NOTES_BYTES_MIN


def _files() -> tuple[Path, Path]:
    java = Path(doctor.java()).resolve()
    # An archive fits one Java and one class path; both are in its name.
    which = f"{java}:{java.stat().st_mtime_ns}:{cache_folder()}:{JARS.read_text()}"
    name = f"kafka-4.3.1-{hashlib.sha256(which.encode()).hexdigest()[:12]}"
    return cache_folder() / f"{name}.jsa", cache_folder() / f"{name}.classes"


if __name__ == "__main__":
    with suppress(BlockingIOError, FileNotFoundError):
        make(sys.argv[1])
