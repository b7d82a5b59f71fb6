"""Who hears what, on one screen."""

from services.evaluation.handlers import Evaluation
from shared.contracts.pilot_registration import PartyRegistered
from shared.log.consumer import Reactions


def reactions(evaluation: Evaluation) -> Reactions:
    """The reactions table of evaluation."""
    return {
        PartyRegistered: evaluation.on_party_registered,
    }
