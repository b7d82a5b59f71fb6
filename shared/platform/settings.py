"""The settings every service has: from the environment, secrets from files, safe defaults, printed without secrets."""

from __future__ import annotations

import os
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

_SECRETS_DIR = "LIANDONG_SECRETS_DIR"


class ServiceSettings(BaseSettings):
    """Settings of one service process. Environment variables carry the prefix `LIANDONG_`.

    Secrets (`mongo_password`, `hmac_key`, `cursor_key`) are files of that name in the folder `LIANDONG_SECRETS_DIR`; in
    production they may come from nowhere else. A printed settings object shows `**********` in their place.
    """

    model_config = SettingsConfigDict(
        env_prefix="LIANDONG_", extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    env: Literal["production", "development", "test"] = "production"
    """production 拒绝开发时钟、故障点与明文身份服务 / production refuses development clock and failpoints"""
    service: str
    """服务名,也是数据库名与用户名 / the service: its database and its user have the same name"""
    service_slot: str = ""
    """本进程的固定名称(会话与消费组成员) / this process's stable name: sessions and group member"""
    kafka: str
    """Kafka 地址 host:port,逗号分隔 / Kafka's bootstrap servers"""
    mongo: str
    """MongoDB 副本集成员 host:port,逗号分隔 / members of the replica set"""
    replica_set: str = "rs0"
    """副本集名称 / the replica set's name"""
    mongo_password: SecretStr
    """本服务数据库用户的密码 / password of the service's own database user"""
    hmac_key: SecretStr
    """请求键与请求体的摘要密钥 / key of the digests of request keys and bodies"""
    cursor_key: SecretStr
    """翻页标记的签名密钥 / key that signs list cursors"""
    issuer: str
    """OIDC 身份服务地址 / address of the OIDC issuer"""
    audience: str = "liandong"
    """令牌的受众 / the audience that tokens must name"""
    token_algorithm: Literal["EdDSA", "ES256"] = "ES256"  # noqa: S105 - the name of an algorithm
    """令牌签名算法 / the only accepted signature algorithm"""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """日志级别 / least level that is logged"""
    otlp_endpoint: str = ""
    """OpenTelemetry 收集器,留空则不发送 / collector of traces; empty: none are recorded"""
    graceful_seconds: float = Field(default=10.0, gt=0, le=120)
    """停止时完成在途工作的时间(秒) / seconds to finish work when asked to stop"""
    due_poll_seconds: float = Field(default=1.0, gt=0)
    """检查到期事项的间隔(秒) / seconds between looks at the due queue"""
    sequencer_lease_seconds: float = Field(default=3.0, gt=0)
    """排序者租约(秒) / seconds after which a silent sequencer is replaced"""

    @property
    def name(self) -> str:
        """The service as it is called outside Python: kebab case."""
        return self.service.replace("_", "-")

    @property
    def slot(self) -> str:
        """The stable name of this process: session slot and static group member (rules 7 and 13)."""
        return self.service_slot or f"{self.name}-0"

    @property
    def production(self) -> bool:
        """Whether development conveniences (clock, failpoints, issuer) are refused."""
        return self.env == "production"

    @model_validator(mode="before")
    @classmethod
    def _secrets_only_from_files(cls, values: dict[str, Any]) -> dict[str, Any]:
        for name in ("mongo_password", "hmac_key", "cursor_key"):
            if f"LIANDONG_{name.upper()}" in os.environ:
                raise ValueError(f"{name} must be a file in {_SECRETS_DIR}, not an environment variable")
        return values

    @model_validator(mode="after")
    def _tokens_travel_encrypted(self) -> Self:
        if self.production and not self.issuer.startswith("https://"):
            raise ValueError(
                "issuer must be an https:// address in production, or its keys could be replaced on the way"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Explicit arguments first, then the environment, then secret files (named without the prefix)."""
        folder = os.environ.get(_SECRETS_DIR)
        files = (
            SecretsSettingsSource(settings_cls, secrets_dir=folder, env_prefix="") if folder else file_secret_settings
        )
        return init_settings, env_settings, files
