"""One year of the programme, written by seed: who takes part, what their files say, and what happens to it.

Nothing here knows a service or the machine's clock. `by_seed.py` writes a year, the same to the last digit for the same
seed and scale; what the running system must show in the end follows from it (`expectations.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

from deploy.demo.catalogue import CHAINS, ChainSketch, Fault
from shared.codes.divisions import Division
from shared.contracts.pilot_registration import ChainRole, DocumentKind, Level, PartyKind, SizeClass
from shared.contracts.pilot_registration import Programme as ProgrammeKind

YEAR = 2026
CYCLE = str(YEAR)


class Days:
    """The days on which the year's acts happen (Asia/Shanghai)."""

    REGISTER = date(YEAR, 1, 5)
    DRAFT = date(YEAR, 1, 12)
    SUBMIT = date(YEAR, 1, 26)
    RETURN = date(YEAR, 1, 28)
    RESUBMIT = date(YEAR, 1, 30)
    ADMIT = date(YEAR, 2, 4)
    NOTICE = date(YEAR, 2, 11)  # five working days later: the Spring Festival and its make-up Saturday lie between
    APPROVE = date(YEAR, 2, 26)
    START = date(YEAR, 3, 2)
    ASSIGN = date(YEAR, 3, 9)
    ROUNDS = (date(YEAR, 4, 20), date(YEAR, 6, 15), date(YEAR, 8, 17), date(YEAR, 10, 12))
    ACCEPT = date(YEAR, 9, 28)
    DUE_EARLY = date(YEAR, 9, 30)
    ACCEPT_LATE = date(YEAR, 10, 19)
    ACCEPT_REPORTED_LATE, DUE_REPORTED_LATE = date(YEAR, 10, 29), date(YEAR, 10, 31)
    PUBLISH = date(YEAR, 11, 2)
    LATE_FACT = date(YEAR, 11, 5)
    WINDOW_START, WINDOW_END = date(YEAR, 1, 1), date(YEAR, 11, 30)
    DOCKET = date(YEAR, 11, 16)
    VETO = date(YEAR, 12, 1)
    ACCIDENT = date(YEAR, 10, 20)  # what the veto is about: before the decision, known only after it


@dataclass(frozen=True, slots=True)
class Party:
    """A government body, an enterprise or an institution with a valid code."""

    uscc: str
    name: str
    kind: PartyKind
    size_class: SizeClass
    division_code: str

    @property
    def region(self) -> str:
        """The province-level division it lies in."""
        return self.division_code[:2] + "0000"


@dataclass(frozen=True, slots=True)
class Reading:
    """A quality measure on one day: a fraction in [0, 1] on a sample of n."""

    value: Decimal
    n: int
    on: date


@dataclass(frozen=True, slots=True)
class Closure:
    """What becomes of an issue: when its owner claims it solved, with what reading, and what the evaluator says."""

    round: int
    after: Reading
    verdict: Literal["verified", "rejected", "corrected"]  # corrected: rejected, claimed again a round later, verified
    reopened: bool = False


@dataclass(frozen=True, slots=True)
class Issue:
    """One row of 质量问题清单, and its fate."""

    number: str
    node: str
    fault: Fault
    title: str
    grade: int
    division_code: str
    owner: Party
    baseline: Reading
    confirmed_grade: int
    due_on: date
    closure: Closure | None
    project: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """One row of 重点攻关项目清单, and how far it gets."""

    number: str
    title: str
    issues: tuple[str, ...]
    leader: Party
    institution: Party
    target: Decimal
    due_on: date
    milestones_reached: int
    documents: tuple[DocumentKind, ...]


@dataclass(frozen=True, slots=True)
class Tool:
    """One row of 质量政策工具清单."""

    number: str
    kind: str
    title: str
    issuer: str
    since: date
    until: date


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the quality map: its stage, product, who works there and which NQI elements cover it."""

    number: str
    stage: str
    product: str
    industry_code: str
    division_code: str
    parties: tuple[str, ...]
    elements: tuple[str, ...]
    status: str


@dataclass(frozen=True, slots=True)
class Edge:
    """One relation of the quality map."""

    source: str
    target: str
    what: str
    sole_source: bool


Fate = Literal["running", "accepted", "accepted_late", "not_selected", "withdrawn"]


@dataclass(frozen=True, slots=True)
class PilotFile:
    """What one consortium hands in, and what becomes of it. `key` names it before the service gives it an id."""

    key: str
    title: str
    programme: ProgrammeKind
    level: Level
    chain: ChainSketch
    applicant: Party
    shares: tuple[tuple[str, Decimal], ...]
    roles: tuple[tuple[ChainRole, Party], ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    issues: tuple[Issue, ...]
    projects: tuple[Project, ...]
    tools: tuple[Tool, ...]
    due_on: date
    fate: Fate
    returned: bool
    flaw: bool
    """The office's first workbook carries a mistyped code; it is corrected and sent again."""

    @property
    def lead_region(self) -> str:
        """The region that leads; its share comes first."""
        return self.shares[0][0]

    @property
    def started(self) -> bool:
        """Whether it is selected, approved and started."""
        return self.fate not in ("not_selected", "withdrawn")


@dataclass(frozen=True, slots=True)
class Evaluator:
    """A member of the panels: an opaque number and the institution that employs the person."""

    number: str
    org: Party


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject that stands for an award: its base score on the award's own scale and its panel's scores."""

    subject: str
    name: str
    region: str
    base: Decimal
    accepted_on: date
    scores: tuple[tuple[Evaluator, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Docket:
    """One award and its candidates."""

    kind: Literal["region", "enterprise", "institution"]
    award: str
    level: str
    places: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Programme:
    """The whole year."""

    seed: int
    scale: float
    regions: tuple[Division, ...]
    governments: dict[str, Party]
    parties: tuple[Party, ...]
    pilots: tuple[PilotFile, ...]
    evaluators: tuple[Evaluator, ...]
    dockets: tuple[Docket, ...]
    late: str
    """The key of the running pilot whose acceptance is reported after the scorecards are out."""

    @property
    def chains(self) -> tuple[ChainSketch, ...]:
        """The chains that have a pilot or could have one; all 21 are registered whatever the scale."""
        return CHAINS

    def issues(self) -> Iterator[tuple[PilotFile, Issue]]:
        """Every listed issue with its pilot."""
        return ((pilot, issue) for pilot in self.pilots for issue in pilot.issues)
