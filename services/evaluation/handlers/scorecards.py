"""Publishing scorecards: figures of every subject at one position of the log, hash-linked revisions, causes named."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from services.evaluation.domain import Cause, Figures, Publication, Scorecard
from services.evaluation.handlers.hearing import ids, references
from services.evaluation.handlers.ports import Agenda, Documents, KeptFacts, Ledger, ParkedStream, Rows
from services.evaluation.policies.cards import Inputs, card, compute, known_facts
from services.evaluation.policies.facts import KnownFact
from services.evaluation.policies.indicators import Figure, Kind, Subject, Window
from shared.codes.divisions import provinces
from shared.contracts.evaluation import ScorecardPublished, SubjectKind
from shared.kernel import CIVIL, Aggregate, DomainError, NotFound, Outcome, microseconds

BUCKETS = 32
"""Subjects are published in this many commits; which one a subject is in follows from its code, so a retry agrees."""

FOLLOW = "scorecards.follow"
ROUND = "scorecards"
_ANCHORS = ("IssueListed", "IssueChanged", "IssueAssigned", "ChainRoleAssigned", "KeyProjectListed")

Result = Literal["published", "unchanged", "withheld"]


class WindowEmpty(DomainError):
    """The window ends before it begins."""

    code = "window-empty"
    status = 422
    zh = "窗口期的结束须晚于开始"
    en = "The window must end after it begins"


class WindowNotBegun(DomainError):
    """Nothing can be effective in a window that has not begun."""

    code = "window-not-begun"
    status = 422
    zh = "窗口期尚未开始"
    en = "The window has not begun yet"


@dataclass(frozen=True, slots=True)
class OpenPublication:
    """Publish the scorecards of a cycle; facts count when effective in (window_start, window_end]."""

    cycle: str
    window_start: datetime
    window_end: datetime
    kinds: tuple[SubjectKind, ...]


@dataclass(slots=True)
class Scorecards:
    """One method per step of a publication, and the figures behind every read."""

    cards: Documents[Scorecard]
    publications: Documents[Publication]
    facts: KeptFacts
    known_parties: Rows
    ledger: Ledger
    agenda: Agenda
    _subjects: dict[tuple[str, int], tuple[Subject, ...]] = field(default_factory=dict)

    # --- publication ---

    async def open(self, command: OpenPublication, *, at: datetime) -> Aggregate:
        """Opens a run; the place of its fact in the log is what every card of the run pins."""
        if command.window_start >= command.window_end:
            raise WindowEmpty
        if command.window_start >= at:
            raise WindowNotBegun
        publication = await self.publications.find_one(command.cycle) or Publication(id=command.cycle)
        publication.start(window_start=command.window_start, window_end=command.window_end, kinds=command.kinds, at=at)
        self.publications.save(publication)
        self.agenda.due(FOLLOW, ROUND, due_at=at, version=microseconds(at))
        return publication

    async def publish(self, cycle: str, bucket: int, *, at: datetime) -> Outcome:
        """Publishes the subjects of one bucket."""
        publication, known = await self._opened(cycle)
        inputs = await self.ledger.inputs(known)
        parked = await self.ledger.parked()
        stream = f"evaluation.publications/{cycle}"
        opened = Cause(await self.ledger.fact_id(stream, publication.opened_as) or stream, "PublicationOpened")
        subjects = [s for s in await self._at(publication, known, inputs) if bucket_of(s) == bucket]
        # Looked up side by side: alone each waits for the store several times. What is found once stays with the work.
        stories = await asyncio.gather(*(facts_of(subject, self.facts) for subject in subjects))
        await asyncio.gather(*(self.cards.find_one(card_id(subject, cycle)) for subject in subjects))
        for subject, facts in zip(subjects, stories, strict=True):
            await self.publish_one(
                subject, publication, facts, known=known, inputs=inputs, parked=parked, otherwise=opened, at=at
            )
        return Outcome(publication)

    async def close(self, cycle: str, *, at: datetime) -> Outcome:
        """Says what became of every subject."""
        publication, known = await self._opened(cycle)
        inputs = await self.ledger.inputs(known)
        subjects = await self._at(publication, known, inputs)
        parked = await self.ledger.parked()
        ids = {subject: card_id(subject, cycle) for subject in subjects}
        stored = await asyncio.gather(*(self.cards.find_one(id) for id in ids.values()))
        done = {card.id for card in stored if card is not None and card.run == publication.run}
        rest = [subject for subject, id in ids.items() if id not in done and parked]
        withheld = [ids[subject] for subject in rest if concerned(await facts_of(subject, self.facts), parked)]
        published = len(done)
        unchanged = len(subjects) - published - len(withheld)
        publication.close(known=known, published=published, unchanged=unchanged, withheld=tuple(withheld), at=at)
        self.publications.save(publication)
        details = {"known": known, "published": published, "unchanged": unchanged, "withheld": withheld}
        return Outcome(publication, details)

    async def publish_one(
        self, subject: Subject, publication: Publication | Scorecard, facts: Sequence[KnownFact], *, known: int,
        inputs: Inputs, parked: Sequence[ParkedStream], otherwise: Cause, at: datetime,
    ) -> Result:  # fmt: skip
        """Publishes one subject's figures if they changed; not while facts about it lie parked (rule 20)."""
        assert publication.window_start is not None
        assert publication.window_end is not None
        cycle = publication.cycle if isinstance(publication, Scorecard) else publication.id
        if concerned(facts, parked):
            return "withheld"
        window = window_of(publication.window_start, publication.window_end, at)
        found = compute(subject, facts, window, inputs)
        content = card(subject, cycle, found, window, known=known, inputs=inputs)
        stored = await self.cards.find_one(card_id(subject, cycle)) or Scorecard(
            id=card_id(subject, cycle),
            subject_kind=SubjectKind(subject.kind),
            subject=subject.code,
            cycle=cycle,
            window_start=publication.window_start,
            window_end=publication.window_end,
            regions=await self._regions(subject, facts),
        )
        stored.window_start, stored.window_end = publication.window_start, publication.window_end
        cause = cause_of(facts, found, before=stored.published, inputs=inputs) or otherwise
        if not stored.publish(content, cause=cause, at=at):
            return "unchanged"
        if isinstance(publication, Publication):
            stored.run = publication.run
        self.cards.save(stored)
        return "published"

    async def _opened(self, cycle: str) -> tuple[Publication, int]:
        publication = await self.publications.find_one(cycle)
        if publication is None:
            raise NotFound
        known = await self.ledger.await_place(f"evaluation.publications/{cycle}", publication.opened_as)
        return publication, known

    async def _at(self, publication: Publication, known: int, inputs: Inputs) -> tuple[Subject, ...]:
        """The subjects known at a position; asked once per run, since a position never changes what it knows."""
        key = (publication.id, known)
        if key not in self._subjects:
            assert publication.window_end is not None
            facts = known_facts(await self.facts.of_types(_ANCHORS), inputs)
            end = microseconds(publication.window_end)
            found = subjects_in(fact for fact in facts if fact.effective_at <= end)
            day = publication.window_end.astimezone(CIVIL).date()
            found |= {Subject("region", division.code) for division in provinces(day)}
            wanted = set(publication.kinds)
            self._subjects = {
                key: tuple(sorted((s for s in found if s.kind in wanted), key=lambda s: (s.kind, s.code)))
            }
        return self._subjects[key]

    async def _regions(self, subject: Subject, facts: Iterable[KnownFact]) -> tuple[str, ...]:
        if subject.kind == "region":
            return (subject.code,)
        party = await self.known_parties.get(subject.code)
        if party is not None:
            return tuple(party["regions"])
        return tuple(sorted({str(fact.data["division_code"]) for fact in facts if "division_code" in fact.data}))

    # --- reading ---

    async def figures(
        self, subject: Subject, cycle: str, window: Window, *, known: int | None
    ) -> tuple[tuple[Figure, ...], Figures]:
        """A subject's figures at any pair of clocks, with every record; `known` None means all heard so far."""
        inputs = await self.ledger.inputs(known)
        found = compute(subject, await facts_of(subject, self.facts), window, inputs)
        return found, card(subject, cycle, found, window, known=known or 0, inputs=inputs)


