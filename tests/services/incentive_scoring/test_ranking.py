"""Ranks, ties, the concentration guard, breakpoints; and what holds for every input, tried by Hypothesis."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from services.incentive_scoring.domain import Candidate, PinnedInput
from services.incentive_scoring.policies import breakpoints
from services.incentive_scoring.policies.explaining import exact_sum, explanation, reconciliation
from services.incentive_scoring.policies.ranking import RankedCandidate, rank
from services.incentive_scoring.policies.rules import INDICATORS
from services.incentive_scoring.policies.tilting import Figure, Known, PanelResult, decide, rounded, tilt
from shared.contracts.evaluation import SubjectKind
from shared.contracts.incentive_scoring import TiltDecided
from tests.services.incentive_scoring.world import ACCEPTED, FILES, POLICY, candidate, card, changed, docket


def entry(subject: str, base: object, tilted: object = 0, **how: object) -> RankedCandidate:
    return RankedCandidate(candidate(subject, base, **how), Decimal(str(tilted)))


# --- order ---


def test_rule_13_ties_go_to_the_higher_base_then_earlier_acceptance_then_code_and_name_the_rule() -> None:
    found = rank(
        POLICY, 1,
        [
            entry("d", 700, 5), entry("c", 700, 5), entry("b", 700, 5, accepted_at=ACCEPTED - timedelta(days=1)),
            entry("a", 702, 3), entry("e", 690, 1), entry("f", 690, 1, accepted_at=None),
        ],
    )  # fmt: skip

    assert [(place.rank, place.subject, place.decided_by) for place in found.places] == [
        (1, "a", "first"), (2, "b", "base"), (3, "c", "acceptance"), (4, "d", "code"), (5, "e", "total"),
        (6, "f", "acceptance"),
    ]  # fmt: skip
    assert found.winners == ("a",)


def test_with_tie_break_priority_instead_of_points_a_tilt_decides_only_between_equal_bases() -> None:
    instruments = {"points": False, "tie_break_priority": True, "quota_uplift": False, "fast_track": False}
    policy = changed(POLICY, instruments=instruments)

    found = rank(policy, 1, [entry("a", 700), entry("b", 700, "0.01"), entry("c", "700.01")])

    assert [(place.subject, place.decided_by, str(place.total)) for place in found.places] == [
        ("c", "first", "700.01"), ("b", "total", "700"), ("a", "tilt", "700"),
    ]  # fmt: skip


# --- the concentration guard ---


def test_the_guard_leaves_a_province_one_place_gained_by_tilts_of_three_and_gives_the_others_to_the_next_by_base() -> (
    None
):
    gaining = [entry(f"g{i}", 700, 10 + i, region="340100") for i in range(3)]
    losing = [entry(f"l{i}", 705 - i, region="320500") for i in range(3)]

    found = rank(POLICY, 3, gaining + losing)

    assert found.winners == ("g2", "l0", "l1")
    assert [(moved.subject, moved.given_to, moved.limit, moved.tilt_decided) for moved in found.released] == [
        ("g1", "l0", 1, 3), ("g0", "l1", 1, 3),
    ]  # fmt: skip
    assert [str(place.tilt) for place in found.places if place.subject == "g0"] == ["10"]


def test_the_guard_fixes_k_before_it_acts_so_ten_gained_places_allow_three_to_a_province() -> None:
    gaining = [entry(f"g{i:02d}", 700, 10, region="340100" if i < 5 else f"{11 + i}0000") for i in range(10)]
    losing = [entry(f"l{i:02d}", 705, region="320500") for i in range(10)]

    found = rank(POLICY, 10, gaining + losing)

    assert [(moved.province, moved.subject, moved.limit) for moved in found.released] == [
        ("340000", "g03", 3), ("340000", "g04", 3),
    ]  # fmt: skip
    assert len(found.winners) == 10


def test_the_first_policy_has_no_minimum_so_few_gained_places_are_all_given_back() -> None:
    found = rank(FILES["TP-2025.1"], 1, [entry("g", 700, 10, region="340100"), entry("l", 705, region="320500")])

    assert found.winners == ("l",)


def test_one_who_is_barred_by_a_veto_keeps_its_line_and_holds_no_place() -> None:
    found = rank(POLICY, 1, [RankedCandidate(candidate("a", 900), Decimal(0), ineligible=True), entry("b", 700)])

    assert [(place.subject, place.in_places, place.ineligible) for place in found.places] == [
        ("a", False, True), ("b", True, False),
    ]  # fmt: skip


# --- whatever the input ---

figures = st.builds(
    lambda n, d, none, evidence: (
        Figure(Decimal(0), Decimal(0), True) if none else Figure(Decimal(n), Decimal(d), False, evidence)
    ),
    st.integers(-50, 900),
    st.integers(1, 997),
    st.booleans(),
    st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=4).map(tuple),
)
cards = st.builds(
    lambda found, done: card(found, completeness=(done, 10)),
    st.dictionaries(st.sampled_from(sorted(INDICATORS)), figures, max_size=14),
    st.integers(0, 10),
)
bases = st.integers(0, 100_000).map(lambda cents: Decimal(cents).scaleb(-2))
PIN = PinnedInput(scorecard_id="s", scorecard_revision=1, scorecard_hash="h", assessment_fact="p")
PANEL = PanelResult("p", 3, True)


@given(policy=st.sampled_from(list(FILES.values())), kind=st.sampled_from(SubjectKind), found=cards, base=bases)
def test_rule_12_no_tilt_passes_the_cap_and_every_explanation_adds_up(policy, kind, found, base) -> None:
    fact = decide(policy, docket(kind), candidate(base=base), PIN, Known(found, PANEL))
    told = reconciliation(fact)

    terms = ("printed", "printing", "cap", "withheld", "rounding")
    assert sum(Decimal(told[term]) for term in terms) == Decimal(told["result"])
    assert Decimal(told["printed"]) == sum(Decimal(leaf["points"]) for leaf in explanation(fact, policy)["components"])
    if isinstance(fact, TiltDecided):
        assert 0 <= fact.final <= fact.cap == policy.kinds[kind].cap
        assert fact.final == rounded(min(exact_sum(fact), Fraction(fact.cap)))


@given(found=cards, base=bases)
def test_a_decision_made_again_from_its_pinned_input_has_the_same_bytes(found, base) -> None:
    shuffled = card(dict(reversed(found.figures.items())), completeness=found.completeness)

    once = decide(POLICY, docket(), candidate(base=base), PIN, Known(found, PANEL))
    again = decide(POLICY, docket(), candidate(base=base), PIN, Known(shuffled, PANEL))

    assert once.model_dump_json() == again.model_dump_json()
    assert type(once).model_validate_json(once.model_dump_json()) == once


@given(found=cards, evidence=st.sampled_from("abcdefgh"))
def test_rule_12_leaving_a_fact_out_changes_only_leaves_that_rest_on_it(found, evidence) -> None:
    from services.incentive_scoring.policies.tilting import without

    before = tilt(POLICY, docket(), candidate(), Known(found, PANEL))
    after = tilt(POLICY, docket(), candidate(), Known(without(found, evidence), PANEL))

    for was, now in zip(before.components, after.components, strict=True):
        assert (was == now) == (evidence not in was.evidence)
        assert evidence not in now.evidence


crowds = st.lists(
    st.tuples(
        st.integers(69_000, 71_000).map(lambda cents: Decimal(cents).scaleb(-2)),
        st.integers(0, 3_100).map(lambda cents: Decimal(min(cents, 3_000)).scaleb(-2)),
        st.sampled_from(["340100", "320500", "110000"]),
    ),
    min_size=2,
    max_size=14,
)


@given(crowd=crowds, places=st.integers(1, 6))
def test_nobody_with_a_base_lead_of_the_cap_or_more_is_overtaken(crowd, places) -> None:
    entries = [entry(f"s{i:02d}", base, points, region=region) for i, (base, points, region) in enumerate(crowd)]
    found = rank(POLICY, places, entries)

    at = {place.subject: place for place in found.places}
    for ahead in at.values():
        for behind in at.values():
            if ahead.base - behind.base >= 30:
                assert ahead.rank < behind.rank
                assert ahead.in_places >= behind.in_places or found.released
    assert len(found.winners) == min(places, len(crowd))
    assert len(set(found.winners)) == len(found.winners)


@given(crowd=crowds, places=st.integers(1, 6), seed=st.integers(0, 99))
def test_a_ranking_does_not_depend_on_the_order_in_which_candidates_come(crowd, places, seed) -> None:
    entries = [entry(f"s{i:02d}", base, points, region=region) for i, (base, points, region) in enumerate(crowd)]
    shuffled = list(entries)
    random.Random(seed).shuffle(shuffled)

    assert rank(POLICY, places, entries) == rank(POLICY, places, shuffled)


opened = st.lists(
    st.builds(
        lambda base, raw, held, done: (Decimal(base).scaleb(-2), Fraction(raw, 7), held, Fraction(done, 9)),
        st.integers(70_000, 70_400),
        st.integers(0, 28),
        st.booleans(),
        st.integers(0, 9),
    ),
    min_size=2,
    max_size=6,
)


def _open(crowd: list[tuple[Decimal, Fraction, bool, Fraction]]) -> list[breakpoints.OpenTilt]:
    return [
        breakpoints.OpenTilt(Candidate(subject=f"s{i}", name="", region=f"{11 + i}0000", base=base), raw, held, done)
        for i, (base, raw, held, done) in enumerate(crowd)
    ]


def _at(intervals: list[dict], value: Fraction) -> dict:
    """The one interval a value lies in."""
    [found] = [
        part
        for part in intervals
        if (Fraction(part["from"]) < value or (part["from_included"] and Fraction(part["from"]) == value))
        and (value < Fraction(part["to"]) or (part["to_included"] and Fraction(part["to"]) == value))
    ]
    return found


@settings(max_examples=60)
@given(crowd=opened, places=st.integers(1, 3), values=st.lists(st.integers(0, 8000), min_size=8, max_size=8))
def test_rule_13_between_the_breakpoints_of_the_cap_the_winners_are_those_of_a_ranking_made_there(
    crowd, places, values
) -> None:
    tilts = _open(crowd)
    intervals = breakpoints.by_cap(POLICY, places, tilts, Fraction(0), Fraction(4))

    edges = [Fraction(part[side]) for part in intervals for side in ("from", "to")]
    for value in [*edges, *(Fraction(v, 2000) for v in values)]:
        there = rank(
            POLICY, places,
            [RankedCandidate(o.candidate, rounded(min(o.raw, value)) if o.held else Decimal(0)) for o in tilts],
        )  # fmt: skip
        assert _at(intervals, value)["winners"] == list(there.winners), value
    assert all(part["swaps"] or part["winners"] for part in intervals[1:])


@settings(max_examples=60)
@given(crowd=opened, places=st.integers(1, 3), values=st.lists(st.integers(0, 900), min_size=8, max_size=8))
def test_rule_13_between_the_breakpoints_of_a_floor_the_winners_are_those_of_a_ranking_made_there(
    crowd, places, values
) -> None:
    tilts, cap = _open(crowd), Decimal(4)
    floors = breakpoints.by_completeness_floor(POLICY, places, tilts, cap, Fraction(0), Fraction(1))
    bases_ = breakpoints.by_base_floor(POLICY, places, tilts, cap, Fraction(0), Fraction(1000))

    for value in values:
        share, points = Fraction(value, 900), Fraction(700) + Fraction(value, 200)
        by_share = [RankedCandidate(o.candidate, _points(o, o.held and o.completeness >= share)) for o in tilts]
        by_points = [RankedCandidate(o.candidate, _points(o, o.held and o.candidate.base >= points)) for o in tilts]
        assert _at(floors, share)["winners"] == list(rank(POLICY, places, by_share).winners)
        assert _at(bases_, points)["winners"] == list(rank(POLICY, places, by_points).winners)


def _points(one: breakpoints.OpenTilt, held: bool) -> Decimal:
    return rounded(min(one.raw, Fraction(4))) if held else Decimal(0)


def test_rule_13_breakpoints_of_a_completeness_floor_are_exact_fractions() -> None:
    tilts = _open([(Decimal(700), Fraction(3), True, Fraction(2, 3)), (Decimal(701), Fraction(0), True, Fraction(1))])

    first, second = breakpoints.by_completeness_floor(POLICY, 1, tilts, Decimal(30), Fraction(0), Fraction(1))

    assert (first["to"], first["to_included"], first["winners"]) == ("2/3", True, ["s0"])
    assert (second["winners"], second["swaps"]) == (["s1"], [["s0", "s1"]])
