"""Which scorecards a caller may see: those in scope; an enterprise or institution its own and those of regions."""

from typing import Any

from services.evaluation.domain import Scorecard
from shared.contracts.evaluation import SubjectKind
from shared.doors.doors import ReadRequest
from shared.kernel import NotFound
from shared.log.store import Documents


async def card_for(cards: Documents[Scorecard], id: str, read: ReadRequest) -> Scorecard:
    """The card, or NotFound when there is none or the caller may not see it."""
    card = await cards.read(id, read.scope)
    if not _own(read, card):
        raise NotFound
    return card


def conditions(read: ReadRequest, *, kind: SubjectKind | None, region: str | None, cycle: str | None) -> dict[str, Any]:
    """The part of a query that a list's filters and the caller's roles make."""
    where: dict[str, Any] = {}
    if kind is not None:
        where["subject_kind"] = kind.value
    if cycle is not None:
        where["cycle"] = cycle
    if region is not None:
        where["regions"] = {"$regex": f"^{_prefix(region)}"}
    if _narrow(read):
        where["$and"] = [{"$or": [{"subject_kind": "region"}, {"subject": read.actor.org}]}]
    return where


def _prefix(region: str) -> str:
    while len(region) > 2 and region.endswith("00"):
        region = region[:-2]
    return region


def _narrow(read: ReadRequest) -> bool:
    return read.actor.roles <= {"enterprise", "institution"}


def _own(read: ReadRequest, card: Scorecard) -> bool:
    return not _narrow(read) or card.subject_kind == SubjectKind.REGION or card.subject == read.actor.org