async def facts_of(subject: Subject, kept: KeptFacts) -> list[KnownFact]:
    """Every fact that can bear on a subject's figures: what names it, and the whole story of what that is about."""
    if subject.kind == "region":
        named = await kept.about({f"region:{subject.code}"})
    elif subject.kind == "enterprise":
        named = await kept.about({f"owner:{subject.code}", f"leader:{subject.code}"})
    else:
        named = await kept.about({f"institution:{subject.code}"})
    issues = ids(named, "issue") | {str(id) for fact in named for id in fact.data.get("issue_ids", ())}
    refs = {f"issue:{id}" for id in issues}
    if subject.kind == "region":
        refs |= {f"pilot:{id}" for id in ids(named, "pilot")}
    if subject.kind == "institution":
        refs |= {f"traces:{id}" for id in issues} | {f"project:{id}" for id in ids(named, "project")}
    story = await kept.about(refs)
    if subject.kind == "institution":
        owners = {str(fact.data["owner"]) for fact in story if "owner" in fact.data}
        more = {f"party:{uscc}" for uscc in owners | {subject.code}}
        story += await kept.about(more | {f"project:{id}" for id in ids(story, "project")})
    return list({fact.id: fact for fact in (*named, *story)}.values())


def concerned(facts: Iterable[KnownFact], parked: Sequence[ParkedStream]) -> bool:
    """Whether a parked stream concerns a subject: one of its own, or an unknown issue of one of its pilots."""
    if not parked:
        return False
    facts = list(facts)
    streams = {(fact.topic, fact.subject) for fact in facts}
    pilots = ids(facts, "pilot") | {str(fact.data["pilot_id"]) for fact in facts if "pilot_id" in fact.data}
    known_anywhere = {subject for _topic, subject in streams}
    return any(
        (stream.topic, stream.subject) in streams
        or stream.subject in known_anywhere
        or stream.subject.partition(":")[0] in pilots
        for stream in parked
    )


