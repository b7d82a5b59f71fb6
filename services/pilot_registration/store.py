"""Where pilot_registration keeps its aggregates."""

from __future__ import annotations

from typing import Any

from services.pilot_registration.domain import Party
from shared.log.store import Documents

COLLECTIONS = ("parties",)


def parties(database: Any) -> Documents[Party]:
    """The registered parties, by unified social credit code."""
    return Documents(database, "parties", Party)
