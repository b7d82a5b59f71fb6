"""The figures by hand-computed examples, each test named by its indicator or rule of the domain."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluation.policies.cards import EVIDENCE_IDS_MAX, card, compute
from services.evaluation.policies.facts import KnownFact, book, end_of_day, start_of_day
from services.evaluation.policies.indicators import BY_ID, Figure, Subject, Window, figure
from services.evaluation.policies.measures import improvement
from shared.contracts.evaluation import InputRange

YEAR = Window(start_of_day("2026-01-01") - 1, end_of_day("2026-12-31"), end_of_day("2026-12-31"))
ANHUI, JIANGSU = Subject("region", "340000"), Subject("region", "320000")
OWNER, HELPER = "91340100MA2T00015G", "12340100MB1A0001XJ"
TOPICS = {
    "Pilot": "pilot-registration.pilots", "QualityMap": "pilot-registration.pilots",
    "List": "pilot-registration.pilots", "ChainRole": "pilot-registration.pilots",
    "KeyProject": "pilot-registration.key-projects", "Party": "pilot-registration.parties",
    "IssueClosureV": "evaluation.closures", "IssueClosureR": "evaluation.closures",
    "Issue": "pilot-registration.issues",
}  # fmt: skip
_numbers = itertools.count(1)


def fact(type_: str, subject: str, on: str = "2026-03-01", *, supersedes: str | None = None, evidence: int = 0,
         seq: int | None = None, **data: Any) -> KnownFact:  # fmt: skip
    """A kept fact, effective at the start of a day."""
    number = next(_numbers) if seq is None else seq
    topic = next(topic for prefix, topic in TOPICS.items() if type_.startswith(prefix))
    return KnownFact(
        id=f"{type_}-{subject}-{number}", type=type_, subject=subject, effective_at=start_of_day(on),
        recorded_at=start_of_day(on) + number, topic=topic, partition=0, seq=number, supersedes=supersedes,
        evidence=("e" * 64,) * evidence, data=data,
    )  # fmt: skip


def started(pilot: str, shares: dict[str, str], on: str = "2026-03-01", due: str = "2026-09-30") -> KnownFact:
    parts = [{"region": region, "share": share} for region, share in shares.items()]
    return fact("PilotStarted", pilot, on, shares=parts, due_on=due, level="national", lead_region="340000")


def listed(issue: str, on: str = "2026-02-01", division: str = "340100", owner: str = OWNER) -> KnownFact:
    return fact("IssueListed", issue, on, division_code=division, owner=owner, grade=2, pilot_id="PL-1")


def assigned(issue: str, grade: int, due: str = "2026-06-30", on: str = "2026-02-10", **more: Any) -> KnownFact:
    return fact("IssueAssigned", issue, on, division_code="340100", owner=OWNER, grade=grade, due_on=due, **more)


def measure(value: str, n: int, direction: str = "lower") -> dict[str, Any]:
    return {"name": "不良率", "direction": direction, "value": value, "n": n, "on": "2026-01-01"}


def claimed(
    issue: str, before: dict[str, Any], after: dict[str, Any], on: str = "2026-05-01", evidence: int = 1
) -> KnownFact:
    return fact("IssueClosureClaimed", issue, on, evidence=evidence, baseline=before, after=after, pilot_id="PL-1")


def verified(claim: KnownFact, on: str = "2026-05-10") -> KnownFact:
    return fact("IssueClosureVerified", claim.subject, on, claim_fact=claim.id, verifier_org="x")


def value(indicator: str, subject: Subject, facts: list[KnownFact], window: Window = YEAR) -> Figure:
    return figure(BY_ID[indicator], subject, book(facts, until=window.until), window)


def ratio(found: Figure) -> tuple[Decimal, Decimal]:
    return found.numerator, found.denominator


def reasons(found: Figure) -> dict[str, str]:
    return {record.key: record.left_out for record in found.records if record.left_out}


def test_i01_a_pilot_counts_for_each_region_by_its_share_and_prefectures_roll_up() -> None:
    facts = [
        started("PL-1", {"340100": "0.35", "340200": "0.25", "320500": "0.4"}),
        started("PL-2", {"340000": "1"}),
        started("PL-3", {"340000": "1"}, on="2025-12-31"),
    ]
    found = value("I01", ANHUI, facts)
    assert ratio(found) == (Decimal("1.60"), 1)
    assert reasons(found) == {"PL-3": "outside-window"}
    assert ratio(value("I01", JIANGSU, facts)) == (Decimal("0.4"), 1)


def test_rule_04_earlier_facts_keep_the_shares_in_force_when_they_were_true() -> None:
    change = fact("PilotSharesChanged", "PL-1", "2026-07-01", shares=[{"region": "320000", "share": "1"}])
    facts = [started("PL-1", {"340000": "0.6", "320000": "0.4"}, due="2026-09-30"), change]
    assert ratio(value("I01", ANHUI, facts)) == (Decimal("0.6"), 1)
    assert ratio(value("I02", JIANGSU, facts)) == (0, 1)
    assert value("I02", ANHUI, facts).no_evidence


@given(st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=5), min_size=1, max_size=8))
def test_rule_r5_over_all_regions_every_pilot_counts_exactly_once(weights: list[list[int]]) -> None:
    facts = []
    for number, parts in enumerate(weights):
        whole = [part * 1000 // sum(parts) for part in parts]
        whole[0] += 1000 - sum(whole)
        regions = [f"{11 + place}0{place}00" for place in range(len(parts))]
        facts.append(started(f"PL-{number}", {r: str(Decimal(w) / 1000) for r, w in zip(regions, whole, strict=True)}))
    everywhere = [Subject("region", f"{code}0000") for code in range(11, 17)]
    assert sum(value("I01", region, facts).numerator for region in everywhere) == len(weights)


def test_i02_accepted_by_the_due_day_over_pilots_due_in_the_window() -> None:
    facts = [
        started("PL-1", {"340000": "1"}, due="2026-06-30"),
        fact("PilotAccepted", "PL-1", "2026-06-30", accepted_on="2026-06-30"),
        started("PL-2", {"340000": "0.5", "320000": "0.5"}, due="2026-07-31"),
        fact("PilotAccepted", "PL-2", "2026-08-01", accepted_on="2026-08-01"),
        started("PL-3", {"340000": "1"}, due="2027-01-31"),
    ]
    found = value("I02", ANHUI, facts)
    assert ratio(found) == (1, Decimal("1.5"))
    assert reasons(found) == {"PL-3": "due-outside-window"}


def test_i03_and_i04_look_at_pilots_that_ran_in_the_window() -> None:
    lists = [
        fact("ListPublished", "PL-1", list_kind=kind, rows=3, list_version=1)
        for kind in ("issues", "key-projects", "policy-tools", "roles")
    ]
    roles = [
        fact("ChainRoleAssigned", "PL-1", role=role, uscc=OWNER) for role in ("chief", "leader", "member", "enabler")
    ]
    facts = [
        started("PL-1", {"340000": "0.5"}), started("PL-2", {"340000": "1"}),
        started("PL-3", {"340000": "1"}, on="2025-01-05"),
        fact("PilotAccepted", "PL-3", "2025-12-01", accepted_on="2025-12-01"),
        fact("QualityMapPublished", "PL-1", map_version=1), *lists, *roles,
    ]  # fmt: skip
    assert ratio(value("I03", ANHUI, facts)) == (Decimal("0.5"), Decimal("1.5"))
    assert reasons(value("I03", ANHUI, facts)) == {"PL-3": "ended-before-window"}
    assert ratio(value("I04", ANHUI, facts)) == (Decimal("0.5"), Decimal("1.5"))
    assert ratio(value("I04", ANHUI, facts[:-1])) == (0, Decimal("1.5"))
    emptied = fact("ListPublished", "PL-1", "2026-08-01", list_kind="roles", rows=0, list_version=2)
    assert ratio(value("I04", ANHUI, [*facts, emptied])) == (0, Decimal("1.5"))


def test_i05_listed_issues_count_where_they_lie_and_for_who_owns_them() -> None:
    facts = [
        listed("Q1"),
        listed("Q2"),
        listed("Q3", on="2025-11-01"),
        fact("IssueRemoved", "Q2", "2026-02-02", reason="x"),
    ]
    for subject in (ANHUI, Subject("enterprise", OWNER)):
        found = value("I05", subject, facts)
        assert ratio(found) == (1, 1)
        assert reasons(found) == {"Q2": "removed", "Q3": "outside-window"}
    assert value("I05", JIANGSU, facts).no_evidence


def test_i06_weights_4_3_2_1_by_the_grade_confirmed_at_assignment() -> None:
    claim = claimed("Q1", measure("0.1", 100), measure("0.05", 100))
    facts = [assigned(f"Q{grade}", grade) for grade in (1, 2, 3, 4)] + [claim, verified(claim)]
    assert ratio(value("I06", ANHUI, facts)) == (4, 10)
    regraded = assigned("Q1", 4, on="2026-04-01")
    assert ratio(value("I06", ANHUI, [*facts, regraded])) == (4, 10)


def test_i06_counts_only_what_is_due_in_the_window_and_needs_three() -> None:
    facts = [assigned("Q1", 1), assigned("Q2", 1), assigned("Q3", 1, due="2027-01-01")]
    found = value("I06", ANHUI, facts)
    assert found.no_evidence
    assert reasons(found) == {"Q1": "fewer-than-3-due", "Q2": "fewer-than-3-due", "Q3": "due-outside-window"}
    assert ratio(value("I06", ANHUI, [*facts, assigned("Q4", 2, due="2026-12-31")])) == (0, 11)


def test_i06_a_closure_that_came_back_is_none_until_it_is_verified_again() -> None:
    claim = claimed("Q1", measure("0.1", 100), measure("0.05", 100))
    facts = [assigned(f"Q{n}", 3) for n in (1, 2, 3)] + [claim, verified(claim)]
    back = fact("IssueReopened", "Q1", "2026-07-01", reason="x")
    again = claimed("Q1", measure("0.1", 100), measure("0.02", 100), on="2026-08-01")
    assert ratio(value("I06", ANHUI, facts)) == (2, 6)
    assert ratio(value("I06", ANHUI, [*facts, back])) == (0, 6)
    assert ratio(value("I06", ANHUI, [*facts, back, again, verified(again, on="2026-08-10")])) == (2, 6)


def test_i09_pools_improvements_by_direction_with_weight_min_n_500() -> None:
    better = claimed("Q1", measure("0.10", 1000), measure("0.05", 1000))  # d = 0.5, weight 500
    passing = claimed("Q2", measure("0.80", 400, "higher"), measure("0.90", 200, "higher"))  # d = 0.5, weight 200
    worse = claimed("Q3", measure("0.10", 100), measure("0.13", 100))  # d = −0.3, weight 100, counts with its sign
    facts = [listed(f"Q{n}") for n in (1, 2, 3)]
    facts += [fact_ for claim in (better, passing, worse) for fact_ in (claim, verified(claim))]
    assert ratio(value("I09", ANHUI, facts)) == (Decimal("320.0"), 800)


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (measure("0.1", 29), measure("0.01", 500), "sample-below-30"),
        (measure("0.1", 500), measure("0.01", 29), "sample-below-30"),
        (measure("0", 500), measure("0", 500), "no-room-to-improve"),
        (measure("1", 500, "higher"), measure("1", 500, "higher"), "no-room-to-improve"),
        (measure("0.10", 100), measure("0.09", 100), "within-chance"),
        (measure("0.10", 100), measure("0.10", 100), "within-chance"),
        (measure("0.1", 100), measure("0.2", 100, "higher"), "different-measures"),
        (measure("1.2", 100), measure("0.2", 100), "not-a-fraction"),
    ],
)
def test_i09_leaves_out_what_proves_nothing(before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    assert improvement(before, after) == reason


def test_i09_the_bound_is_agresti_caffos() -> None:
    # p̃ = (10+1)/102 and (4+1)/102; difference 0.058824, variance 0.0009431 + 0.0004570; z²·variance = 0.0023,
    # difference² = 0.0034601 > it; with one defect more, difference 0.04902² = 0.002403 > 1.6425·(0.0009431+0.0005427)
    # = 0.0024404 no longer holds.
    assert improvement(measure("0.10", 100), measure("0.04", 100)) == (Decimal("0.600000"), 100)
    assert improvement(measure("0.10", 100), measure("0.05", 100)) == "within-chance"
    assert improvement(measure("0.10", 100), measure("0", 100)) == (Decimal("1.000000"), 100)
    assert improvement(measure("0.3", 60), measure("0.7", 60)) == (Decimal("-1.000000"), 60)


def test_i09_counts_once_for_the_institution_that_took_the_issue_up_first_and_never_for_an_affiliate() -> None:
    claim = claimed("Q1", measure("0.10", 1000), measure("0.05", 1000))
    other = "12320500MB1C00011D"
    facts = [
        listed("Q1"), claim, verified(claim),
        fact("KeyProjectListed", "K1", "2026-02-01", issue_ids=["Q1"], institution=HELPER, leader=OWNER),
        fact("KeyProjectListed", "K2", "2026-02-02", issue_ids=["Q1"], institution=other, leader=OWNER),
    ]  # fmt: skip
    assert ratio(value("I09", Subject("institution", HELPER), facts)) == (250, 500)
    assert reasons(value("I09", Subject("institution", other), facts)) == {"Q1": "elsewhere"}
    groups = [fact("PartyAffiliationChanged", uscc, "2026-01-01", group_id="G") for uscc in (HELPER, OWNER)]
    assert reasons(value("I09", Subject("institution", HELPER), facts + groups)) == {"Q1": "affiliate"}
    left = fact("PartyAffiliationChanged", HELPER, "2026-04-01", group_id="")
    assert ratio(value("I09", Subject("institution", HELPER), [*facts, *groups, left])) == (250, 500)


def test_i34_claims_with_documents_over_claims_rejected_ones_apart() -> None:
    with_document, without = (
        claimed("Q1", measure("0.1", 99), measure("0.1", 99)),
        claimed("Q2", measure("0.1", 99), measure("0.1", 99), evidence=0),
    )
    refused = claimed("Q3", measure("0.1", 99), measure("0.1", 99), evidence=0)
    facts = [listed("Q1"), listed("Q2"), listed("Q3"), with_document, without, refused]
    facts.append(fact("IssueClosureRejected", "Q3", "2026-05-20", claim_fact=refused.id, reason="x"))
    found = value("I34", ANHUI, facts)
    assert ratio(found) == (1, 2)
    assert list(reasons(found).values()) == ["rejected"]


def test_rule_09_a_correction_takes_the_place_of_what_it_corrects() -> None:
    wrong = listed("Q1", division="320500")
    right = fact("IssueListed", "Q1", "2026-02-01", division_code="340100", owner=OWNER, grade=2, supersedes=wrong.id)
    assert ratio(value("I05", JIANGSU, [wrong])) == (1, 1)
    assert value("I05", JIANGSU, [wrong, right]).no_evidence
    assert ratio(value("I05", ANHUI, [right, wrong])) == (1, 1)


def test_an_issue_that_moved_counts_where_it_is_now_and_says_so_where_it_was() -> None:
    moved = fact("IssueChanged", "Q1", "2026-02-05", division_code="320500", owner=OWNER, grade=2)
    assert reasons(value("I05", ANHUI, [listed("Q1"), moved])) == {"Q1": "elsewhere"}
    assert ratio(value("I05", JIANGSU, [listed("Q1"), moved])) == (1, 1)


STORY = [
    started("PL-1", {"340100": "0.6", "320500": "0.4"}, due="2026-06-30"),
    fact("PilotAccepted", "PL-1", "2026-06-01", accepted_on="2026-06-01"),
    fact("QualityMapPublished", "PL-1", map_version=1),
    *(each for n in range(1, 5) for each in (listed(f"Q{n}"), assigned(f"Q{n}", n))),
    (CLAIM := claimed("Q1", measure("0.10", 1000), measure("0.05", 1000))),
    verified(CLAIM),
    fact("IssueReopened", "Q1", "2026-05-20", reason="x"),
    (AGAIN := claimed("Q1", measure("0.10", 1000), measure("0.04", 1000), on="2026-06-01")),
    verified(AGAIN, on="2026-06-05"),
    fact("KeyProjectListed", "K1", "2026-02-01", issue_ids=["Q1", "Q2"], institution=HELPER, leader=OWNER),
    fact("PartyAffiliationChanged", HELPER, "2026-01-01", group_id="G"),
]
EVERYTHING = tuple(
    InputRange(service="x", log_id="l", topic=topic, partition=0, seq=10_000) for topic in sorted(set(TOPICS.values()))
)


@given(st.permutations(STORY), st.lists(st.sampled_from(STORY), max_size=6))
def test_rule_21_any_order_of_delivery_with_duplicates_gives_the_same_card(
    order: list[KnownFact], again: list[KnownFact]
) -> None:
    for subject in (ANHUI, JIANGSU, Subject("enterprise", OWNER), Subject("institution", HELPER)):
        hashes = {
            card(
                subject, "2026", compute(subject, facts, YEAR, EVERYTHING), YEAR, known=7, inputs=EVERYTHING
            ).figures_hash
            for facts in (STORY, [*order, *again], [*again, *order])
        }
        assert len(hashes) == 1


@given(st.integers(0, 400))
def test_rule_10_known_earlier_means_the_figures_of_then_whatever_came_later(seq: int) -> None:
    inputs = tuple(part.model_copy(update={"seq": seq}) for part in EVERYTHING)
    then = [fact_ for fact_ in STORY if fact_.seq <= seq]
    now, before = (compute(ANHUI, facts, YEAR, inputs) for facts in (STORY, then))
    assert now == before


def test_rule_10_effective_earlier_leaves_out_what_was_not_true_yet_and_not_due_yet() -> None:
    may = Window(YEAR.start, YEAR.end, end_of_day("2026-05-15"))
    facts = [assigned(f"Q{n}", 3, due="2026-05-01") for n in (1, 2, 3)] + [assigned("Q4", 1, due="2026-06-30")]
    claim = claimed("Q1", measure("0.1", 100), measure("0.01", 100))
    facts += [claim, verified(claim, on="2026-05-20")]
    assert ratio(value("I06", ANHUI, facts, may)) == (0, 6)
    assert ratio(value("I06", ANHUI, facts)) == (2, 10)


def test_a_card_of_nothing_reads_no_evidence_everywhere_and_weighs_nothing() -> None:
    found = card(ANHUI, "2026", compute(ANHUI, [], YEAR, ()), YEAR, known=0, inputs=())
    assert [value_.indicator for value_ in found.values] == ["I01", "I02", "I03", "I04", "I05", "I06", "I09", "I34"]
    assert all(v.no_evidence and v.numerator == 0 and v.denominator == 0 for v in found.values)


def test_a_figure_lists_a_bounded_number_of_ids_and_hashes_all_of_them() -> None:
    many = [listed(f"Q{n}") for n in range(EVIDENCE_IDS_MAX + 50)]
    cards = [card(ANHUI, "2026", compute(ANHUI, facts, YEAR, EVERYTHING), YEAR, known=1, inputs=EVERYTHING)
             for facts in (many, [*many[:-1], listed("Q-last")])]  # fmt: skip
    counts = [next(v for v in found.values if v.indicator == "I05") for found in cards]
    assert [(v.records, len(v.evidence)) for v in counts] == [(650, 600), (650, 600)]
    assert counts[0].evidence_hash != counts[1].evidence_hash
