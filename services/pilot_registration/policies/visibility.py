"""Who sees a pilot: its regions always, but a draft only those who work on it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.pilot_registration.domain.lifecycle import PilotState
from services.pilot_registration.domain.pilots import Pilot
from shared.kernel import Actor

_PROVINCE_DIGITS = 2
_WORK_ON_DRAFTS = frozenset({"registrar", "auditor", "system"})


def sees(pilot: Pilot, by: Actor) -> bool:
    """Whether the caller may see the pilot: its regions, its applicant, from submission on the parties of its chain.

    A draft is for the registrars of its regions, its applicant, and a province that takes part itself: a province does
    not read its prefectures' drafts, nor does the office.
    """
    if by.org and by.org == pilot.applicant:
        return True
    within = by.scope.covers_any(pilot.regions)
    if pilot.state is not PilotState.DRAFT:
        return within or (bool(by.org) and any(holder.uscc == by.org for holder in pilot.roles))
    own = any(region.endswith("0000") and by.scope.covers(region) for region in pilot.regions)
    return within and (bool(by.roles & _WORK_ON_DRAFTS) or ("province" in by.roles and own))


def visible(by: Actor, within: Mapping[str, Any]) -> dict[str, Any]:
    """The same rule as a condition of a query; `within` is the scope as one, empty for the nation."""
    submitted: dict[str, Any] = {"state": {"$ne": PilotState.DRAFT.value}}
    ways: list[dict[str, Any]] = [dict(within) if by.roles & _WORK_ON_DRAFTS else _both(within, submitted)]
    if "province" in by.roles:
        prefixes = "|".join(
            sorted(re.escape(prefix) for prefix in by.scope.prefixes if len(prefix) == _PROVINCE_DIGITS)
        )
        if by.scope.national or prefixes:
            ways.append({"regions": {"$regex": r"^\d\d0000$" if by.scope.national else f"^(?:{prefixes})0000$"}})
    if by.org:
        ways += [{"applicant": by.org}, _both({"roles.uscc": by.org}, submitted)]
    return {} if {} in ways else {"$or": ways}


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {"$and": [dict(one), dict(other)]} if one else dict(other)
