"""The demo's files: the same year for the same seed, with codes that are valid and lists that hold together."""

from __future__ import annotations

from decimal import Decimal

import pytest

from deploy.demo.by_seed import ISSUES, KEY_PROJECTS, PILOTS, programme
from deploy.demo.papers import paper
from deploy.demo.programme import Days, Programme
from shared.codes.divisions import checked_division
from shared.codes.uscc import checked_uscc
from shared.contracts.pilot_registration import ChainRole


@pytest.fixture(scope="module", params=[1.0, 0.1, 0.03])
def year(request: pytest.FixtureRequest) -> Programme:
    return programme(seed=2026, scale=request.param)


def test_the_whole_year_has_the_programmes_size() -> None:
    whole = programme(seed=1, scale=1.0)

    assert len(whole.regions) == 32  # 31 provinces and the Corps
    assert len(whole.chains) == 21
    assert len(whole.pilots) == PILOTS == 28
    assert sum(len(pilot.issues) for pilot in whole.pilots) == ISSUES == 1417
    assert sum(len(pilot.projects) for pilot in whole.pilots) == KEY_PROJECTS == 163
    assert {region for pilot in whole.pilots for region, _share in pilot.shares} == {r.code for r in whole.regions}


def test_the_same_seed_writes_the_same_year_and_another_seed_another_one() -> None:
    assert programme(seed=7, scale=0.1) == programme(seed=7, scale=0.1)
    assert programme(seed=7, scale=0.1) != programme(seed=8, scale=0.1)


def test_every_code_is_valid_and_nobody_has_two(year: Programme) -> None:
    assert [checked_uscc(party.uscc) for party in year.parties] == [party.uscc for party in year.parties]
    assert len({party.uscc for party in year.parties}) == len(year.parties)
    assert len({party.name for party in year.parties}) == len(year.parties)
    for party in year.parties:
        assert checked_division(party.division_code, Days.REGISTER) == party.division_code


def test_shares_sum_to_one_and_every_consortium_has_its_roles(year: Programme) -> None:
    for pilot in year.pilots:
        assert sum(share for _region, share in pilot.shares) == Decimal(1)
        assert len({region for region, _share in pilot.shares}) == len(pilot.shares)
        roles = [role for role, _party in pilot.roles]
        assert roles.count(ChainRole.CHIEF) == 1
        assert roles.count(ChainRole.LEADER) >= 1
        assert roles.count(ChainRole.MEMBER) >= 5
        assert roles.count(ChainRole.ENABLER) >= 1


def test_lists_hold_together(year: Programme) -> None:
    for pilot in year.pilots:
        nodes, issues = {node.number for node in pilot.nodes}, {issue.number for issue in pilot.issues}
        assert len(issues) == len(pilot.issues)
        assert {edge.source for edge in pilot.edges} | {edge.target for edge in pilot.edges} <= nodes
        assert {issue.node for issue in pilot.issues} <= nodes
        for project in pilot.projects:
            assert project.issues
            assert set(project.issues) <= issues
        for issue in pilot.issues:
            readings = [issue.baseline] + ([issue.closure.after] if issue.closure else [])
            assert all(0 <= reading.value <= 1 and reading.n > 0 for reading in readings)


def test_even_a_small_year_has_one_of_every_kind(year: Programme) -> None:
    closures = [issue.closure for pilot, issue in year.issues() if pilot.started and issue.closure]

    fates = {pilot.fate for pilot in year.pilots}
    assert fates == {"running", "accepted", "accepted_late", "not_selected", "withdrawn"}
    assert any(pilot.returned for pilot in year.pilots)
    assert any(pilot.flaw for pilot in year.pilots)
    assert {closure.verdict for closure in closures} >= {"verified", "rejected"}
    assert {docket.kind for docket in year.dockets} == {"region", "enterprise", "institution"}


def test_every_panel_has_three_strangers(year: Programme) -> None:
    for docket in year.dockets:
        for candidate in docket.candidates:
            evaluators = [evaluator for evaluator, _score in candidate.scores]
            assert len({evaluator.number for evaluator in evaluators}) >= 3
            assert all(evaluator.org.division_code[:2] != candidate.region[:2] for evaluator in evaluators)


def test_a_paper_is_a_pdf_and_the_same_for_the_same_words() -> None:
    written = paper("任务书", ("一", "二"))

    assert written == paper("任务书", ("一", "二"))
    assert written.startswith(b"%PDF-1.4")
    assert written.endswith(b"%%EOF\n")
    at = int(written.split(b"startxref\n")[1].split(b"\n")[0])
    assert written[at : at + 4] == b"xref"
