"""Who sees a pilot: its regions always, but a draft only those who work on it."""

from __future__ import annotations

import re
from typing import Any

from services.pilot_registration.domain.lifecycle import PilotState
from services.pilot_registration.domain.pilots import Pilot
from shared.kernel import Actor

_WORK_ON_DRAFTS = frozenset({"registrar", "auditor", "system"})


def sees(pilot: Pilot, by: Actor) -> bool:
    """Whether the caller may see the pilot.

    A draft is for the registrars of its regions, its applicant, and a province that takes part itself: a province does
    not read its prefectures' drafts, nor does the office.
    """
    if pilot.regions and not by.scope.covers_any(pilot.regions):
        return False
    if pilot.state is not PilotState.DRAFT or by.roles & _WORK_ON_DRAFTS:
        return True
    own = any(region.endswith("0000") and by.scope.covers(region) for region in pilot.regions)
    return ("province" in by.roles and own) or bool(by.org and by.org == pilot.applicant)


def visible(by: Actor) -> dict[str, Any]:
    """The same rule as a condition of a query, besides the scope."""
    if by.roles & _WORK_ON_DRAFTS:
        return {}
    ways: list[dict[str, Any]] = [{"state": {"$ne": PilotState.DRAFT.value}}]
    if by.org:
        ways.append({"applicant": by.org})
    if "province" in by.roles:
        prefixes = "|".join(sorted(re.escape(prefix) for prefix in by.scope.prefixes if len(prefix) == 2))
        if prefixes or by.scope.national:
            ways.append({"regions": {"$regex": r"^\d\d0000$" if by.scope.national else f"^(?:{prefixes})0000$"}})
    return {"$or": ways}
