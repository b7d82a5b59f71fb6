"""The states of a pilot and of a quality issue, and the only ways from one to another."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from shared.kernel import DomainError

S = TypeVar("S", bound=StrEnum)


class PilotState(StrEnum):
    """Where a pilot stands."""

    DRAFT = "draft"
    SUBMITTED = "submitted"
    RETURNED = "returned"
    REFUSED = "refused"
    ADMITTED = "admitted"
    SELECTED = "selected"
    NOT_SELECTED = "not_selected"
    IN_NOTICE = "in_notice"
    OBJECTION_HOLD = "objection_hold"
    NOTICE_CLOSED = "notice_closed"
    DISQUALIFIED = "disqualified"
    APPROVED = "approved"
    RUNNING = "running"
    ACCEPTANCE_REQUESTED = "acceptance_requested"
    ACCEPTED = "accepted"
    WITHDRAWN = "withdrawn"


class IssueState(StrEnum):
    """Where a quality issue stands."""

    LISTED = "listed"
    ASSIGNED = "assigned"
    IN_PROGRESS = "in_progress"
    CLOSURE_CLAIMED = "closure_claimed"
    VERIFIED = "verified"
    REMOVED = "removed"


class ProjectState(StrEnum):
    """Where a key project stands."""

    LISTED = "listed"
    REPORTING = "reporting"
    REMOVED = "removed"


STATE_WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "draft": ("草稿", "draft"),
        "submitted": ("已提交", "submitted"),
        "returned": ("已退回", "returned"),
        "refused": ("不予受理", "refused"),
        "admitted": ("已受理", "admitted"),
        "selected": ("已入选", "selected"),
        "not_selected": ("未入选", "not selected"),
        "in_notice": ("公示中", "in public notice"),
        "objection_hold": ("异议处理中", "held by an objection"),
        "notice_closed": ("公示期满", "notice closed"),
        "disqualified": ("取消资格", "disqualified"),
        "approved": ("已立项", "approved"),
        "running": ("实施中", "running"),
        "acceptance_requested": ("已申请验收", "acceptance requested"),
        "accepted": ("验收通过", "accepted"),
        "withdrawn": ("已撤回申报", "withdrawn"),
        "listed": ("已列入清单", "listed"),
        "assigned": ("已分派", "assigned"),
        "in_progress": ("整改中", "in progress"),
        "closure_claimed": ("已申请销号", "closure claimed"),
        "verified": ("已销号", "verified"),
        "removed": ("已移出清单", "removed"),
        "reporting": ("已报送进展", "reporting"),
    }
)

PILOT_TRANSITIONS: Mapping[PilotState, tuple[str, ...]] = MappingProxyType(
    {
        PilotState.DRAFT: ("change", "confirm-share", "import", "submit", "withdraw"),
        PilotState.SUBMITTED: ("recall", "return", "admit", "withdraw"),
        PilotState.RETURNED: ("change", "confirm-share", "import", "submit", "withdraw"),
        PilotState.REFUSED: (),
        PilotState.ADMITTED: ("select", "decline", "withdraw"),
        PilotState.SELECTED: ("open-notice", "withdraw"),
        PilotState.NOT_SELECTED: (),
        PilotState.IN_NOTICE: ("object", "close-notice", "withdraw"),
        PilotState.OBJECTION_HOLD: ("object", "decide-objection", "withdraw"),
        PilotState.NOTICE_CLOSED: ("approve", "withdraw"),
        PilotState.DISQUALIFIED: (),
        PilotState.APPROVED: ("import", "change-shares", "start"),
        PilotState.RUNNING: ("import", "change-shares", "request-acceptance"),
        PilotState.ACCEPTANCE_REQUESTED: ("accept",),
        PilotState.ACCEPTED: (),
        PilotState.WITHDRAWN: (),
    }
)
"""What can be done with a pilot in each state; each is one command and one fact. `close-notice` is done by time."""

ISSUE_TRANSITIONS: Mapping[IssueState, tuple[str, ...]] = MappingProxyType(
    {
        IssueState.LISTED: ("change", "remove", "assign"),
        IssueState.ASSIGNED: ("claim-closure",),
        IssueState.IN_PROGRESS: ("claim-closure",),
        IssueState.CLOSURE_CLAIMED: ("verify", "reject"),
        IssueState.VERIFIED: ("reopen",),
        IssueState.REMOVED: ("relist",),
    }
)
"""What can be done with an issue in each state; `verify` and `reject` are evaluation's words."""


class IllegalTransition(DomainError):
    """The thing is not in a state in which this can be done; the sentence names the state and what is possible."""

    code = "illegal-transition"
    zh = "{id} 现处于“{state_zh}”({state}),不能进行 {verb};现在可以:{possible}"
    en = "{id} is {state_en} ({state}): {verb} is not possible; possible now: {possible}"


def allow(id: str, state: S, verb: str, *, transitions: Mapping[S, tuple[str, ...]]) -> None:
    """Raises IllegalTransition unless the verb is possible in the state."""
    possible = transitions[state]
    if verb not in possible:
        zh, en = STATE_WORDS[state]
        raise IllegalTransition(
            id=id, state=state.value, state_zh=zh, state_en=en, verb=verb, possible=", ".join(possible) or "—"
        )
