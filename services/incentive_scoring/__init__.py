"""Owns tilt policies, award dockets with their rankings, tilt decisions with their explanations, vetoes.

Hears: PartyRegistered, AssessmentFinalised, ScorecardPublished, ScorecardSuperseded.
Says: TiltPolicyApproved, AwardDocketOpened, BaseScoreReceived, AwardDocketClosed, RankingComputed,
    AwardRevocationProposed, TiltDecided, TiltWithheld, TiltReversed, VetoRaised, VetoConfirmed, VetoEscalated,
    VetoLifted.
"""
