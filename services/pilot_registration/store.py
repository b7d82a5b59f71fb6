"""Where pilot_registration keeps its aggregates and rows."""

from __future__ import annotations

from typing import Any

from services.pilot_registration.domain.issues import QualityIssue
from services.pilot_registration.domain.key_projects import KeyProject
from services.pilot_registration.domain.parties import Chain, Party
from services.pilot_registration.domain.pilots import Pilot
from services.pilot_registration.domain.quotas import Quota
from shared.log.indexes import Index
from shared.log.store import Documents, Rows

COLLECTIONS = (
    "parties", "chains", "pilots", "quotas", "quality_issues", "key_projects", "pilot_codes", "attachment_uses",
    "list_rows", "imports", "import_chunks", "known_verdicts",
)  # fmt: skip

INDEXES = (
    Index("parties", (("regions", 1),)),
    Index("pilots", (("regions", 1), ("state", 1))),
    Index("pilots", (("state", 1),)),
    Index("quality_issues", (("pilot_id", 1), ("state", 1))),
    Index("quality_issues", (("owner", 1), ("state", 1))),
    Index("quality_issues", (("state", 1), ("due_on", 1))),
    Index("key_projects", (("pilot_id", 1),)),
    Index("key_projects", (("state", 1), ("due_on", 1))),
    Index("list_rows", (("pilot_id", 1), ("sheet", 1), ("place", 1))),
    Index("imports", (("pilot_id", 1), ("state", 1))),
    Index("import_chunks", (("import_id", 1), ("number", 1))),
)


def parties(database: Any) -> Documents[Party]:
    """The registered parties, by unified social credit code."""
    return Documents(database, "parties", Party)


def chains(database: Any) -> Documents[Chain]:
    """The registered chains."""
    return Documents(database, "chains", Chain)


def pilots(database: Any) -> Documents[Pilot]:
    """The pilots."""
    return Documents(database, "pilots", Pilot)


def quotas(database: Any) -> Documents[Quota]:
    """The quotas, by call."""
    return Documents(database, "quotas", Quota)


def quality_issues(database: Any) -> Documents[QualityIssue]:
    """The quality issues, by `<pilot>:Q:<编号>`."""
    return Documents(database, "quality_issues", QualityIssue)


def key_projects(database: Any) -> Documents[KeyProject]:
    """The key projects, by `<pilot>:K:<编号>`."""
    return Documents(database, "key_projects", KeyProject)


def rows(database: Any, collection: str) -> Rows:
    """Rows without a version: list rows, previews, uses of attachments, codes given."""
    return Rows(database, collection)
