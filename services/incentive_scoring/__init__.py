"""Owns tilt policies, award dockets with their rankings, tilt decisions with their explanations, vetoes.

Hears: AssessmentFinalised, PartyRegistered, ScorecardPublished, ScorecardSuperseded.
Says: AwardDocketClosed, AwardDocketOpened, AwardRevocationProposed, BaseScoreReceived, RankingComputed,
TiltDecided, TiltPolicyApproved, TiltReversed, TiltWithheld, VetoConfirmed, VetoEscalated, VetoLifted, VetoRaised.
"""
