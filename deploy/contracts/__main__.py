"""`python -m deploy.contracts [--check]`: remake what is generated from the contracts, or say what is stale."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from deploy.contracts import asyncapi, gate, hearing, page, samples, schemas

ROOT = Path(__file__).resolve().parents[2]


def generated(root: Path) -> dict[str, str]:
    """Path and text of every generated file, and of every package docstring with its Hears and Says lines remade."""
    services = hearing.services(root)
    documents = {
        page.PATH: page.page(services),
        asyncapi.PATH: schemas.text(asyncapi.document(root, services)),
    }
    docstrings = {
        f"{service.package}/__init__.py": hearing.docstring(
            (root / service.package / "__init__.py").read_text("utf-8"), service
        )
        for service in services
        if (root / service.package).exists()
    }
    return schemas.files() | documents | docstrings


def stale(root: Path) -> list[str]:
    """The generated files that differ from what they should be, are missing, or should not be there."""
    wanted = generated(root)
    differing = [name for name, text in wanted.items() if _read(root / name) != text]
    return differing + [str(path.relative_to(root)) for path in _strays(root, wanted)]


def write(root: Path) -> list[str]:
    """Writes what is stale and the samples that are missing; says what it wrote."""
    wanted = generated(root) | samples.missing(root)
    changed = [name for name, text in wanted.items() if _read(root / name) != text]
    for name in changed:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(wanted[name], "utf-8")
    for path in _strays(root, wanted):
        changed.append(f"{path.relative_to(root)} (removed)")
        path.unlink()
    return changed


def _strays(root: Path, wanted: dict[str, str]) -> list[Path]:
    kept = {root / name for name in (*wanted, gate.ACCEPTED)}
    return sorted(path for path in (root / schemas.FOLDER).rglob("*.json") if path not in kept)


def _read(path: Path) -> str | None:
    return path.read_text("utf-8") if path.exists() else None


def _gate(root: Path) -> bool:
    against = gate.baseline(root)
    current = {name: json.loads(text) for name, text in schemas.files().items()}
    print(f"schema gate: {len(current)} facts compared with {against.name} ({len(against.schemas)} schemas)")
    if against.partial:
        print(f"schema gate: incomplete, {against.partial}")
    found = gate.refused(root, current, against)
    for sentence in found:
        print(f"schema gate: REFUSED {sentence}")
    if found:
        print(f"A new version of the fact is the way out; a break that nobody can meet is accepted in {gate.ACCEPTED}.")
    return not found


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """The exit code: 0 when everything is fresh and nothing breaks."""
    parser = argparse.ArgumentParser(prog="python -m deploy.contracts", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail when a file is stale or a change breaks"
    )
    check = parser.parse_args(arguments).check
    differing = [*stale(root), *samples.missing(root)] if check else write(root)
    for name in differing:
        print(f"{'stale' if check else 'written'}: {name}")
    if check and differing:
        print("Run `make contracts` and commit what it writes.")
    return int(not _gate(root) or (check and bool(differing)))


if __name__ == "__main__":
    sys.exit(main())
