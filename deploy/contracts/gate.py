"""The gate: no fact changes so that an old reader fails on a new fact, or a new reader on an old one (rule 25).

Verdict by jsoncompat, twice: open schemas for old consumers that ignore unknown fields, closed ones for the replay of
old facts by new models. It does not see `pattern`, `format` and our topic annotations, so these are compared here.
What a change *is* gets named by our own reading of both schemas.

Compared with the schemas of the last release tag (`v*`). Before the first release every schema is held against the
commit it first landed with. Both need the history: a shallow clone or an unpacked archive is told so, not refused.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsoncompat

from deploy.contracts.schemas import FOLDER

ACCEPTED = f"{FOLDER}/accepted.json"
FIRST_LANDED = "each schema as it first landed (no release yet)"
_ANNOTATIONS = ("x-topic", "x-partitions", "x-key")


@dataclass(frozen=True, slots=True)
class Baseline:
    """What is compared with: its name and the schemas by file; `partial` says why some or all of it is missing."""

    name: str
    schemas: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    partial: str = ""


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a schema with its references resolved."""

    required: bool
    kinds: frozenset[str]
    enum: frozenset[str]
    pattern: str
    format: str


def baseline(root: Path) -> Baseline:
    """The schemas to compare with, out of the git history of a checkout."""
    try:
        shallow = _git(root, "rev-parse", "--is-shallow-repository") == "true"
    except (OSError, subprocess.CalledProcessError) as error:
        return Baseline("nothing", partial=f"no git history here ({_reason(error)})")
    partial = "the clone is shallow: fetch the whole history (git fetch --unshallow --tags)" if shallow else ""
    try:
        tag = _git(root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*")
    except subprocess.CalledProcessError:
        return Baseline(FIRST_LANDED, _landed(root), partial)
    names = _git(root, "ls-tree", "-r", "--name-only", tag, "--", FOLDER).splitlines()
    return Baseline(f"release {tag}", {name: _at(root, tag, name) for name in names if _is_schema(name)}, partial)


def breaks(old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> list[str]:
    """One sentence per change that would break a reader, in the order of the files."""
    found: list[str] = []
    for name, before in sorted(old.items()):
        label = Path(name).name.removesuffix(".json")
        if name not in new:
            found.append(f"{label}: the fact is withdrawn, its readers wait for ever")
            continue
        after = new[name]
        found += [
            f"{label}: {key.removeprefix('x-')} {before.get(key)} became {after.get(key)}"
            for key in _ANNOTATIONS
            if before.get(key) != after.get(key)
        ]
        changes = list(_changes(before, after))
        unseen = [sentence for sentence, seen in changes if not seen]
        if not _compatible(before, after):
            unseen = [sentence for sentence, _ in changes] or ["a change that old and new readers cannot share"]
        found += [f"{label}: {sentence}" for sentence in unseen]
    return found


def refused(root: Path, new: Mapping[str, dict[str, Any]], against: Baseline) -> list[str]:
    """The breaks that nobody has accepted in writing, and accepted ones that are not (or no longer) breaks."""
    path = root / ACCEPTED
    accepted = json.loads(path.read_text("utf-8")) if path.exists() else {}
    mine = accepted.get(against.name, {})
    found = breaks(against.schemas, new)
    stale = [sentence for name, why in accepted.items() for sentence in why if name != against.name]
    stale += [sentence for sentence in mine if sentence not in found]
    return [sentence for sentence in found if sentence not in mine] + [
        f"{ACCEPTED} accepts what is no break against {against.name}: {sentence}" for sentence in stale
    ]


def _compatible(old: dict[str, Any], new: dict[str, Any]) -> bool:
    before, after = _plain(old), _plain(new)
    return bool(
        jsoncompat.check_compat(json.dumps(before), json.dumps(after), "serializer")
        and jsoncompat.check_compat(json.dumps(_closed(before)), json.dumps(_closed(after)), "deserializer")
    )


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Without `$id`, which jsoncompat takes for a remote reference, and our annotations."""
    return {key: value for key, value in schema.items() if key != "$id" and not key.startswith("x-")}


def _closed(node: Any) -> Any:
    """The schema with every object closed, as if readers refused what they do not know."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    return closed | {"additionalProperties": False} if node.get("type") == "object" and "properties" in node else closed


def _changes(old: dict[str, Any], new: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Every change but an added optional field, as a sentence, and whether jsoncompat can see it."""
    before, after = dict(_fields(old, old)), dict(_fields(new, new))
    for name, now in after.items():
        if name not in before:
            parent = name.rpartition(".")[0]
            if now.required and (not parent or parent.removesuffix("[]") in before):
                yield f"required field {name} added: old facts lack it", True
    for name, was in before.items():
        if name not in after:
            yield f"field {name} removed: old consumers look for it", True
            continue
        now = after[name]
        if was.required != now.required:
            yield f"field {name} became {'required' if now.required else 'optional'}", True
        if was.kinds != now.kinds:
            yield f"field {name} changed from {'|'.join(sorted(was.kinds))} to {'|'.join(sorted(now.kinds))}", True
        for value in sorted(now.enum - was.enum):
            yield f"field {name} can now say {value!r}: old consumers do not know it", True
        for value in sorted(was.enum - now.enum):
            yield f"field {name} no longer knows {value!r}: old facts say it", True
        if was.pattern != now.pattern:
            yield f"field {name} changed its pattern from {was.pattern!r} to {now.pattern!r}", False
        if was.format != now.format:
            yield f"field {name} changed its format from {was.format!r} to {now.format!r}", False


def _fields(root: dict[str, Any], node: dict[str, Any], path: str = "") -> Iterator[tuple[str, _Field]]:
    """Every field under an object, by dotted path; `[]` marks the items of an array."""
    required = set(node.get("required", ()))
    for name, spec in node.get("properties", {}).items():
        here = f"{path}{name}"
        branches = list(_branches(root, spec))
        yield (
            here,
            _Field(
                required=name in required,
                kinds=frozenset(str(branch.get("type", "anything")) for branch in branches),
                enum=frozenset(str(value) for branch in branches for value in branch.get("enum", ())),
                pattern="|".join(str(branch["pattern"]) for branch in branches if "pattern" in branch),
                format="|".join(str(branch["format"]) for branch in branches if "format" in branch),
            ),
        )
        for branch in branches:
            yield from _fields(root, branch, f"{here}.")
            if branch.get("type") == "array" and isinstance(branch.get("items"), dict):
                items = {"properties": {f"{name}[]": branch["items"]}, "required": [f"{name}[]"]}
                yield from _fields(root, items, path)


def _branches(root: dict[str, Any], spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The alternatives of a field, references followed."""
    while "$ref" in spec:
        spec = root["$defs"][spec["$ref"].rpartition("/")[2]]
    for choice in ("anyOf", "oneOf", "allOf"):
        for branch in spec.get(choice, ()):
            yield from _branches(root, branch)
    if not {"anyOf", "oneOf", "allOf"} & spec.keys():
        yield spec


def _landed(root: Path) -> dict[str, dict[str, Any]]:
    """Every schema in the commit that first added it."""
    log = _git(root, "log", "--diff-filter=A", "--no-renames", "--format=@%H", "--name-only", "--", FOLDER)
    first: dict[str, str] = {}
    commit = ""
    for line in log.splitlines():  # newest first: the last one to say so was the first to add it
        if line.startswith("@"):
            commit = line[1:]
        elif _is_schema(line):
            first[line] = commit
    return {name: _at(root, commit, name) for name, commit in sorted(first.items())}


def _is_schema(name: str) -> bool:
    return name.startswith(f"{FOLDER}/") and name.endswith(".json") and name != ACCEPTED


def _at(root: Path, commit: str, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(_git(root, "show", f"{commit}:{name}"))
    return document


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", "") or str(error)
    return said.strip().splitlines()[0] if said.strip() else type(error).__name__
