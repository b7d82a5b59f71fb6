"""Who says and who hears what: read from the contracts and from each service's reactions table, never typed again."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from deploy.contracts.schemas import facts
from shared.contracts import PUBLISHERS, facts_of

# From `Hears:` to the end of the paragraph that begins with `Says:`, however both are wrapped.
_HEARS_SAYS = re.compile(r'^Hears:.*?^Says:.*?(?=\n[ \t]*\n|\n?""")', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Service:
    """A service as its neighbours see it; names as classes of the contracts."""

    publisher: str
    hears: tuple[str, ...]
    says: tuple[str, ...]

    @property
    def package(self) -> str:
        """Its folder in the checkout."""
        return f"services/{self.publisher.replace('-', '_')}"


def services(root: Path) -> tuple[Service, ...]:
    """Every publisher with its table, in the order of the contracts."""
    return tuple(
        Service(publisher, hears(root / "services" / publisher.replace("-", "_")), _says(publisher))
        for publisher in PUBLISHERS
    )


def hears(package: Path) -> tuple[str, ...]:
    """The facts that stand as keys in the dict of a service's `reactions`, in the order of the contracts.

    The table is read as text, so that no broker or driver is needed to make a page. Raises ValueError for a table that
    does not name its facts one by one: who hears what must be readable on one screen.
    """
    sources = [package / "subscribers.py"] if (package / "subscribers.py").exists() else []
    sources += sorted((package / "subscribers").glob("*.py"))
    named: set[str] = set()
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name == "reactions":
                named |= _keys(node, source)
    return tuple(fact.__name__ for fact in facts() if fact.__name__ in named)


def docstring(text: str, service: Service) -> str:
    """The text of a package's `__init__.py` with its Hears and Says lines remade; ValueError when it has none."""
    wanted = "\n".join((_line("Hears", service.hears), _line("Says", service.says)))
    remade, found = _HEARS_SAYS.subn(lambda _: wanted, text, count=1)
    if not found:
        raise ValueError(f"{service.package}/__init__.py needs the lines `Hears: …` and `Says: …` in its docstring")
    return remade


def _keys(function: ast.FunctionDef, source: Path) -> set[str]:
    known = {fact.__name__ for fact in facts()}
    names: set[str] = set()
    for table in (node for node in ast.walk(function) if isinstance(node, ast.Dict)):
        for key in table.keys:
            name = key.attr if isinstance(key, ast.Attribute) else key.id if isinstance(key, ast.Name) else None
            if name not in known:
                raise ValueError(f"{source}: the reactions table must name each fact, line {table.lineno} does not")
            names.add(name)
    return names


def _says(publisher: str) -> tuple[str, ...]:
    return tuple(fact.__name__ for fact in facts_of(publisher))


def _line(word: str, names: tuple[str, ...]) -> str:
    text = f"{word}: {', '.join(names) or 'nothing'}."
    return "\n".join(textwrap.wrap(text, 120, subsequent_indent="    ", break_long_words=False))
