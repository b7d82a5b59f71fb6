"""One workbook over HTTP: preview, errors by row, apply in chunks, export, and a process killed in the middle."""

from __future__ import annotations

import uuid
from typing import Any

import httpx2

from services.pilot_registration.api.imports import WORKBOOK
from shared.doors.sheets import read_workbook

SLOT = "pilot-registration-0"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


async def test_a_preview_writes_nothing_and_an_apply_lists_everything(office: Any) -> None:
    pilot, registrar = await office.draft(), await office.registrar()

    preview = (await office.send(pilot, office.rows(issues=5))).json()

    assert preview["details"]["applicable"]
    assert preview["details"]["new"] == 5 + 1 + 1 + 8 + 3 + 2
    assert preview["details"]["sheets"]["质量问题清单"]["new"]["rows"] == [f"Q{i:03d}" for i in range(5)]
    assert (await office.read(f"/pilots/{pilot}", registrar))["lists"] == {}
    assert (await office.read(f"/quality-issues?pilot_id={pilot}", registrar))["items"] == []
    path = f"/pilots/{pilot}/imports/{preview['id']}"
    assert (await office.read(path, registrar))["state"] == "previewed"

    applied = await office.done(f"{path}/apply", registrar, {"remove_absent": False})

    assert applied["details"]["new"] == 20
    progress = await office.read(path, registrar)
    assert (progress["state"], progress["done"]) == ("applied", progress["total"])
    shown = await office.read(f"/pilots/{pilot}", registrar)
    assert {kind: version["rows"] for kind, version in shown["lists"].items()} == {
        "issues": 5, "key-projects": 1, "policy-tools": 1, "roles": 8,
    }  # fmt: skip
    assert (shown["quality_map"]["nodes"], shown["quality_map"]["nodes_covered"]) == (3, 3)
    issues = (await office.read(f"/quality-issues?pilot_id={pilot}", registrar))["items"]
    assert [issue["id"] for issue in issues] == [f"{pilot}:Q:Q{i:03d}" for i in range(5)]
    project = await office.read(f"/key-projects/{pilot}:K:K1", registrar)
    assert project["issue_ids"] == [f"{pilot}:Q:Q000", f"{pilot}:Q:Q001"]


async def test_rule_19_exporting_and_importing_unchanged_changes_nothing_and_makes_no_version(office: Any) -> None:
    pilot, registrar = await office.draft(), await office.registrar()
    await office.import_(pilot, office.rows(issues=4))
    before = await office.read(f"/pilots/{pilot}", registrar)

    exported = await office.get(f"/pilots/{pilot}/workbook.xlsx", registrar)
    files = {"file": ("导出.xlsx", exported.content, XLSX)}
    preview = await office.done(f"/pilots/{pilot}/imports", registrar, files=files)

    assert {name: preview["details"][name] for name in ("new", "changed", "removed", "unchanged")} == {
        "new": 0, "changed": 0, "removed": 0, "unchanged": 19,
    }  # fmt: skip
    await office.done(f"/pilots/{pilot}/imports/{preview['id']}/apply", registrar, {"remove_absent": True})
    assert (await office.read(f"/pilots/{pilot}", registrar))["version"] == before["version"]


async def test_rule_19_an_absent_row_is_removed_only_when_asked(office: Any) -> None:
    pilot, registrar = await office.draft(), await office.registrar()
    rows = office.rows(issues=4)
    await office.import_(pilot, rows)
    rows["issues"] = rows["issues"][:3]
    rows["issues"][2]["title"] = "改过的问题"

    kept = await office.import_(pilot, rows, remove_absent=False)

    assert (kept["details"]["changed"], kept["details"]["removed"]) == (1, 0)
    listed = (await office.read(f"/quality-issues?pilot_id={pilot}", registrar))["items"]
    assert [issue["number"] for issue in listed] == ["Q000", "Q001", "Q002", "Q003"]
    assert listed[2]["title"] == "改过的问题"

    removed = await office.import_(pilot, rows, remove_absent=True)

    assert removed["details"]["removed"] == 1
    listed = (await office.read(f"/quality-issues?pilot_id={pilot}", registrar))["items"]
    assert [issue["number"] for issue in listed] == ["Q000", "Q001", "Q002"]
    assert (await office.get(f"/quality-issues/{pilot}:Q:Q003", registrar)).status_code == 404
    assert (await office.read(f"/pilots/{pilot}", registrar))["lists"]["issues"] == {
        "version": 3, "rows": 3,
        "content_hash": (await office.read(f"/pilots/{pilot}", registrar))["lists"]["issues"]["content_hash"],
    }  # fmt: skip
    rows["issues"].append(office.rows(issues=4)["issues"][3])
    again = await office.import_(pilot, rows)
    assert again["details"]["new"] == 1
    assert (await office.read(f"/quality-issues/{pilot}:Q:Q003", registrar))["state"] == "listed"


