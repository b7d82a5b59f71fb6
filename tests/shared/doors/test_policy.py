"""The policy table, asked directly."""

from __future__ import annotations

import pytest

from shared.doors.policy import NATIONAL, ROLES, require
from shared.kernel import NATIONAL as EVERYWHERE
from shared.kernel import Actor, Forbidden, RegionScope

TIBET = RegionScope(frozenset({"54"}))


def actor(roles: frozenset[str], scope: RegionScope) -> Actor:
    return Actor(id="somebody", roles=roles, org="", scope=scope)


@pytest.mark.parametrize("action", sorted(NATIONAL))
def test_what_belongs_to_no_region_is_not_for_a_token_of_some_regions(action: str) -> None:
    require(actor(ROLES[action], EVERYWHERE), action)

    with pytest.raises(Forbidden):
        require(actor(ROLES[action], TIBET), action)


@pytest.mark.parametrize("action", sorted(ROLES))
def test_a_role_that_does_not_carry_an_action_is_refused_everywhere(action: str) -> None:
    others = frozenset().union(*ROLES.values()) - ROLES[action]

    for scope in (EVERYWHERE, TIBET):
        with pytest.raises(Forbidden):
            require(actor(others, scope), action)


def test_the_auditor_carries_nothing_that_writes() -> None:
    reads = {action for action, roles in ROLES.items() if "auditor" in roles}

    assert all(action.endswith(".read") for action in reads)
