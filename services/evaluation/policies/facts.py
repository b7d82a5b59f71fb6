"""From kept facts, in whatever order they came, to what stood at an instant: pilots, quality issues, key projects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from shared.codes.divisions import province_of
from shared.kernel import CIVIL, microseconds


@dataclass(frozen=True, slots=True)
class KnownFact:
    """One fact that figures can use, as it was heard. Times are int64 microseconds; `data` is the fact's own content.

    `evidence` holds the SHA-256 of each document behind it; `topic`, `partition` and `seq` are its place in its log.
    """

    id: str
    type: str
    subject: str
    effective_at: int
    recorded_at: int
    topic: str
    partition: int
    seq: int
    supersedes: str | None
    evidence: tuple[str, ...]
    data: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, int, str, int, int]:
        """True first comes first; among equals what was recorded first. Total, so that no order of arrival matters."""
        return (self.effective_at, self.recorded_at, self.topic, self.partition, self.seq)


@dataclass(slots=True)
class Pilot:
    """A pilot at an instant, as far as facts about it have been heard."""

    id: str
    shares: list[tuple[int, dict[str, Decimal], KnownFact]] = field(default_factory=list)
    started: KnownFact | None = None
    accepted: KnownFact | None = None
    map: KnownFact | None = None
    lists: dict[str, KnownFact] = field(default_factory=dict)
    roles: dict[str, dict[str, KnownFact]] = field(default_factory=dict)

    def share_of(self, region: str, at: int) -> Decimal:
        """The credit of a province at an instant: the shares in force then, its prefectures' together (rule 4)."""
        in_force = [shares for since, shares, _fact in self.shares if since <= at] or [s for _, s, _ in self.shares[:1]]
        return in_force[-1].get(region, Decimal(0)) if in_force else Decimal(0)

    def regions(self) -> set[str]:
        """Every province that ever had a share."""
        return {region for _since, shares, _fact in self.shares for region in shares}


@dataclass(slots=True)
class Issue:
    """A quality issue at an instant, as far as facts about it have been heard."""

    id: str
    listed: KnownFact | None = None
    removed: KnownFact | None = None
    placed: KnownFact | None = None
    assignments: list[KnownFact] = field(default_factory=list)
    claims: dict[str, KnownFact] = field(default_factory=dict)
    rejected: set[str] = field(default_factory=set)
    verified: KnownFact | None = None
    reopened: KnownFact | None = None
    provinces_before: set[str] = field(default_factory=set)
    owners_before: set[str] = field(default_factory=set)

    @property
    def province(self) -> str:
        """The province it counts for, by the newest fact that names a division; empty when none has been heard."""
        return province_of(self.placed.data["division_code"]) if self.placed else ""

    @property
    def owner(self) -> str:
        """The enterprise responsible, by the newest fact that names one."""
        return str(self.placed.data["owner"]) if self.placed else ""

    @property
    def standing(self) -> KnownFact | None:
        """The verification that holds: one after which the issue has come back does not."""
        if self.verified and self.reopened and self.reopened.order > self.verified.order:
            return None
        return self.verified


@dataclass(slots=True)
class Project:
    """A key project: the issues it is traced to and the institution that helps."""

    id: str
    listed: KnownFact
    issue_ids: tuple[str, ...]
    leader: str
    institution: str


@dataclass(slots=True)
class Book:
    """Everything that stood at an instant."""

    pilots: dict[str, Pilot] = field(default_factory=dict)
    issues: dict[str, Issue] = field(default_factory=dict)
    projects: dict[str, Project] = field(default_factory=dict)
    groups: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    def affiliated(self, one: str, other: str, at: int) -> bool:
        """Whether two parties belong to one group at an instant (rule 11); a party is its own affiliate."""
        mine, theirs = self._group(one, at), self._group(other, at)
        return one == other or (mine != "" and mine == theirs)

    def _group(self, uscc: str, at: int) -> str:
        before = [group for since, group in self.groups.get(uscc, ()) if since <= at]
        return before[-1] if before else ""


def standing(facts: Iterable[KnownFact]) -> list[KnownFact]:
    """The facts without those a known correction takes the place of, in order (rule 9)."""
    all_of_them = list({fact.id: fact for fact in facts}.values())
    corrected = {fact.supersedes for fact in all_of_them if fact.supersedes}
    return sorted((fact for fact in all_of_them if fact.id not in corrected), key=lambda fact: fact.order)


def book(facts: Iterable[KnownFact], *, until: int) -> Book:
    """What the facts come to at `until` (microseconds): effective by then, corrections applied whenever effective."""
    found = Book()
    for fact in standing(facts):
        if fact.effective_at <= until and fact.type in _FOLDS:
            _FOLDS[fact.type](found, fact)
    return found


