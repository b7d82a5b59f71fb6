"""Who may do what: one table for the whole product. An action that is not in it cannot be built into a door."""

from __future__ import annotations

from shared.kernel import Actor, Forbidden

_EVERYBODY = frozenset(
    {"registrar", "province", "office", "enterprise", "institution", "evaluator", "lead_evaluator", "secretariat",
     "policy_author", "supervision", "auditor"}
)  # fmt: skip
_APPLICANT = frozenset({"registrar"})
_SELECTOR = frozenset({"province", "office"})
_OFFICE = frozenset({"office"})
_SECRETARIAT = frozenset({"secretariat"})
_PANEL = frozenset({"evaluator", "lead_evaluator"})

ROLES: dict[str, frozenset[str]] = {
    # pilot_registration
    "party.register": frozenset({"registrar", "office"}),
    "party.affiliate": frozenset({"registrar", "office"}),
    "party.read": _EVERYBODY,
    "chain.register": frozenset({"registrar", "office"}),
    "chain.read": _EVERYBODY,
    "pilot.draft": _APPLICANT,
    "pilot.import": _APPLICANT,
    "pilot.confirm-share": frozenset({"registrar", "province"}),
    "pilot.submit": _APPLICANT,
    "pilot.recall": _APPLICANT,
    "pilot.withdraw": _APPLICANT,
    "pilot.return": _SELECTOR,
    "pilot.admit": _SELECTOR,
    "pilot.select": _OFFICE,
    "pilot.open-notice": _OFFICE,
    "pilot.object": frozenset({"registrar", "province", "enterprise", "institution", "supervision"}),
    "pilot.decide-objection": frozenset({"office", "supervision"}),
    "pilot.approve": _OFFICE,
    "pilot.start": frozenset({"registrar", "province", "office"}),
    "pilot.request-acceptance": _APPLICANT,
    "pilot.accept": _OFFICE,
    "pilot.read": _EVERYBODY,
    "attachment.upload": _EVERYBODY - {"auditor"},
    "attachment.read": _EVERYBODY,
    "issue.assign": _SELECTOR,
    "issue.claim-closure": frozenset({"registrar", "enterprise", "institution"}),
    "issue.reopen": frozenset({"province", "office", "evaluator", "lead_evaluator", "supervision"}),
    "issue.read": _EVERYBODY,
    "key-project.report-milestone": frozenset({"registrar", "enterprise", "institution"}),
    "key-project.file-document": frozenset({"registrar", "enterprise", "institution"}),
    "key-project.read": _EVERYBODY,
    # evaluation
    "subject.read": _EVERYBODY,
    "indicator.read": _EVERYBODY,
    "closure.verify": _PANEL,
    "closure.read": _EVERYBODY,
    "assessment.import": frozenset({"lead_evaluator", "office"}),
    "assessment.read": _PANEL | _SECRETARIAT | frozenset({"office", "supervision", "auditor"}),
    "scorecard.publish": frozenset({"lead_evaluator", "office"}),
    "scorecard.read": _EVERYBODY,
    # incentive_scoring
    "tilt-policy.approve": frozenset({"office", "secretariat"}),
    "tilt-policy.read": _EVERYBODY,
    "award-docket.open": _SECRETARIAT,
    "award-docket.import": _SECRETARIAT,
    "award-docket.decide": _SECRETARIAT,
    "award-docket.simulate": frozenset({"secretariat", "office", "policy_author"}),
    "award-docket.read": frozenset({"secretariat", "office", "policy_author", "supervision", "auditor", "province"}),
    "tilt-decision.read": _EVERYBODY,
    "veto.raise": frozenset({"supervision", "office", "province"}),
    "veto.confirm": frozenset({"supervision", "office"}),
    "veto.lift": frozenset({"supervision", "office"}),
    "veto.read": frozenset({"supervision", "office", "secretariat", "province", "auditor"}),
    # every service
    "operations.read": frozenset({"office", "auditor"}),
    "operations.repair": _OFFICE,
}
"""Action -> the roles that carry it. The auditor reads everything and writes nothing."""


NATIONAL: frozenset[str] = frozenset(
    {"pilot.select", "tilt-policy.approve", "award-docket.open", "award-docket.import", "award-docket.decide",
     "operations.repair"}
)  # fmt: skip
"""Actions on what belongs to no region (quotas, policies, dockets, a service's letters): a token of some regions does
not carry them, whatever its roles."""


def require(actor: Actor, action: str) -> None:
    """Raises Forbidden when none of the actor's roles, or not the actor's regions, carry the action."""
    if not ROLES[action] & actor.roles or (action in NATIONAL and not actor.scope.national):
        raise Forbidden
