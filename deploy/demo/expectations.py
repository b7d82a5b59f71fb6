"""What the running system must have written in the end, worked out from the year's files alone.

Nothing here asks a service. Each count has its own few lines, so that a fact lost or doubled anywhere shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any

from deploy.demo.programme import Days, Issue, PilotFile, Programme
from shared.contracts import evaluation as said_by_evaluation
from shared.contracts import incentive_scoring as said_by_incentives
from shared.contracts import pilot_registration as said
from shared.contracts.fact import Fact

DUE_MIN = 3
"""With fewer issues due, a closure rate says nothing."""
ROUND_FACTS_MAX = 5000
"""How many later facts evaluation takes into one round of revisions."""

_FIGURE_FACTS = frozenset(
    {
        said.PilotStarted, said.PilotAccepted, said.QualityMapPublished, said.ListPublished, said.ChainRoleAssigned,
        said.IssueListed, said.IssueAssigned, said.IssueClosureClaimed, said.IssueReopened, said.KeyProjectListed,
        said_by_evaluation.IssueClosureVerified, said_by_evaluation.IssueClosureRejected,
    }
)  # fmt: skip


def registered(programme: Programme) -> Counter[type[Fact]]:
    """How many facts of each kind pilot_registration writes."""
    pilots = programme.pilots
    started = [pilot for pilot in pilots if pilot.started]
    projects = [project for pilot in started for project in pilot.projects]
    accepted = [pilot for pilot in started if pilot.fate != "running" or pilot.key == programme.late]
    issues = [issue for pilot in started for issue in pilot.issues]
    return Counter(
        {
            said.PartyRegistered: len(programme.parties),
            said.ChainRegistered: len(programme.chains),
            said.PilotDrafted: len(pilots),
            said.PilotShareConfirmed: sum(len(pilot.shares) - 1 for pilot in pilots),
            said.QualityMapPublished: len(pilots),
            said.ListPublished: 4 * len(pilots),
            said.ChainRoleAssigned: sum(len(pilot.roles) for pilot in pilots),
            said.IssueListed: sum(len(pilot.issues) for pilot in pilots),
            said.KeyProjectListed: sum(len(pilot.projects) for pilot in pilots),
            said.PilotSubmitted: len(pilots) + sum(pilot.returned for pilot in pilots),
            said.PilotReturned: sum(pilot.returned for pilot in pilots),
            said.PilotAdmitted: len(pilots),
            said.PilotSelected: len(started),
            said.PilotNotSelected: sum(pilot.fate == "not_selected" for pilot in pilots),
            said.PilotWithdrawn: sum(pilot.fate == "withdrawn" for pilot in pilots),
            said.NoticeOpened: len(started),
            said.NoticeClosed: len(started),
            said.PilotApproved: len(started),
            said.PilotStarted: len(started),
            said.IssueAssigned: len(issues),
            said.IssueClosureClaimed: sum(_claims(issue) for issue in issues),
            said.IssueClosed: closures(programme)[said_by_evaluation.IssueClosureVerified],
            said.IssueSentBack: closures(programme)[said_by_evaluation.IssueClosureRejected],
            said.QuotaSet: 1,
            said.QuotaPlaceTaken: sum(pilot.level is said.Level.NATIONAL for pilot in started),
            said.IssueReopened: sum(issue.closure is not None and issue.closure.reopened for issue in issues),
            said.MilestoneReported: sum(project.milestones_reached for project in projects),
            said.KeyProjectDocumentFiled: sum(len(project.documents) for project in projects),
            said.PilotAcceptanceRequested: len(accepted),
            said.PilotAccepted: len(accepted),
        }
    )


def closures(programme: Programme) -> Counter[type[Fact]]:
    """How many closures evaluators verify and reject."""
    decided = [issue.closure for pilot, issue in programme.issues() if pilot.started and issue.closure is not None]
    return Counter(
        {
            said_by_evaluation.IssueClosureVerified: sum(c.verdict in ("verified", "corrected") for c in decided),
            said_by_evaluation.IssueClosureRejected: sum(c.verdict in ("rejected", "corrected") for c in decided),
        }
    )


def evaluated(programme: Programme) -> Counter[type[Fact]]:
    """How many facts of each kind evaluation writes: decisions on closures, panels' results, cards and their rounds."""
    kept = sum(count for fact, count in (registered(programme) + closures(programme)).items() if fact in _FIGURE_FACTS)
    late = next(pilot for pilot in programme.pilots if pilot.key == programme.late)
    before = kept - 1  # the late acceptance comes after the first rounds
    rounds = -(-before // ROUND_FACTS_MAX) + 1
    superseded = len(late.shares)  # its regions' on-time acceptance changes, nothing else
    return closures(programme) + Counter(
        {
            said_by_evaluation.AssessmentFinalised: sum(len(docket.candidates) for docket in programme.dockets),
            said_by_evaluation.PublicationOpened: 1,
            said_by_evaluation.PublicationClosed: 1,
            said_by_evaluation.ScorecardPublished: len(subjects(programme)) + superseded,
            said_by_evaluation.ScorecardSuperseded: superseded,
            said_by_evaluation.RevisionOpened: rounds,
            said_by_evaluation.RevisionClosed: rounds,
        }
    )


def incentives(programme: Programme, moved: Sequence[Mapping[str, Any]]) -> Counter[type[Fact]]:
    """How many facts of each kind incentive_scoring writes; `moved` is what the veto's confirmation said it does."""
    candidates = sum(len(docket.candidates) for docket in programme.dockets)
    dockets = len(programme.dockets)
    return Counter(
        {
            said_by_incentives.TiltPolicyApproved: 2,
            said_by_incentives.AwardDocketOpened: dockets,
            said_by_incentives.BaseScoreReceived: candidates,
            said_by_incentives.AwardDocketClosed: dockets,
            said_by_incentives.TiltDecided: candidates,  # or withheld: one or the other for each candidate
            said_by_incentives.RankingComputed: dockets + sum(docket["reranked"] for docket in moved),
            said_by_incentives.VetoRaised: 1,
            said_by_incentives.VetoConfirmed: 1,
            said_by_incentives.TiltReversed: sum(docket["tilt_reversed"] for docket in moved),
            said_by_incentives.AwardRevocationProposed: sum(docket["revocation_proposed"] for docket in moved),
        }
    )


def subjects(programme: Programme) -> set[str]:
    """Who gets a scorecard: every region, owners of issues, leaders of chains and key projects, their institutions."""
    found = {f"region:{region.code}" for region in programme.regions}
    for pilot in programme.pilots:
        leaders = [party for role, party in pilot.roles if role is said.ChainRole.LEADER]
        leaders += [project.leader for project in pilot.projects] + [issue.owner for issue in pilot.issues]
        found |= {f"enterprise:{party.uscc}" for party in leaders}
        found |= {f"institution:{project.institution.uscc}" for project in pilot.projects}
    return found


def by_topic(facts: Counter[type[Fact]]) -> Counter[str]:
    """The same counts by topic."""
    topics: Counter[str] = Counter()
    for fact, count in facts.items():
        topics[fact.topic.name] += count
    return topics


def issues_identified(programme: Programme, region: str) -> int:
    """I05 of a region: issues listed for a division of it within the window."""
    return sum(_in(region, issue.division_code) for _pilot, issue in programme.issues())


def closure_rate(programme: Programme, region: str) -> tuple[Decimal, Decimal] | None:
    """I06 of a region as (numerator, denominator), weights 4/3/2/1 by confirmed grade; None with too few issues due."""
    return _closed(i for pilot, i in programme.issues() if pilot.started and _in(region, i.division_code))


def closure_rate_of(programme: Programme, uscc: str) -> tuple[Decimal, Decimal] | None:
    """I06 of an enterprise: of the issues it owns."""
    return _closed(i for pilot, i in programme.issues() if pilot.started and i.owner.uscc == uscc)


def tilt_of_enterprise(closure: tuple[Decimal, Decimal] | None, effect: tuple[Decimal, Decimal] | None) -> Decimal:
    """The tilt under TP-2026.1 from I06 and I09; nothing else of an enterprise has evidence in this year.

    8·clamp((I06 − 0.5)/0.5) + 8·clamp((d − 0.10)/0.40), at most 30, rounded once to 0.01 half to even.
    """
    points = Fraction(0)
    if closure is not None:
        points += 8 * _clamp((Fraction(closure[0]) / Fraction(closure[1]) - Fraction(1, 2)) / Fraction(1, 2))
    if effect is not None:
        points += 8 * _clamp((Fraction(effect[0]) / Fraction(effect[1]) - Fraction(1, 10)) / Fraction(4, 10))
    return Decimal(round(min(points, Fraction(30)) * 100)) / 100


def started_shares(programme: Programme, region: str) -> Decimal:
    """I01 of a region: the sum of its shares of started pilots."""
    return sum(
        (share for pilot in programme.pilots if pilot.started for code, share in pilot.shares if code == region),
        Decimal(0),
    )


def accepted_in_time(programme: Programme, region: str) -> tuple[Decimal, Decimal] | None:
    """I02 of a region as (numerator, denominator) in shares, the late report included; None when nothing was due."""
    due = [pilot for pilot in programme.pilots if pilot.started and pilot.due_on <= Days.PUBLISH]
    done = [pilot for pilot in due if pilot.fate == "accepted" or pilot.key == programme.late]
    return (_share(done, region), _share(due, region)) if _share(due, region) else None


def solved(issue: Issue) -> bool:
    """Whether the issue ends verified and stays so."""
    return issue.closure is not None and issue.closure.verdict != "rejected" and not issue.closure.reopened


def _share(pilots: list[PilotFile], region: str) -> Decimal:
    return sum((share for pilot in pilots for code, share in pilot.shares if code == region), Decimal(0))


def _claims(issue: Issue) -> int:
    return 0 if issue.closure is None else 1 + (issue.closure.verdict == "corrected")


def _closed(issues: Iterable[Issue]) -> tuple[Decimal, Decimal] | None:
    due = [issue for issue in issues if Days.WINDOW_START <= issue.due_on <= Days.PUBLISH]
    return (_weight([issue for issue in due if solved(issue)]), _weight(due)) if len(due) >= DUE_MIN else None


def _clamp(share: Fraction) -> Fraction:
    return max(Fraction(0), min(Fraction(1), share))


def _weight(issues: list[Issue]) -> Decimal:
    return sum((Decimal(5 - issue.confirmed_grade) for issue in issues), Decimal(0))


def _in(region: str, division_code: str) -> bool:
    return division_code[:2] == region[:2]
