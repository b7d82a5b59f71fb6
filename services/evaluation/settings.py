"""The settings of evaluation."""

from pydantic import Field

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """After `revision_quiet_seconds` without a new fact published scorecards follow; none waits past the patience."""

    service: str = "evaluation"
    revision_quiet_seconds: float = Field(default=2.0, ge=0, le=600)
    revision_patience_seconds: float = Field(default=20.0, ge=0, le=3600)
