"""What an office cannot mean never becomes a fact: the sequencer could not publish it and would stop for good."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from services.pilot_registration.domain.parties import Chain, Party
from services.pilot_registration.handlers.parties import RegisterParty, Registry
from shared.contracts.pilot_registration import PartyKind, SizeClass
from shared.kernel import NATIONAL, Actor, InvalidInput
from shared.log.memory import MemoryLog

NOW = datetime(2026, 6, 1, tzinfo=UTC)
BY = Actor(id="registrar-1", roles=frozenset({"registrar"}), org="", scope=NATIONAL)
PARTY = RegisterParty(
    uscc="91340100MA2T00015G", name="甲", kind=PartyKind.ENTERPRISE, size_class=SizeClass.SMALL, division_code="340100"
)


@pytest.mark.parametrize("on", [date.min, date(1899, 12, 31), date(2201, 1, 1), date.max])
async def test_a_fact_effective_ages_away_is_refused_and_nothing_of_it_reaches_the_log(on: date) -> None:
    log = MemoryLog()
    registry = Registry(parties=log.documents("parties", Party), chains=log.documents("chains", Chain))
    await log.execute(lambda: registry.register_party(PARTY, by=BY, at=NOW))

    with pytest.raises(InvalidInput) as refused:
        await log.execute(lambda: registry.affiliate(PARTY.uscc, group_id="g", effective_on=on, by=BY, at=NOW))

    assert [fault.rule for fault in refused.value.errors] == ["instant-range"]
    assert len(log.facts) == 1


@pytest.mark.parametrize("offset", [-14, 0, 14])
def test_the_first_and_the_last_instant_let_in_can_be_written_as_dates_in_every_zone(offset: int) -> None:
    zone = timezone(timedelta(hours=offset))
    party = Party.register(
        uscc=PARTY.uscc, name="甲", kind=PARTY.kind, size_class=PARTY.size_class, division_code="340100", at=NOW
    )

    for number, at in enumerate((datetime(1900, 1, 1, tzinfo=zone), datetime(2200, 12, 31, 23, 59, 59, tzinfo=zone))):
        assert party.affiliate(f"g{number}", effective_at=at)

    assert [recording.effective_at.astimezone(UTC).year for recording in party.recorded[1:]] in (
        [1899, 2200], [1900, 2200], [1900, 2201],
    )  # fmt: skip
