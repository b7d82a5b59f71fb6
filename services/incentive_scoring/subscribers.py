"""Who hears what, on one screen."""

from services.incentive_scoring.handlers import Hearing
from shared.contracts.evaluation import AssessmentFinalised, ScorecardPublished, ScorecardSuperseded
from shared.contracts.pilot_registration import PartyRegistered
from shared.log.consumer import Reactions


def reactions(hearing: Hearing) -> Reactions:
    """The reactions table of incentive_scoring."""
    return {
        PartyRegistered: hearing.on_party_registered,
        ScorecardPublished: hearing.on_scorecard_published,
        ScorecardSuperseded: hearing.on_scorecard_superseded,
        AssessmentFinalised: hearing.on_assessment_finalised,
    }
