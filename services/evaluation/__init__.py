"""Owns verified closures, panel assessments and scorecards, and the kept facts that figures are made of.

Hears: PartyRegistered, PartyAffiliationChanged, PilotSharesChanged, QualityMapPublished, ListPublished,
    ChainRoleAssigned, ChainRoleEnded, PilotStarted, PilotAccepted, IssueListed, IssueChanged, IssueRemoved,
    IssueAssigned, IssueClosureClaimed, IssueReopened, KeyProjectListed, KeyProjectChanged, KeyProjectRemoved,
    IssueClosureVerified, IssueClosureRejected.
Says: IssueClosureVerified, IssueClosureRejected, AssessmentFinalised, ConsensusRequired, ScorecardPublished,
    ScorecardSuperseded, PublicationOpened, PublicationClosed, RevisionOpened, RevisionClosed.
"""
