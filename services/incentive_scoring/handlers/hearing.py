"""What incentive_scoring keeps of others' facts. Rows complete themselves in whatever order the facts arrive."""

from __future__ import annotations

from dataclasses import dataclass

from services.incentive_scoring.handlers.ports import KnownRows
from shared.contracts.evaluation import AssessmentFinalised, ScorecardPublished, ScorecardSuperseded
from shared.contracts.fact import Recorded
from shared.contracts.pilot_registration import PartyRegistered
from shared.kernel import microseconds


@dataclass(frozen=True, slots=True)
class Hearing:
    """One method per reaction; each writes only what its own fact says, so that duplicates and order do not matter."""

    known_parties: KnownRows
    known_scorecards: KnownRows
    known_assessments: KnownRows

    async def on_party_registered(self, fact: Recorded[PartyRegistered]) -> None:
        """Names and regions for people; a candidate need not be known to be decided about."""
        party = fact.fact
        self.known_parties.set(
            fact.subject, {"name": party.name, "kind": party.kind.value, "regions": [party.division_code]}
        )

    async def on_scorecard_published(self, fact: Recorded[ScorecardPublished]) -> None:
        """Every revision is kept whole: a decision pins one, and later ones queue as would-change (rule 21)."""
        card = fact.fact
        self.known_scorecards.set(
            f"{card.scorecard_id}@{card.revision}",
            {
                "scorecard_id": card.scorecard_id,
                "revision": card.revision,
                "subject_kind": card.subject_kind.value,
                "subject": card.subject,
                "cycle": card.cycle,
                "fact": fact.id,
                "recorded_at": microseconds(fact.recorded_at),
                "published": card.model_dump(mode="json"),
                "input": _input(fact),
            },
        )

    async def on_scorecard_superseded(self, fact: Recorded[ScorecardSuperseded]) -> None:
        """Why a revision was replaced, kept beside it even when the revision itself is still on its way."""
        gone = fact.fact
        self.known_scorecards.set(
            f"{gone.scorecard_id}@{gone.revision}",
            {"superseded": {"fact": fact.id, "causing_fact": gone.causing_fact, "causing_type": gone.causing_type}},
        )

    async def on_assessment_finalised(self, fact: Recorded[AssessmentFinalised]) -> None:
        """A panel's result; of several for one subject and cycle the one recorded last counts."""
        found = fact.fact
        self.known_assessments.set(
            f"{found.subject_kind}:{found.subject}:{found.cycle}",
            {
                "subject": found.subject,
                f"finalised.{fact.id}": {
                    "recorded_at": microseconds(fact.recorded_at),
                    "appraisals": found.appraisals,
                    "coi_clean": found.coi_clean,
                    "total": str(found.total),
                    "input": _input(fact),
                },
            },
        )


def _input(fact: Recorded[ScorecardPublished] | Recorded[AssessmentFinalised]) -> dict[str, object]:
    at = fact.position
    return {
        "service": at.service, "log_id": at.log_id, "topic": at.topic, "partition": at.partition, "seq": at.seq,
    }  # fmt: skip
