"""What the policy files say, and every component, gate and rounding worked out by hand."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from services.incentive_scoring import store
from services.incentive_scoring.domain import digest
from services.incentive_scoring.policies.explaining import explanation, reconciliation
from services.incentive_scoring.policies.rules import NEVER_REWARDED, PolicyDocument
from services.incentive_scoring.policies.tilting import Card, Figure, Known, PanelResult, decide, rounded, tilt, without
from services.incentive_scoring.store import PolicyFileWrong, policy_files, policy_schema
from shared.contracts.evaluation import SubjectKind
from shared.contracts.incentive_scoring import TiltDecided, TiltWithheld
from tests.services.incentive_scoring.world import (
    END,
    FILES,
    GOOD,
    START,
    candidate,
    card,
    changed,
    docket,
    figure,
)

OLD, NEW = FILES["TP-2025.1"], FILES["TP-2026.1"]
PANEL = PanelResult("panel-fact", 3, True)
REGION, ENTERPRISE = SubjectKind.REGION, SubjectKind.ENTERPRISE
INSTITUTION, INDIVIDUAL = SubjectKind.INSTITUTION, SubjectKind.INDIVIDUAL


def points(
    policy: PolicyDocument, kind: SubjectKind, indicator: str, numerator: object, denominator: object = 1
) -> str:
    """The exact points of the one leaf that reads this indicator."""
    effects = {"I09": figure("0.0001")} if indicator != "I09" else {}
    known = Known(card=card(effects | {indicator: figure(numerator, denominator)}), panel=PANEL)
    found = tilt(policy, docket(kind), candidate(), known)
    return next(leaf.exact for leaf in found.components if leaf.indicator == indicator)


# --- the files ---


def test_the_hashes_of_the_committed_policies_are_these() -> None:
    # An approved version never changes: a change here means a new version is due instead.
    assert {version: digest(document.content())[:12] for version, document in FILES.items()} == {
        "TP-2025.1": "4f2d9cc0fbc1",
        "TP-2026.1": "bec51412d281",
    }


def test_the_committed_schema_is_the_one_of_the_code_and_takes_every_file() -> None:
    committed = json.loads((store.POLICY_FILES / "tilt-policy.schema.json").read_text("utf-8"))

    assert committed == policy_schema()
    for path in sorted(store.POLICY_FILES.glob("*.yaml")):
        jsonschema.validate(yaml.safe_load(path.read_text("utf-8")), committed)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"version": "2026.1"},
        {"levels": ["district"]},
        {"instruments": {"points": True, "tie_break_priority": False, "quota_uplift": True, "fast_track": False}},
    ],
)
def test_a_file_of_another_shape_is_refused_by_the_schema_and_by_the_code(change: dict[str, Any]) -> None:
    content = NEW.content() | change

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, policy_schema())
    with pytest.raises(ValidationError):
        PolicyDocument.model_validate(content)


@pytest.mark.parametrize(
    ("find", "replace", "says"),
    [
        ('weight: "0.9"', 'weight: "0.8"', "weights sum to"),
        ("indicator: I31", "indicator: I77", "no indicator of the catalogue"),
        ("indicator: I31", "indicator: I05", "never rewarded"),
        ('cap_share: "0.03"', 'cap_share: "0.05"', "is not 0.05 of the scale"),
        ('base_floor: "0.60"', "base_floor: 0.60", "a float is not exact"),
        ('full: "5"}', "}", "share takes"),
        ("  V7:", "  V8:", "V8"),
        ("version: TP-2025.1", "version: TP-2025.2", "name and version must agree"),
        ("once: false", "once: false\nonce: true", "stands twice"),
    ],
)
def test_a_file_that_says_what_a_policy_cannot_say_is_refused_with_its_name(
    tmp_path: Any, find: str, replace: str, says: str
) -> None:
    text = (store.POLICY_FILES / "TP-2025.1.yaml").read_text("utf-8")
    assert find in text
    (tmp_path / "TP-2025.1.yaml").write_text(text.replace(find, replace, 1), "utf-8")

    with pytest.raises(PolicyFileWrong, match=rf"(?s)TP-2025\.1\.yaml.*{says}"):
        policy_files(tmp_path)


@pytest.mark.parametrize("policy", FILES.values(), ids=FILES)
@pytest.mark.parametrize("kind", list(SubjectKind))
def test_the_weights_sum_to_the_cap_and_the_cap_is_three_percent_of_the_scale(
    policy: PolicyDocument, kind: SubjectKind
) -> None:
    said = policy.kinds[kind]

    assert sum(part.weight for part in said.components) == said.cap == said.scale * 3 / 100
    assert not {part.indicator for part in said.components} & NEVER_REWARDED


# --- components, by hand ---


@pytest.mark.parametrize(
    ("policy", "kind", "indicator", "numerator", "denominator", "exact"),
    [
        # enterprise, both versions: closure 8·clamp((I06−0.5)/0.5)
        (NEW, ENTERPRISE, "I06", 9, 10, "32/5"),
        (NEW, ENTERPRISE, "I06", 1, 2, "0"),
        (NEW, ENTERPRISE, "I06", 2, 3, "8/3"),
        (NEW, ENTERPRISE, "I06", 1, 3, "0"),
        (NEW, ENTERPRISE, "I06", 7, 7, "8"),
        # helping 8·min(1, I19/20)
        (NEW, ENTERPRISE, "I19", 5, 1, "2"),
        (NEW, ENTERPRISE, "I19", 41, 1, "8"),
        # effect 8·clamp((d−0.10)/0.40)
        (NEW, ENTERPRISE, "I09", "0.3", 1, "4"),
        (NEW, ENTERPRISE, "I09", "-0.4", 1, "0"),
        (NEW, ENTERPRISE, "I09", "0.9", 1, "8"),
        # people 3·I27, sharing 3·min(1, I28/200)
        (NEW, ENTERPRISE, "I27", 1, 1, "3"),
        (NEW, ENTERPRISE, "I28", 50, 1, "3/4"),
        # institution
        (NEW, INSTITUTION, "I19", 10, 1, "12/5"),
        (NEW, INSTITUTION, "I09", "0.2", 1, "5/2"),
        (NEW, INSTITUTION, "I21", 48, 1, "3/2"),
        (NEW, INSTITUTION, "I21", 12, 1, "3"),
        (NEW, INSTITUTION, "I21", 90, 1, "0"),
        (NEW, INSTITUTION, "I22", 80, 1, "4/5"),
        (NEW, INSTITUTION, "I28", 250, 1, "3/4"),
        # individual, 2025 and 2026
        (OLD, INDIVIDUAL, "I23", 60, 1, "3"),
        (NEW, INDIVIDUAL, "I23", 60, 1, "2"),
        (OLD, INDIVIDUAL, "I09", "0.3", 1, "4"),
        (NEW, INDIVIDUAL, "I09", "0.3", 1, "6"),
        (NEW, INDIVIDUAL, "I22", 95, 1, "5"),
        (NEW, INDIVIDUAL, "I27", 1, 1, "5"),
        # region, 2025 and 2026
        (OLD, REGION, "I02", 3, 4, "27/40"),
        (NEW, REGION, "I02", 3, 4, "9/20"),
        (OLD, REGION, "I06", 3, 4, "3/10"),
        (NEW, REGION, "I06", 3, 4, "3/10"),
        (NEW, REGION, "I09", "0.3", 1, "1/2"),
        (OLD, REGION, "I31", 1, 3, "1/10"),
        (NEW, REGION, "I31", 1, 3, "1/30"),
        (OLD, REGION, "I13", 2, 1, "3/25"),
        (NEW, REGION, "I13", 2, 1, "1/25"),
    ],
)
def test_rule_12_a_component_is_worth_what_the_policy_says(  # noqa: PLR0917 - one line of the table
    policy: PolicyDocument, kind: SubjectKind, indicator: str, numerator: object, denominator: object, exact: str
) -> None:
    assert points(policy, kind, indicator, numerator, denominator) == exact


def test_the_first_policy_gives_a_region_nothing_for_measured_improvement() -> None:
    assert "I09" not in {part.indicator for part in OLD.kinds[REGION].components}


def test_a_regional_target_that_is_not_set_withholds_the_component_and_says_so() -> None:
    known = Known(card=card({"I19": figure(30), "I09": figure("0.3")}), panel=PANEL)
    here = candidate("340000", 80, "340000")

    unset = tilt(NEW, docket(REGION), here, known)
    with_target = tilt(changed(NEW, targets={"340000": {"I19": "120"}}), docket(REGION), here, known)

    leaf = next(part for part in unset.components if part.name == "helping")
    assert (leaf.withheld, leaf.exact, leaf.no_evidence) == ("target-not-set", "0", False)
    reached = next(part for part in with_target.components if part.name == "helping")
    assert (reached.withheld, reached.exact, reached.formula) == ("", "1/10", "0.4·min(1, I19/120)")


def test_secondment_counts_only_beside_a_verified_effect_since_2026() -> None:
    alone = Known(card=card({"I23": figure(240)}), panel=PANEL)

    old, new = tilt(OLD, docket(INDIVIDUAL), candidate(), alone), tilt(NEW, docket(INDIVIDUAL), candidate(), alone)

    assert [(leaf.exact, leaf.withheld) for leaf in old.components if leaf.indicator == "I23"] == [("12", "")]
    assert [(leaf.exact, leaf.withheld) for leaf in new.components if leaf.indicator == "I23"] == [("0", "no-effect")]


def test_an_individual_is_decided_like_everybody_else() -> None:
    figures = {"I09": figure("0.3"), "I23": figure(120), "I22": figure(90), "I27": figure(1)}

    found = tilt(NEW, docket(INDIVIDUAL), candidate(), Known(card=card(figures), panel=PANEL))

    # 12·0.5 + 8·0.5 + 5·0.8 + 5
    assert (found.reasons, str(found.final)) == ((), "19.00")


def test_a_component_without_evidence_is_0_and_says_so() -> None:
    figures = {"I06": Figure(Decimal(0), Decimal(0), True), "I09": figure("0.3")}

    found = tilt(NEW, docket(), candidate(), Known(card=card(figures), panel=PANEL))

    assert [(leaf.name, leaf.no_evidence, leaf.exact) for leaf in found.components] == [
        ("closure", True, "0"), ("helping", True, "0"), ("effect", False, "4"), ("people", True, "0"),
        ("sharing", True, "0"),
    ]  # fmt: skip


# --- gates ---


def gates(known: Known, base: object = 700, **how: Any) -> tuple[str, ...]:
    return tilt(NEW, docket(**how), candidate(base=base), known).reasons


def test_gate_1_the_base_score_reaches_600_of_1000_or_60_of_100() -> None:
    well = Known(card=card(GOOD), panel=PANEL)

    assert gates(well, 600) == ()
    assert gates(well, "599.99") == ("G1",)
    assert gates(well, 60, kind=REGION) == ()
    assert gates(well, "59.99", kind=REGION) == ("G1",)


def test_gate_2_evidence_completeness_reaches_080_and_no_evidence_does_not() -> None:
    assert gates(Known(card=card(GOOD, completeness=(4, 5)), panel=PANEL)) == ()
    assert gates(Known(card=card(GOOD, completeness=(799, 1000)), panel=PANEL)) == ("G2",)
    assert gates(Known(card=card(GOOD, completeness=(0, 0)), panel=PANEL)) == ("G2",)
    assert gates(Known(panel=PANEL)) == ("G2", "G3")


def test_gate_2_a_scorecard_of_another_window_is_none() -> None:
    early = Card("s", 1, "h", GOOD, (9, 10), window_start=START - timedelta(days=800), window_end=END)
    late = Card("s", 1, "h", GOOD, (9, 10), window_start=START, window_end=END + timedelta(days=1))
    whole = Card("s", 1, "h", GOOD, (9, 10), window_start=START - timedelta(days=700), window_end=END)

    assert gates(Known(card=early, panel=PANEL)) == gates(Known(card=late, panel=PANEL)) == ("G2", "G3")
    assert gates(Known(card=whole, panel=PANEL)) == ()


def test_gate_3_a_verified_effect_must_be_there() -> None:
    nothing = {"I06": figure(0, 10), "I09": figure("-0.2"), "I19": figure(20)}

    assert gates(Known(card=card(nothing), panel=PANEL)) == ("G3",)
    assert gates(Known(card=card(nothing | {"I06": figure(1, 10)}), panel=PANEL)) == ()


def test_gate_4_an_active_veto_withholds() -> None:
    found = tilt(NEW, docket(), candidate(), Known(card(GOOD), PANEL, vetoes=(("VT-1", "V2"),)))
    overdue = tilt(NEW, docket(), candidate(), Known(card(GOOD), PANEL, vetoes=(("VT-2", "V7"),)))

    assert (found.reasons, found.ineligible) == (("G4",), True)
    assert (overdue.reasons, overdue.ineligible) == (("G4",), False)


def test_gate_5_a_panel_free_of_conflicts_with_three_appraisals_has_finalised() -> None:
    assert gates(Known(card=card(GOOD))) == ("G5",)
    assert gates(Known(card(GOOD), PanelResult("f", 3, False))) == ("G5",)
    assert gates(Known(card(GOOD), PanelResult("f", 2, True))) == ("G5",)


# --- cap, rounding, explanation ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1/3", "0.33"), ("1005/1000", "1.00"), ("1015/1000", "1.02"), ("-1/1000", "0.00"), ("2/3", "0.67"),
     ("10050000000000000000000000000001/10000000000000000000000000000000", "1.01")],
)  # fmt: skip
def test_rule_12_one_half_even_rounding_of_the_exact_fraction(value: str, expected: str) -> None:
    assert str(rounded(Fraction(value))).removeprefix("-") == expected


def test_the_cap_cuts_the_sum_before_the_rounding() -> None:
    narrow = NEW.model_copy(
        update={"kinds": NEW.kinds | {ENTERPRISE: NEW.kinds[ENTERPRISE].model_copy(update={"cap": Decimal("10.005")})}}
    )

    found = tilt(narrow, docket(), candidate(), Known(card=card(GOOD), panel=PANEL))

    assert (found.raw, found.capped, str(found.final)) == (Fraction("10.4"), Fraction("10.005"), "10.00")


def decided(figures: dict[str, Figure], base: object = 700) -> TiltDecided | TiltWithheld:
    from services.incentive_scoring.domain import PinnedInput

    pin = PinnedInput(scorecard_id="enterprise:x:2026", scorecard_revision=1, scorecard_hash="h", assessment_fact="p")
    return decide(NEW, docket(), candidate(base=base), pin, Known(card=card(figures), panel=PANEL))


def test_rule_12_the_printed_components_add_up_to_the_result_in_the_reconciliation_line() -> None:
    fact = decided({"I06": figure(2, 3), "I09": figure("0.3"), "I19": figure(7), "I28": figure(1)})
    told = reconciliation(fact)

    # 8/3 + 2.8 + 4 + 0.015 = 9.481666…: printed 2.6667 + 2.8 + 4 + 0.015
    assert told["printed"] == "9.4817"
    assert told["result"] == "9.48"
    assert told["line"].startswith("Σ 9.4817")
    assert told["line"].endswith("= 9.48")


def test_rule_12_an_explanation_names_policy_gates_and_evidence_in_both_languages_and_hashes_to_its_own_hash() -> None:
    for fact in (decided(GOOD), decided(GOOD, base=500)):
        told = explanation(fact, NEW)

        assert digest(told) == fact.explanation_hash
        assert [gate["gate"] for gate in told["gates"]] == ["G1", "G2", "G3", "G4", "G5"]
        assert all(line["zh"] and line["en"] for line in [*told["gates"], *told["components"], *told["reasons"]])
        assert told["components"][0]["evidence"] == ["verified-1", "verified-2"]
        assert told["policy"]["hash"] == digest(NEW.content())


def test_rule_12_without_one_fact_a_count_loses_one_and_a_ratio_is_no_longer_proven() -> None:
    whole = card({"I19": figure(3, 1, ("a", "b", "c")), "I06": figure(9, 10, ("a", "v")), "I09": figure("0.3")})

    less = without(whole, "a")

    assert (less.figures["I19"].numerator, less.figures["I19"].evidence) == (2, ("b", "c"))
    assert less.figures["I06"].no_evidence
    assert less.figures["I09"] == whole.figures["I09"]
    assert without(whole, "nobody") == whole