def cause_of(
    facts: Iterable[KnownFact], found: Sequence[Figure], *, before: ScorecardPublished | None, inputs: Inputs
) -> Cause | None:
    """The first fact, in order of recording, that the revision before did not know and the figures rest on now."""
    if before is None:
        return None
    facts = list(facts)
    earlier = {fact.id for fact in known_facts(facts, before.inputs)}
    later = [fact for fact in known_facts(facts, inputs) if fact.id not in earlier]
    later.sort(key=lambda fact: (fact.recorded_at, fact.topic, fact.partition, fact.seq))
    used = {id for figure in found for record in figure.records for id in record.facts}
    named = [fact for fact in later if fact.id in used] or later
    return Cause(named[0].id, named[0].type, len(later) - 1) if named else None


def subjects_in(facts: Iterable[KnownFact]) -> set[Subject]:
    """The subjects that facts name."""
    kinds: dict[str, Kind] = {
        "region": "region", "owner": "enterprise", "leader": "enterprise", "institution": "institution",
    }  # fmt: skip
    named = {tuple(ref.split(":", 1)) for fact in facts for ref in references(fact)}
    return {Subject(kinds[prefix], code) for prefix, code in named if prefix in kinds and code}


def card_id(subject: Subject, cycle: str) -> str:
    """The id of a subject's scorecard."""
    return f"{subject.kind}:{subject.code}:{cycle}"


def bucket_of(subject: Subject) -> int:
    """The commit of a publication that a subject is in."""
    return hashlib.sha256(f"{subject.kind}:{subject.code}".encode()).digest()[0] % BUCKETS


def window_of(start: datetime, end: datetime, effective: datetime) -> Window:
    """A window and the instant looked from; nothing that is not yet due or true counts."""
    return Window(microseconds(start), microseconds(end), min(microseconds(effective), microseconds(end)))
