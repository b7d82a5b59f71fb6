"""An instant as an input takes it."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime
from pydantic_core import PydanticCustomError

from shared.kernel import YEARS


def _in_years(at: datetime) -> datetime:
    if at.year not in YEARS:
        raise PydanticCustomError("instant_range", "The time must lie between 1900 and 2200")
    return at


Instant = Annotated[AwareDatetime, AfterValidator(_in_years)]
"""With its offset, in years that an office means."""