async def test_rule_01_faults_name_sheet_row_column_and_rule_and_can_be_fetched_as_a_sheet(office: Any) -> None:
    pilot, registrar = await office.draft(), await office.registrar()
    rows = office.rows(issues=3)
    rows["issues"][0]["owner"] = rows["issues"][0]["owner"][:-1] + "I"
    rows["issues"][1]["value"] = "1.2"
    rows["issues"][1]["division_code"] = "330100"
    rows["issues"][2]["node"] = "N9"
    rows["map-nodes"][0]["industry_code"] = "C99"
    rows["roles"][0]["uscc"] = "91310115MA1K00015K"

    answer = await office.send(pilot, rows)

    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "workbook-has-errors")
    found = {(e["sheet"], e["row"], e["column"], e["rule"]) for e in body["errors"]}
    assert found == {
        ("质量问题清单", 3, "责任单位", "uscc-alphabet"),
        ("质量问题清单", 4, "基线值", "measure-fraction"),
        ("质量问题清单", 4, "行政区划代码", "division-outside"),
        ("质量问题清单", 5, "节点", "reference"),
        ("角色清单", 3, "统一社会信用代码", "party-unknown"),
        ("质量图谱节点", 3, "行业代码", "industry-unknown"),
    }
    assert all(error["zh"] and error["en"] for error in body["errors"])
    listed = await office.get(f"{answer.headers['location']}/errors.xlsx", registrar)
    assert listed.content[:2] == b"PK"
    apply = await office.post(f"{answer.headers['location']}/apply", registrar, {"remove_absent": False})
    assert (apply.status_code, apply.json()["code"]) == (409, "import-not-applicable")
    assert (await office.read(f"/pilots/{pilot}", registrar))["lists"] == {}


async def test_the_template_is_the_form_that_reads_back(office: Any) -> None:
    form = await office.get("/workbooks/application.xlsx", await office.registrar())

    book = await read_workbook(form.content, list(WORKBOOK.values()))

    assert book.errors == []
    assert all(rows == [] for rows in book.rows.values())


async def test_an_import_killed_in_the_middle_is_resumed_and_nothing_is_lost_or_doubled(office: Any) -> None:
    pilot, registrar = await office.draft(), await office.registrar()
    rows = office.rows(issues=900)
    preview = (await office.send(pilot, rows)).json()
    path, key = f"/pilots/{pilot}/imports/{preview['id']}", str(uuid.uuid4())
    await office.stack.terminate(SLOT)
    # The process dies inside the third transaction: two chunks are in, the third is not.
    await office.stack.start(SLOT, LIANDONG_DUE_POLL_SECONDS="0.1", LIANDONG_FAILPOINTS="commit.after_writes=kill@3")
    try:
        await office.post(f"{path}/apply", registrar, {"remove_absent": False}, key=key)
    except httpx2.HTTPError:
        pass
    await office.stack.wait_exit(SLOT)
    await office.stack.start(SLOT, LIANDONG_DUE_POLL_SECONDS="0.1")

    broken = await office.read(path, registrar)
    assert (broken["state"], 0 < broken["done"] < broken["total"]) == ("applying", True)
    assert (await office.read(f"/quality-issues?pilot_id={pilot}", registrar))["items"] == []
    other = await office.send(pilot, rows)
    assert (other.status_code, other.json()["code"]) == (409, "import-in-progress")

    await office.done(f"{path}/apply", registrar, {"remove_absent": False}, key=key)
    again = await office.done(f"{path}/apply", registrar, {"remove_absent": False}, key=str(uuid.uuid4()))

    assert again["facts"] == []
    assert (await office.read(f"/pilots/{pilot}", registrar))["lists"]["issues"]["rows"] == 900
    events = office.stack.admin().pilot_registration.commits
    counted = await events.aggregate(
        [
            {"$unwind": "$events"},
            {"$match": {"events.type": "IssueListed", "events.subject": {"$regex": f"^{pilot}:"}}},
            {"$group": {"_id": "$events.subject", "n": {"$sum": 1}}},
        ]
    ).to_list(None)
    assert len(counted) == 900
    assert {row["n"] for row in counted} == {1}
