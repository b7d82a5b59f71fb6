"""Who a token speaks for."""

from __future__ import annotations

import pytest

from tests.shared.doors.chains import bearer, made_doors


@pytest.mark.parametrize(
    "spelt", ["91340100ma2t00015g", " 91340100MA2T00015G ", "９１３４０１００ＭＡ２Ｔ０００１５Ｇ"]
)
async def test_nobody_slips_past_separation_of_duties_by_spelling_the_organisation_otherwise(spelt: str) -> None:
    verifier = made_doors().verifier

    actor = await verifier.actor(bearer(org=spelt)["Authorization"])

    assert actor.org == "91340100MA2T00015G"
