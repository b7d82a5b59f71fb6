"""The places of a call: a national quota and a ceiling per province, held at every instant (rule 3)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from shared.codes.divisions import province_of
from shared.contracts.pilot_registration import QuotaPlaceReleased, QuotaPlaceTaken, QuotaSet
from shared.kernel import Aggregate, DomainError


class QuotaFull(DomainError):
    """No place is left, in the nation or in the province."""

    code = "quota-full"
    zh = "名额已满:{call} {zh_where}共 {limit} 个名额,已入选 {taken} 个"
    en = "The quota is full: {call} has {limit} places {en_where}, {taken} are taken"


class QuotaMissing(DomainError):
    """Nobody has set the places of this call, or its name was mistyped when the pilot was admitted."""

    code = "quota-missing"
    zh = "批次 {call} 尚未设置名额:请先设置名额,或核对受理时填写的批次"
    en = "No quota is set for {call}: set it first, or check the name given at admission"


class QuotaBelowTaken(DomainError):
    """A quota cannot be set below what is already taken."""

    code = "quota-below-taken"
    zh = "{call} 已入选 {taken} 个({where}),名额不能低于此数"
    en = "{taken} places of {call} are taken already ({where}); the quota cannot be lower"


class Quota(Aggregate):
    """One document guards a call: every selection rests on its version, so two can never take the last place."""

    national: int | None = None
    per_region: int | None = None
    taken: dict[str, str] = Field(default_factory=dict)
    """Pilot id -> the province whose place it took."""

    def set_limits(self, national: int, per_region: int, *, at: datetime) -> bool:
        """Sets both limits; False when they are so already."""
        if (national, per_region) == (self.national, self.per_region):
            return False
        fullest = max(self._by_region().items(), key=lambda item: item[1], default=("", 0))
        if len(self.taken) > national:
            raise QuotaBelowTaken(call=self.id, taken=len(self.taken), where="CN")
        if fullest[1] > per_region:
            raise QuotaBelowTaken(call=self.id, taken=fullest[1], where=fullest[0])
        self.national, self.per_region = national, per_region
        self.record(QuotaSet(call=self.id, national=national, per_region=per_region), effective_at=at)
        return True

    def take(self, pilot_id: str, lead_region: str, *, at: datetime) -> None:
        """Takes a place for a selected pilot, or raises QuotaMissing or QuotaFull."""
        if self.national is None or self.per_region is None:
            raise QuotaMissing(call=self.id)
        region = province_of(lead_region)
        if len(self.taken) >= self.national:
            raise QuotaFull(
                call=self.id, zh_where="全国", en_where="in the nation", limit=self.national, taken=len(self.taken)
            )
        here = self._by_region().get(region, 0)
        if here >= self.per_region:
            raise QuotaFull(call=self.id, zh_where=region, en_where=f"in {region}", limit=self.per_region, taken=here)
        self.taken = {**self.taken, pilot_id: region}
        self.record(QuotaPlaceTaken(call=self.id, pilot_id=pilot_id, region=region), effective_at=at)

    def release(self, pilot_id: str, *, at: datetime) -> bool:
        """Gives a pilot's place back; False when it had none."""
        if pilot_id not in self.taken:
            return False
        region = self.taken[pilot_id]
        self.taken = {pilot: place for pilot, place in self.taken.items() if pilot != pilot_id}
        self.record(QuotaPlaceReleased(call=self.id, pilot_id=pilot_id, region=region), effective_at=at)
        return True

    def _by_region(self) -> dict[str, int]:
        counts: dict[str, int] = {}
        for region in self.taken.values():
            counts[region] = counts.get(region, 0) + 1
        return counts
