"""Who hears what, on one screen."""

from services.evaluation.handlers import Hearing
from shared.contracts.evaluation import IssueClosureRejected, IssueClosureVerified
from shared.contracts.pilot_registration import (
    ChainRoleAssigned,
    ChainRoleEnded,
    IssueAssigned,
    IssueChanged,
    IssueClosureClaimed,
    IssueListed,
    IssueRemoved,
    IssueReopened,
    KeyProjectChanged,
    KeyProjectListed,
    KeyProjectRemoved,
    ListPublished,
    PartyAffiliationChanged,
    PartyRegistered,
    PilotAccepted,
    PilotSharesChanged,
    PilotStarted,
    QualityMapPublished,
)
from shared.log.consumer import Reactions


def reactions(hearing: Hearing) -> Reactions:
    """The reactions table of evaluation."""
    return {
        PartyRegistered: hearing.on_party_registered,
        PartyAffiliationChanged: hearing.on_figure_fact,
        PilotStarted: hearing.on_figure_fact,
        PilotSharesChanged: hearing.on_figure_fact,
        PilotAccepted: hearing.on_figure_fact,
        QualityMapPublished: hearing.on_figure_fact,
        ListPublished: hearing.on_figure_fact,
        ChainRoleAssigned: hearing.on_figure_fact,
        ChainRoleEnded: hearing.on_figure_fact,
        IssueListed: hearing.on_issue_listed,
        IssueChanged: hearing.on_issue_changed,
        IssueRemoved: hearing.on_figure_fact,
        IssueAssigned: hearing.on_issue_assigned,
        IssueClosureClaimed: hearing.on_issue_closure_claimed,
        IssueReopened: hearing.on_issue_reopened,
        KeyProjectListed: hearing.on_figure_fact,
        KeyProjectChanged: hearing.on_figure_fact,
        KeyProjectRemoved: hearing.on_figure_fact,
        IssueClosureVerified: hearing.on_closure_decided,
        IssueClosureRejected: hearing.on_closure_decided,
    }
