"""The settings of pilot_registration."""

from shared.platform.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing beyond what every service has."""

    service: str = "pilot_registration"
