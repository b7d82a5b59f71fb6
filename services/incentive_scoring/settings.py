"""The settings of incentive_scoring."""

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing beyond what every service has."""

    service: str = "incentive_scoring"
