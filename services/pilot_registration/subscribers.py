"""Who hears what, on one screen."""

from services.pilot_registration.handlers.issues import IssueFlow
from shared.contracts.evaluation import IssueClosureRejected, IssueClosureVerified
from shared.log.consumer import Reactions


def reactions(issues: IssueFlow) -> Reactions:
    """The reactions table of pilot_registration."""
    return {
        IssueClosureVerified: issues.on_issue_closure_verified,
        IssueClosureRejected: issues.on_issue_closure_rejected,
    }
