"""Published scorecards follow later facts: in rounds, so that a burst makes one revision per card and not thousands.

Partitions only append (rule 17): each kept fact is also marked as unfolded. A due item that stays open looks at the
marks; once they have been quiet for a while (or waited long enough) it opens a round, whose fact fixes the position
that the new revisions pin, then recomputes the affected cards a few per commit, and at last takes the marks away. Every
step is one command of the log: killed anywhere, the next fire goes on, and a step decided twice is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.evaluation.domain import Cause, RevisionRound, Scorecard
from services.evaluation.handlers.hearing import ids
from services.evaluation.handlers.ports import Agenda, Documents, KeptFacts, Ledger, Rows
from services.evaluation.handlers.scorecards import FOLLOW, Scorecards, facts_of, subjects_in
from services.evaluation.policies.cards import known_facts
from services.evaluation.policies.facts import KnownFact
from services.evaluation.policies.indicators import Subject
from shared.kernel import Aggregate, DomainError, Outcome, instant, microseconds

FACTS_PER_ROUND_MAX = 5000
CARDS_PER_STEP_MAX = 20


class NothingToFollow(DomainError):
    """No later fact waits, or they are still pouring in; the due item stays open and looks again."""

    code = "nothing-to-follow"
    status = 503
    zh = "暂无需要更新的记分卡"
    en = "No scorecard has anything to follow yet"


class PublishedCards(Protocol):
    """Which scorecards have been published."""

    async def of_subjects(self, subjects: Iterable[Subject]) -> list[str]:
        """The ids of the published cards of these subjects, of every cycle, in order."""
        ...


@dataclass(frozen=True, slots=True)
class Revisions:
    """Fires with the due queue. `quiet` is how long nothing may have come, `patience` how long facts wait at most."""

    rounds: Documents[RevisionRound]
    cards: Documents[Scorecard]
    plans: Rows
    published: PublishedCards
    facts: KeptFacts
    ledger: Ledger
    agenda: Agenda
    scorecards: Scorecards
    quiet: timedelta
    patience: timedelta

    async def follow(self, ref: str, at: datetime) -> Aggregate | Outcome:
        """One step: open a round, plan it, recompute a few cards, or close it."""
        round_ = await self.rounds.find_one(ref) or RevisionRound(id=ref)
        if not round_.open:
            await self._wait_for_quiet(at)
            round_.start(at=at)
            self.rounds.save(round_)
        else:
            known = await self.ledger.await_place(f"evaluation.revisions/{ref}", round_.opened_as)
            plan = await self.plans.get(str(round_.round))
            if plan is None:
                plan = await self._plan(known)
                self.plans.set(str(round_.round), plan)
            await self._step(round_, plan, known, at)
        self.agenda.due(FOLLOW, ref, due_at=at, version=microseconds(at))
        return Outcome(round_)

    async def _wait_for_quiet(self, at: datetime) -> None:
        oldest, newest = await self.facts.unfolded(1), await self.facts.newest_unfolded_at()
        if not oldest or newest is None:
            raise NothingToFollow
        waited_long = instant(oldest[0].recorded_at) <= at - self.patience
        if instant(newest) > at - self.quiet and not waited_long:
            raise NothingToFollow

    async def _plan(self, known: int) -> dict[str, Any]:
        facts = known_facts(await self.facts.unfolded(FACTS_PER_ROUND_MAX), await self.ledger.inputs(known))
        cards = await self.published.of_subjects(await affected(facts, self.facts))
        return {
            "facts": [fact.id for fact in facts],
            "cards": cards,
            "next": 0,
            "superseded": 0,
            "unchanged": 0,
            "withheld": [],
        }

    async def _step(self, round_: RevisionRound, plan: dict[str, Any], known: int, at: datetime) -> None:
        inputs, parked = await self.ledger.inputs(known), await self.ledger.parked()
        done = int(plan["next"])
        step = plan["cards"][done : done + CARDS_PER_STEP_MAX]
        otherwise = Cause(f"evaluation.revisions/{round_.id}", "RevisionOpened")
        for id in step:
            card = await self.cards.find_one(id)
            assert card is not None, "a published card stays"
            subject = Subject(card.subject_kind.value, card.subject)  # type: ignore[arg-type]  # no individuals yet
            facts = await facts_of(subject, self.facts)
            result = await self.scorecards.publish_one(
                subject, card, facts, known=known, inputs=inputs, parked=parked, otherwise=otherwise, at=at
            )
            if result == "withheld":
                plan["withheld"].append(id)
            else:
                plan["superseded" if result == "published" else "unchanged"] += 1
        plan["next"] = done + len(step)
        if plan["next"] < len(plan["cards"]):
            changed = ("next", "superseded", "unchanged", "withheld")
            self.plans.set(str(round_.round), {name: plan[name] for name in changed})
            return
        round_.close(
            known=known, facts=len(plan["facts"]), superseded=plan["superseded"], unchanged=plan["unchanged"],
            withheld=tuple(plan["withheld"]), at=at,
        )  # fmt: skip
        self.rounds.save(round_)
        self.facts.fold(plan["facts"])
        self.plans.set(str(round_.round), {"facts": [], "cards": []})


async def affected(facts: list[KnownFact], kept: KeptFacts) -> set[Subject]:
    """The subjects whose figures a bunch of facts can change: those they name, and those of what they are about."""
    parties = ids(facts, "party")
    owned = await kept.about({f"owner:{uscc}" for uscc in parties})
    projects = await kept.about({f"project:{id}" for id in ids(facts, "project")})
    issues = ids(facts, "issue") | ids(owned, "issue")
    issues |= {str(id) for fact in projects for id in fact.data.get("issue_ids", ())}
    refs = {f"pilot:{id}" for id in ids(facts, "pilot")}
    refs |= {f"{prefix}:{id}" for id in issues for prefix in ("issue", "traces")}
    found = subjects_in([*facts, *projects, *await kept.about(refs)])
    return found | {Subject("institution", uscc) for uscc in parties}
