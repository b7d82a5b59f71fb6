"""The settings of evaluation."""

from pydantic import Field

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """After `revision_quiet_seconds` without a new fact published scorecards follow; none waits past the patience."""

    service: str = "evaluation"
    revision_quiet_seconds: float = Field(default=2.0, ge=0, le=600)
    """没有新事实多久之后更新记分卡(秒) / seconds without a new fact before published scorecards follow"""
    revision_patience_seconds: float = Field(default=20.0, ge=0, le=3600)
    """更新记分卡最多推迟多久(秒) / seconds after which they follow however many facts still come"""
