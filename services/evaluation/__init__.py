"""Owns verified closures, panel assessments and scorecards, and the kept facts that figures are made of.

Hears: PartyRegistered, PartyAffiliationChanged, PilotStarted, PilotAccepted, QualityMapPublished, ListPublished,
ChainRoleAssigned, IssueListed, IssueChanged, IssueRemoved, IssueAssigned, IssueClosureClaimed, IssueReopened,
KeyProjectListed, IssueClosureVerified, IssueClosureRejected.
Says: IssueClosureVerified, IssueClosureRejected, AssessmentFinalised, ConsensusRequired, ScorecardPublished,
ScorecardSuperseded, PublicationOpened, PublicationClosed, RevisionOpened, RevisionClosed.
"""