def end_of_day(day: str | date) -> int:
    """The last microsecond of a civil day in Asia/Shanghai (rule 23)."""
    given = date.fromisoformat(day) if isinstance(day, str) else day
    return microseconds(datetime.combine(given, time(), CIVIL) + timedelta(days=1)) - 1


def start_of_day(day: str | date) -> int:
    """The first microsecond of a civil day in Asia/Shanghai."""
    return end_of_day(day) + 1 - 24 * 3600 * 1_000_000


def provinces_of(shares: Iterable[Mapping[str, Any]]) -> dict[str, Decimal]:
    """Shares by province: those of its prefectures add up."""
    added: dict[str, Decimal] = {}
    for share in shares:
        province = province_of(share["region"])
        added[province] = added.get(province, Decimal(0)) + Decimal(str(share["share"]))
    return added


def _pilot(found: Book, fact: KnownFact) -> Pilot:
    return found.pilots.setdefault(fact.subject, Pilot(fact.subject))


def _issue(found: Book, fact: KnownFact) -> Issue:
    return found.issues.setdefault(fact.subject, Issue(fact.subject))


def _started(found: Book, fact: KnownFact) -> None:
    pilot = _pilot(found, fact)
    pilot.started = pilot.started or fact
    _shares(found, fact)


def _shares(found: Book, fact: KnownFact) -> None:
    _pilot(found, fact).shares.append((fact.effective_at, provinces_of(fact.data["shares"]), fact))


def _accepted(found: Book, fact: KnownFact) -> None:
    pilot = _pilot(found, fact)
    pilot.accepted = pilot.accepted or fact


def _mapped(found: Book, fact: KnownFact) -> None:
    _pilot(found, fact).map = fact


def _list_published(found: Book, fact: KnownFact) -> None:
    _pilot(found, fact).lists[fact.data["list_kind"]] = fact


def _role_assigned(found: Book, fact: KnownFact) -> None:
    _pilot(found, fact).roles.setdefault(fact.data["role"], {}).setdefault(fact.data["uscc"], fact)


def _role_ended(found: Book, fact: KnownFact) -> None:
    _pilot(found, fact).roles.get(fact.data["role"], {}).pop(fact.data["uscc"], None)


def _placed(found: Book, fact: KnownFact) -> Issue:
    issue = _issue(found, fact)
    issue.placed = fact
    issue.provinces_before.add(province_of(fact.data["division_code"]))
    issue.owners_before.add(str(fact.data["owner"]))
    return issue


def _listed(found: Book, fact: KnownFact) -> None:
    issue = _placed(found, fact)
    issue.listed, issue.removed = fact, None


def _changed(found: Book, fact: KnownFact) -> None:
    _placed(found, fact)


def _removed(found: Book, fact: KnownFact) -> None:
    _issue(found, fact).removed = fact


def _assigned(found: Book, fact: KnownFact) -> None:
    _placed(found, fact).assignments.append(fact)


def _claimed(found: Book, fact: KnownFact) -> None:
    _issue(found, fact).claims[fact.id] = fact


def _verified(found: Book, fact: KnownFact) -> None:
    _issue(found, fact).verified = fact


def _rejected(found: Book, fact: KnownFact) -> None:
    _issue(found, fact).rejected.add(str(fact.data["claim_fact"]))


def _reopened(found: Book, fact: KnownFact) -> None:
    _issue(found, fact).reopened = fact


def _project_listed(found: Book, fact: KnownFact) -> None:
    data = fact.data
    first = found.projects[fact.subject].listed if fact.subject in found.projects else fact
    found.projects[fact.subject] = Project(
        fact.subject, first, tuple(data["issue_ids"]), str(data["leader"]), str(data["institution"])
    )


def _project_removed(found: Book, fact: KnownFact) -> None:
    found.projects.pop(fact.subject, None)


def _affiliated(found: Book, fact: KnownFact) -> None:
    found.groups.setdefault(fact.subject, []).append((fact.effective_at, str(fact.data["group_id"])))


_FOLDS = {
    "PilotStarted": _started,
    "PilotSharesChanged": _shares,
    "PilotAccepted": _accepted,
    "QualityMapPublished": _mapped,
    "ListPublished": _list_published,
    "ChainRoleAssigned": _role_assigned,
    "ChainRoleEnded": _role_ended,
    "IssueListed": _listed,
    "IssueChanged": _changed,
    "IssueRemoved": _removed,
    "IssueAssigned": _assigned,
    "IssueClosureClaimed": _claimed,
    "IssueReopened": _reopened,
    "IssueClosureVerified": _verified,
    "IssueClosureRejected": _rejected,
    "KeyProjectListed": _project_listed,
    "KeyProjectChanged": _project_listed,
    "KeyProjectRemoved": _project_removed,
    "PartyAffiliationChanged": _affiliated,
}
"""What each type of fact does to the book; a type that is not here changes no figure."""
