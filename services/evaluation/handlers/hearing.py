"""What evaluation keeps when others speak: every fact that a figure can use, and the work lists made of them.

Facts come in any order across partitions; each is kept under what it is about, and figures are made when asked for.
Our own closures are heard back through their topic, so that one kind of position covers everything a figure rests on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.evaluation.handlers.ports import KeptFacts, Rows
from services.evaluation.policies.facts import KnownFact, provinces_of
from shared.codes.divisions import province_of
from shared.contracts.evaluation import ClosureFact
from shared.contracts.fact import Fact, Recorded
from shared.contracts.pilot_registration import (
    IssueAssigned,
    IssueChanged,
    IssueClosureClaimed,
    IssueListed,
    IssueReopened,
    PartyRegistered,
)
from shared.kernel import microseconds


@dataclass(frozen=True, slots=True)
class Hearing:
    """One method per reaction."""

    known_parties: Rows
    known_issues: Rows
    claims: Rows
    facts: KeptFacts

    async def on_party_registered(self, fact: Recorded[PartyRegistered]) -> None:
        """A party can be a subject from now on; the fact's two times and its place are kept with it."""
        party = fact.fact
        self.known_parties.set(
            fact.subject,
            {
                "name": party.name,
                "kind": party.kind.value,
                "size_class": party.size_class.value,
                "regions": [party.division_code],
                "registered": {
                    "fact": fact.id,
                    "effective_at": microseconds(fact.effective_at),
                    "recorded_at": microseconds(fact.recorded_at),
                    "topic": fact.position.topic,
                    "partition": fact.position.partition,
                    "seq": fact.position.seq,
                },
            },
        )

    async def on_figure_fact(self, fact: Recorded[Any]) -> None:
        """A fact that figures use and nothing else does."""
        known = known_fact(fact)
        self.facts.keep(known, references(known))

    async def on_issue_listed(self, fact: Recorded[IssueListed]) -> None:
        """An issue that can be claimed later; who owns it and where it lies."""
        await self.on_figure_fact(fact)
        issue = fact.fact
        row = {"pilot_id": issue.pilot_id, "number": issue.number, "grade": issue.grade}
        self.known_issues.set(fact.subject, row | _placed(issue.title, issue.division_code, issue.owner))

    async def on_issue_changed(self, fact: Recorded[IssueChanged]) -> None:
        """A re-import changed it."""
        await self.on_figure_fact(fact)
        issue = fact.fact
        row = _placed(issue.title, issue.division_code, issue.owner)
        self.known_issues.set(fact.subject, row | {"grade": issue.grade})

    async def on_issue_assigned(self, fact: Recorded[IssueAssigned]) -> None:
        """Who is responsible from now on, and until when."""
        await self.on_figure_fact(fact)
        issue = fact.fact
        row = {"pilot_id": issue.pilot_id, "owner": issue.owner, "regions": [issue.division_code]}
        self.known_issues.set(fact.subject, row | {"grade": issue.grade, "due_on": issue.due_on.isoformat()})

    async def on_issue_closure_claimed(self, fact: Recorded[IssueClosureClaimed]) -> None:
        """Work for the evaluators: the newest claim of an issue is the one to decide on."""
        await self.on_figure_fact(fact)
        claim = fact.fact
        self.known_issues.set(fact.subject, {"pilot_id": claim.pilot_id, "claim": fact.id})
        self.claims.set(
            fact.id,
            {
                "issue_id": fact.subject,
                "pilot_id": claim.pilot_id,
                "claimed_by": claim.claimed_by,
                "claimant_org": claim.claimant_org,
                "baseline": claim.baseline.model_dump(mode="json"),
                "after": claim.after.model_dump(mode="json"),
                "evidence": [item.model_dump() for item in fact.evidence],
                "effective_at": microseconds(fact.effective_at),
                "recorded_at": microseconds(fact.recorded_at),
                "state": "claimed",
            },
        )

    async def on_issue_reopened(self, fact: Recorded[IssueReopened]) -> None:
        """A verified issue came back; it needs a new claim."""
        await self.on_figure_fact(fact)
        self.known_issues.set(fact.subject, {"reopened": fact.id})

    async def on_closure_decided(self, fact: Recorded[ClosureFact]) -> None:
        """Our own decision, heard back with its place in our log."""
        await self.on_figure_fact(fact)


def known_fact(fact: Recorded[Fact]) -> KnownFact:
    """A heard fact as it is kept: its content whole, so that a later formula can use what this one does not."""
    return KnownFact(
        id=fact.id,
        type=type(fact.fact).__name__,
        subject=fact.subject,
        effective_at=microseconds(fact.effective_at),
        recorded_at=microseconds(fact.recorded_at),
        topic=fact.position.topic,
        partition=fact.position.partition,
        seq=fact.position.seq,
        supersedes=fact.supersedes,
        evidence=tuple(item.sha256 for item in fact.evidence),
        data=fact.fact.model_dump(mode="json"),
    )


def references(fact: KnownFact) -> set[str]:
    """What a fact is found by: its own stream, and the subjects and issues it names."""
    data, refs = fact.data, {f"{_STREAMS[fact.topic]}:{fact.subject}"}
    if "shares" in data:
        refs |= {f"region:{province}" for province in provinces_of(data["shares"])}
    if "division_code" in data and "owner" in data:
        refs |= {f"region:{province_of(data['division_code'])}", f"owner:{data['owner']}"}
    if data.get("role") == "leader":
        refs.add(f"leader:{data['uscc']}")
    if "issue_ids" in data:
        refs |= {f"traces:{issue}" for issue in data["issue_ids"]}
        refs |= {f"leader:{data['leader']}", f"institution:{data['institution']}"}
    return refs


def ids(facts: Iterable[KnownFact], stream: str) -> set[str]:
    """The ids of the pilots, issues or projects that facts are about."""
    return {fact.subject for fact in facts if _STREAMS[fact.topic] == stream}


_STREAMS: Mapping[str, str] = {
    "pilot-registration.pilots": "pilot",
    "pilot-registration.issues": "issue",
    "evaluation.closures": "issue",
    "pilot-registration.key-projects": "project",
    "pilot-registration.parties": "party",
}


def _placed(title: str, division_code: str, owner: str) -> dict[str, Any]:
    return {"title": title, "regions": [division_code], "owner": owner}
