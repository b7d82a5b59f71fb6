"""The few ideas every service speaks in: refusals, aggregates that record facts, who acts, what they may see."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

from shared.contracts.fact import Evidence, Fact

# China keeps one civil time, without daylight saving, so a fixed offset is exact (rule 23 of the domain).
CIVIL = timezone(timedelta(hours=8), "Asia/Shanghai")

YEARS = range(1900, 2201)
"""The years in which something can be effective."""

Clock = Callable[[], datetime]
"""Returns the current instant, timezone-aware. Passed in, never asked of the machine by a domain."""


class DomainError(Exception):
    """A refusal that the business expects: a sentence in Chinese and English, a stable code, an HTTP status.

    A subclass stands beside its raiser and sets `code`, `zh` and `en`; the two sentences may name keyword arguments in
    braces. Nothing is written when one is raised.
    """

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409
    zh: ClassVar[str] = ""
    en: ClassVar[str] = ""

    def __init__(self, *, errors: Iterable[FieldError] = (), **details: object) -> None:
        self.details = details
        self.errors = tuple(errors)
        super().__init__(self.sentence("en"))

    def sentence(self, language: Literal["zh", "en"]) -> str:
        """The message in one language, with its details filled in."""
        template = self.zh if language == "zh" else self.en
        return template.format(**self.details)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of one input field: where it is, which rule it breaks, and the sentence in both languages."""

    field: str
    rule: str
    zh: str
    en: str
    value: str | None = None


@dataclass(frozen=True, slots=True, init=False)
class RowError(FieldError):
    """One fault of one cell of an uploaded sheet: sheet and column by their names, the row as Excel counts (from 1).

    Row 0 means the sheet as a whole. `field` reads `质量问题清单!12.责任单位`.
    """

    sheet: str = ""
    row: int = 0
    column: str = ""

    def __init__(  # noqa: PLR0917 - the order in which people read a fault
        self, sheet: str, row: int, column: str, rule: str, zh: str, en: str, value: str | None = None
    ) -> None:
        place = f"{sheet}!{row}" if row else sheet
        fields = {"field": f"{place}.{column}" if column else place, "rule": rule, "zh": zh, "en": en, "value": value}
        for name, content in (fields | {"sheet": sheet, "row": row, "column": column}).items():
            object.__setattr__(self, name, content)


class InvalidInput(DomainError):
    """The input breaks one or more field rules; every fault is listed."""

    code = "invalid-input"
    status = 422
    zh = "输入有误,请按列出的问题修改"
    en = "The input has errors; see the list"


class NotFound(DomainError):
    """There is no such thing, or it lies outside what the caller may see: both answer with the same bytes."""

    code = "not-found"
    status = 404
    zh = "没有这条记录,或不在您的管辖范围内"
    en = "There is no such record, or it lies outside your scope"


class Forbidden(DomainError):
    """The caller's role does not carry this action."""

    code = "forbidden"
    status = 403
    zh = "您的角色不能进行此项操作"
    en = "Your role does not carry this action"


class StaleVersion(DomainError):
    """`If-Match` names another version than the stored one."""

    code = "stale-version"
    status = 412
    zh = "记录已被他人修改:现为第 {actual} 版,您依据的是第 {expected} 版"
    en = "The record has changed: it is at version {actual}, you hold {expected}"


@dataclass(frozen=True, slots=True)
class RegionScope:
    """What a caller may see: GB/T 2260 code prefixes on level boundaries (2, 4 or 6 digits), or the whole nation.

    No query of a store can be built without one; what lies outside is not found rather than forbidden.
    """

    prefixes: frozenset[str]
    national: bool = False

    def covers(self, division_code: str) -> bool:
        """Whether a division lies inside this scope."""
        return self.national or any(division_code.startswith(prefix) for prefix in self.prefixes)

    def covers_any(self, division_codes: Iterable[str]) -> bool:
        """Whether any of these divisions lies inside (a cross-region pilot is seen by each of its regions)."""
        return any(self.covers(code) for code in division_codes)


NATIONAL = RegionScope(frozenset(), national=True)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts: the token's subject (opaque, no person's name), roles, organisation (USCC or empty) and scope."""

    id: str
    roles: frozenset[str]
    org: str
    scope: RegionScope

    @property
    def role(self) -> str:
        """The role written into facts: all roles of the token, in order."""
        return "+".join(sorted(self.roles))


SYSTEM = Actor(id="system", roles=frozenset({"system"}), org="", scope=NATIONAL)
"""Acts when time does: due items and reactions."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A fact an aggregate has recorded and that is not yet committed."""

    fact: Fact
    effective_at: datetime
    supersedes: str | None = None
    evidence: tuple[Evidence, ...] = ()
    origin: str = "live"


class Aggregate(BaseModel):
    """A thing with an identity and a lifecycle; it changes only together with a fact that says so.

    `version` counts its facts (gap-free), `at` is the recorded time of the newest one in microseconds since 1970.
    Both are moved by the log when it commits, never by the domain. `regions` are the divisions that may see it; empty
    means it belongs to no region and every caller with the role may see it (a chain, a policy).
    """

    model_config = ConfigDict(validate_assignment=False, extra="forbid")
    schema_version: ClassVar[int] = 1

    id: str
    version: int = 0
    at: int = 0
    regions: tuple[str, ...] = ()
    _recorded: list[Recording] = PrivateAttr(default_factory=list)

    def record(
        self,
        fact: Fact,
        *,
        effective_at: datetime,
        supersedes: str | None = None,
        evidence: Sequence[Evidence] = (),
        origin: str = "live",
    ) -> None:
        """Records a fact; it becomes true for others when the log commits it.

        Raises InvalidInput for an instant no office means: far outside of these years the log could keep it in its
        microseconds, but nobody could write it as a date again, and what follows in the log would wait for it for ever.
        """
        if effective_at.year not in YEARS:
            zh, en = "时间应在 1900 年至 2200 年之间", "The time must lie between 1900 and 2200"
            raise InvalidInput(errors=[FieldError("effective_at", "instant-range", zh, en)])
        self._recorded.append(Recording(fact, effective_at, supersedes, tuple(evidence), origin))

    @property
    def recorded(self) -> tuple[Recording, ...]:
        """The facts recorded since this aggregate was loaded."""
        return tuple(self._recorded)

    def document(self) -> dict[str, Any]:
        """The state as it is stored: plain JSON values, decimals as strings, dates as ISO text."""
        return self.model_dump(mode="json", exclude={"id", "version", "at"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a handler returns when the answer should say more than id, version and facts."""

    aggregate: Aggregate
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command answers with: the aggregate, its version, and the ids of the facts written."""

    id: str
    version: int
    facts: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def microseconds(instant: datetime) -> int:
    """An aware instant as int64 microseconds since 1970 (exact: no float is involved)."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def instant(micros: int) -> datetime:
    """The aware UTC instant of an int64 microsecond count."""
    return _EPOCH + timedelta(microseconds=micros)


def iso(instant_: datetime) -> str:
    """ISO 8601 with six decimals and offset, as facts carry time on the wire."""
    return instant_.astimezone(UTC).isoformat(timespec="microseconds")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
