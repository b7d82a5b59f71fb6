"""Every setting of a service with its meaning, value and where that comes from; a secret's value is never shown."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from shared.platform.settings import ServiceSettings

HIDDEN = "**********"
_PREFIX = "LIANDONG_"


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of the sheet. `source` is `environment`, `file`, `default` or `missing`."""

    name: str
    variable: str
    value: str | None
    source: str
    secret: bool
    choices: tuple[str, ...]
    meaning: str

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def sheet(service: str, environment: Mapping[str, str] = os.environ) -> list[Setting]:
    """The settings that the service would have in this environment, complete or not; nothing is connected."""
    settings: type[ServiceSettings] = import_module(f"services.{service}.settings").Settings
    folder = environment.get(f"{_PREFIX}SECRETS_DIR")
    return [_setting(name, field, environment, folder) for name, field in settings.model_fields.items()]


def _setting(name: str, field: Any, environment: Mapping[str, str], folder: str | None) -> Setting:
    secret = field.annotation is SecretStr
    variable = f"{_PREFIX}{name.upper()}"
    value: str | None
    if secret:
        file = Path(folder or "/", name)
        variable = f"${_PREFIX}SECRETS_DIR/{name}"
        value, source = (HIDDEN, "file") if folder and file.is_file() else (None, "missing")
    elif variable in environment:
        value, source = environment[variable], "environment"
    elif field.default is not PydanticUndefined:
        value, source = str(field.default), "default"
    else:
        value, source = None, "missing"
    of_all = ServiceSettings.model_fields.get(name)
    choices = tuple(str(choice) for choice in get_args(field.annotation) if isinstance(choice, str))
    meaning = field.description or (of_all.description if of_all else None) or ""
    return Setting(name, variable, value, source, secret, choices, meaning)


def environment_of(pid: int) -> dict[str, str]:
    """The environment of a running process of ours."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
