"""What incentive_scoring does when asked, when others speak, and when time comes."""

from services.incentive_scoring.handlers.approving import TiltPolicies
from services.incentive_scoring.handlers.dockets import AwardDockets
from services.incentive_scoring.handlers.hearing import Hearing
from services.incentive_scoring.handlers.knowledge import Knowledge
from services.incentive_scoring.handlers.vetoing import Vetoes
from services.incentive_scoring.handlers.whatif import WhatIf

__all__ = ["AwardDockets", "Hearing", "Knowledge", "TiltPolicies", "Vetoes", "WhatIf"]
