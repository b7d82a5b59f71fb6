"""What a tilt policy says: the content of one YAML file, checked by its shape and by what its numbers mean."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema, model_validator

from shared.contracts.evaluation import SubjectKind

INDICATORS = frozenset(f"I{number:02d}" for number in range(1, 37))
"""The catalogue's ids (3-domain.md)."""

NEVER_REWARDED = frozenset({"I05", "I24", "I26"})
"""Activity counts: rewarding them would pay for padding."""

LEVELS = ("national", "provincial", "municipal", "supervision")
GROUNDS = ("V1", "V2", "V3", "V4", "V5", "V6", "V7")
LEVEL_NAMES = {
    "national": "国家级 national",
    "provincial": "省级 provincial",
    "municipal": "市级 municipal",
    "supervision": "督察考核 supervision assessment",
}


def _exact(value: object) -> object:
    # A YAML number without quotes has been a binary float on its way here.
    if isinstance(value, float):
        raise ValueError("write decimals in quotes: a float is not exact")
    return value


Exact = Annotated[
    Decimal,
    BeforeValidator(_exact),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^-?\d+(\.\d+)?$"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PolicyComponent(_Strict):
    """One leaf: `weight` points times what `shape` makes of the figure x = numerator ÷ denominator, between 0 and 1.

    `ratio` x · `clamp` (x − start) ÷ span · `falling` (start − x) ÷ span · `share` x ÷ full · `share_of_target` x ÷ the
    region's own target. `needs_effect`: 0 unless the effect gate's figures show a verified effect.
    """

    name: str = Field(pattern=r"^[a-z_]{2,30}$")
    zh: str = Field(min_length=1)
    en: str = Field(min_length=1)
    indicator: str
    weight: Exact
    shape: Literal["ratio", "clamp", "falling", "share", "share_of_target"]
    start: Exact | None = None
    span: Exact | None = None
    full: Exact | None = None
    needs_effect: bool = False

    @model_validator(mode="after")
    def _has_what_its_shape_needs(self) -> PolicyComponent:
        wanted = {"clamp": {"start", "span"}, "falling": {"start", "span"}, "share": {"full"}}.get(self.shape, set())
        given = {name for name in ("start", "span", "full") if getattr(self, name) is not None}
        if wanted != given:
            raise ValueError(f"{self.name}: {self.shape} takes {sorted(wanted)}, not {sorted(given)}")
        if self.weight <= 0 or any((getattr(self, name) or 1) <= 0 for name in ("span", "full")):
            raise ValueError(f"{self.name}: weight, span and full are above 0")
        if self.indicator not in INDICATORS:
            raise ValueError(f"{self.name}: {self.indicator} is no indicator of the catalogue")
        if self.indicator in NEVER_REWARDED:
            raise ValueError(f"{self.name}: {self.indicator} counts activity and is never rewarded")
        return self

    @property
    def formula(self) -> str:
        """The formula as people read it."""
        x, weight = self.indicator, self.weight
        return {
            "ratio": f"{weight}·{x}",
            "clamp": f"{weight}·clamp(({x}−{self.start})/{self.span})",
            "falling": f"{weight}·clamp(({self.start}−{x})/{self.span})",
            "share": f"{weight}·min(1, {x}/{self.full})",
            "share_of_target": f"{weight}·min(1, {x}/target)",
        }[self.shape]


class PolicyKind(_Strict):
    """What the policy says about one kind of subject: scale, cap in points, and the leaves."""

    scale: Exact
    cap: Exact
    components: tuple[PolicyComponent, ...] = Field(min_length=1)


class EffectGate(_Strict):
    """Gate G3: at least `facts_min` of these indicators show a verified effect above 0 in the window (效果明显)."""

    indicators: tuple[str, ...] = Field(min_length=1)
    facts_min: int = Field(ge=1)


class PolicyGate(_Strict):
    """The figures of gates G1 to G5; floors are fractions, of the scale and of the evidence."""

    base_floor: Exact
    completeness_floor: Exact
    effect: EffectGate
    appraisals_min: int = Field(ge=1)


class ConcentrationGuard(_Strict):
    """At most max(minimum, ⌊share · k⌋) of k tilt-decided places go to one province; k is fixed before the guard."""

    share: Exact
    minimum: int = Field(ge=0)


class TiltInstrument(_Strict):
    """Ways of rewarding. `tie_break_priority` ranks equal totals and bases by tilt; the last two exist but stay off."""

    points: bool
    tie_break_priority: bool
    quota_uplift: Literal[False]
    fast_track: Literal[False]


class PolicyVeto(_Strict):
    """A ground: whether it makes ineligible besides taking the tilt, and for how long it acts (open-ended if unset)."""

    zh: str
    en: str
    ineligible: bool
    months: int | None = Field(default=None, ge=1)
    months_national: int | None = Field(default=None, ge=1)
    within_cycle: bool = False


class PolicyDocument(_Strict):
    """One version of the tilt policy, all its numbers."""

    version: str = Field(pattern=r"^TP-\d{4}\.\d{1,3}$")
    author: str = Field(min_length=1)
    replaces: str = Field(pattern=r"^(TP-\d{4}\.\d{1,3})?$")
    title: dict[Literal["zh", "en"], str]
    levels: tuple[Literal["national", "provincial", "municipal", "supervision"], ...] = Field(min_length=1)
    window_months: int = Field(ge=1)
    cap_share: Exact
    once: bool
    gates: PolicyGate
    guard: ConcentrationGuard
    instruments: TiltInstrument
    targets: dict[str, dict[str, Exact]]
    kinds: dict[SubjectKind, PolicyKind]
    vetoes: dict[Literal["V1", "V2", "V3", "V4", "V5", "V6", "V7"], PolicyVeto]

    @model_validator(mode="after")
    def _numbers_fit(self) -> PolicyDocument:
        for kind, said in self.kinds.items():
            total = sum((part.weight for part in said.components), Decimal(0))
            if total != said.cap:
                raise ValueError(f"{kind}: the weights sum to {total}, the cap is {said.cap}")
            if said.cap != self.cap_share * said.scale:
                raise ValueError(f"{kind}: the cap {said.cap} is not {self.cap_share} of the scale {said.scale}")
            names = [part.name for part in said.components]
            if len(names) != len(set(names)):
                raise ValueError(f"{kind}: a component is named twice")
        if missing := [kind for kind in SubjectKind if kind not in self.kinds]:
            raise ValueError(f"nothing is said about {', '.join(missing)}")
        if absent := [ground for ground in GROUNDS if ground not in self.vetoes]:
            raise ValueError(f"nothing is said about {', '.join(absent)}")
        figures = {*self.gates.effect.indicators, *(name for target in self.targets.values() for name in target)}
        if unknown := sorted(figures - INDICATORS):
            raise ValueError(f"{', '.join(unknown)}: no indicator of the catalogue")
        for share in (self.gates.base_floor, self.gates.completeness_floor, self.guard.share, self.cap_share):
            if not 0 <= share <= 1:
                raise ValueError(f"{share} is no fraction between 0 and 1")
        if any(target <= 0 for said in self.targets.values() for target in said.values()):
            raise ValueError("a target is above 0")
        return self

    def content(self) -> dict[str, Any]:
        """The canonical form that is hashed and kept."""
        return self.model_dump(mode="json")

    def floor(self, kind: SubjectKind) -> Decimal:
        """Gate G1 in points of the award's scale."""
        return self.gates.base_floor * self.kinds[kind].scale

    def window(self, cycle_start: datetime) -> datetime:
        """When the window of a cycle begins: facts count when effective after it."""
        return months_before(cycle_start, self.window_months)


def months_before(instant: datetime, months: int) -> datetime:
    """The same day and time of day so many months earlier, the month's last day where it is shorter."""
    return months_after(instant, -months)


def months_after(instant: datetime, months: int) -> datetime:
    """The same day and time of day so many months later, the month's last day where it is shorter."""
    year, month = divmod(instant.year * 12 + instant.month - 1 + months, 12)
    for day in range(instant.day, 27, -1):
        try:
            return instant.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    return instant.replace(year=year, month=month + 1)
