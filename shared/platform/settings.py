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

    model_config = SettingsConfigDict(env_prefix="LIANDONG_", extra="ignore", frozen=True)

    env: Literal["production", "development", "test"] = "production"
    service: str
    service_slot: str = ""
    kafka: str
    mongo: str
    replica_set: str = "rs0"
    mongo_password: SecretStr
    hmac_key: SecretStr
    cursor_key: SecretStr
    issuer: str
    audience: str = "liandong"
    token_algorithm: Literal["EdDSA", "ES256"] = "ES256"  # noqa: S105 - the name of an algorithm
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otlp_endpoint: str = ""
    graceful_seconds: float = Field(default=10.0, gt=0, le=120)
    due_poll_seconds: float = Field(default=1.0, gt=0)
    sequencer_lease_seconds: float = Field(default=3.0, gt=0)

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
