"""The settings of evaluation."""

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing beyond what every service has."""

    service: str = "evaluation"
