"""Owns parties, chains, pilots with their lists, map and notices, quotas, quality issues and key projects.

Hears: IssueClosureVerified, IssueClosureRejected.
Says: PartyRegistered, PartyAffiliationChanged, ChainRegistered, PilotDrafted, PilotChanged, PilotSharesChanged,
    PilotShareConfirmed, QualityMapPublished, ListPublished, ChainRoleAssigned, ChainRoleEnded, PilotSubmitted,
    PilotReturned, PilotRecalled, PilotRefused, PilotAdmitted, PilotSelected, PilotNotSelected, NoticeOpened,
    ObjectionFiled, ObjectionDecided, NoticeClosed, PilotApproved, PilotStarted, PilotAcceptanceRequested,
    PilotAccepted, PilotWithdrawn, QuotaSet, QuotaPlaceTaken, QuotaPlaceReleased, IssueListed, IssueChanged,
    IssueRemoved, IssueAssigned, IssueClosureClaimed, IssueClosed, IssueSentBack, IssueReopened, KeyProjectListed,
    KeyProjectChanged, KeyProjectRemoved, MilestoneReported, KeyProjectDocumentFiled.
"""
