"""Who may do what: one table for the whole product. An action that is not in it cannot be built into a door."""

from __future__ import annotations

from shared.kernel import Actor, Forbidden

_EVERYBODY = frozenset(
    {"registrar", "province", "office", "enterprise", "institution", "evaluator", "lead_evaluator", "secretariat",
     "policy_author", "auditor"}
)  # fmt: skip

ROLES: dict[str, frozenset[str]] = {
    "party.register": frozenset({"registrar", "office"}),
    "party.read": _EVERYBODY,
    "subject.read": _EVERYBODY,
    "operations.read": frozenset({"office", "auditor"}),
}
"""Action -> the roles that carry it. The auditor reads everything and writes nothing."""


def require(actor: Actor, action: str) -> None:
    """Raises Forbidden when none of the actor's roles carries the action."""
    if not ROLES[action] & actor.roles:
        raise Forbidden
