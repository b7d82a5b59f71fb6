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

MEANINGS = {
    "env": "production 拒绝开发时钟、故障点与明文身份服务 / production refuses development clock and failpoints",
    "service": "服务名,也是数据库名与用户名 / the service: its database and its user have the same name",
    "service_slot": "本进程的固定名称(会话与消费组成员) / this process's stable name: sessions and group member",
    "kafka": "Kafka 地址 host:port,逗号分隔 / Kafka's bootstrap servers",
    "mongo": "MongoDB 副本集成员 host:port,逗号分隔 / members of the replica set",
    "replica_set": "副本集名称 / the replica set's name",
    "mongo_password": "本服务数据库用户的密码 / password of the service's own database user",
    "hmac_key": "请求键与请求体的摘要密钥 / key of the digests of request keys and bodies",
    "cursor_key": "翻页标记的签名密钥 / key that signs list cursors",
    "issuer": "OIDC 身份服务地址 / address of the OIDC issuer",
    "audience": "令牌的受众 / the audience that tokens must name",
    "token_algorithm": "令牌签名算法 / the only accepted signature algorithm",
    "log_level": "日志级别 / least level that is logged",
    "otlp_endpoint": "OpenTelemetry 收集器,留空则不发送 / collector of traces; empty: none are recorded",
    "graceful_seconds": "停止时完成在途工作的时间(秒) / seconds to finish work when asked to stop",
    "due_poll_seconds": "检查到期事项的间隔(秒) / seconds between looks at the due queue",
    "sequencer_lease_seconds": "排序者租约(秒) / seconds after which a silent sequencer is replaced",
}


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
    choices = tuple(str(choice) for choice in get_args(field.annotation) if isinstance(choice, str))
    meaning = field.description or MEANINGS.get(name, "")
    return Setting(name, variable, value, source, secret, choices, meaning)


def environment_of(pid: int) -> dict[str, str]:
    """The environment of a running process of ours."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)
