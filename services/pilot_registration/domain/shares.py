"""Regions' credit shares of a pilot, and other small things that several aggregates stand on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal

from shared.contracts.pilot_registration import Share
from shared.kernel import CIVIL, DomainError, FieldError, Forbidden, InvalidInput

PLACES_MAX = 6
REGIONS_MAX = 40


class SeparationOfDuties(DomainError):
    """The same person cannot take both of two steps that check each other."""

    code = "separation-of-duties"
    zh = "职责分离:{zh_first}的人不能再{zh_second},请由另一人办理"
    en = "Separation of duties: who {en_first} cannot {en_second} as well; another person must do it"


class LeadRegionOnly(Forbidden):
    """Participants see the pilot and confirm their shares; everything else is done by the lead region."""

    code = "lead-region-only"
    zh = "此项操作由牵头地区 {lead_region} 办理"
    en = "Only the lead region {lead_region} does this"


def checked_shares(shares: Sequence[Share], lead_region: str) -> tuple[Share, ...]:
    """The shares with the lead region first, or InvalidInput: they must be positive and sum to exactly 1 (rule 4)."""
    faults: list[FieldError] = []
    regions = [share.region for share in shares]
    if not 1 <= len(shares) <= REGIONS_MAX:
        faults.append(_fault("share-count", f"应有 1 至 {REGIONS_MAX} 个地区", f"1 to {REGIONS_MAX} regions expected"))
    for i, share in enumerate(shares):
        if not (share.share.is_finite() and 0 < share.share <= 1) or -_exponent(share.share) > PLACES_MAX:
            faults.append(
                FieldError(
                    f"shares.{i}.share",
                    "share-range",
                    f"份额应大于 0、不超过 1,最多 {PLACES_MAX} 位小数",
                    f"A share is above 0 and at most 1, with at most {PLACES_MAX} decimal places",
                    str(share.share),
                )
            )
    if len(set(regions)) != len(regions):
        faults.append(_fault("share-region-twice", "同一地区出现了两次", "A region appears twice"))
    if lead_region not in regions:
        faults.append(_fault("share-of-lead", "牵头地区也应有份额", "The lead region needs a share as well"))
    total = sum((share.share for share in shares if share.share.is_finite()), Decimal(0))
    if not faults and total != 1:
        faults.append(
            _fault("share-sum", f"各地份额之和应恰为 1,现为 {total}", f"The shares must sum to exactly 1, not {total}")
        )
    if faults:
        raise InvalidInput(errors=faults)
    return tuple(sorted(shares, key=lambda share: (share.region != lead_region, share.region)))


def civil_day(at: datetime) -> date:
    """The day in Asia/Shanghai on which an instant lies (rule 23)."""
    return at.astimezone(CIVIL).date()


def moment_of(day: date, at: datetime) -> datetime:
    """When something was true that happened on a day: now, if that is today, else the day's beginning."""
    return at if day == civil_day(at) else datetime.combine(day, time(), CIVIL)


def not_after_today(field: str, day: date, at: datetime) -> None:
    """Raises InvalidInput when a day that must have come lies in the future."""
    if day > civil_day(at):
        zh, en = f"{day} 尚未到来", f"{day} has not come yet"
        raise InvalidInput(errors=[FieldError(field, "date-in-future", zh, en, str(day))])


def _fault(rule: str, zh: str, en: str) -> FieldError:
    return FieldError("shares", rule, zh, en)


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0
