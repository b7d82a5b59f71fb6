"""Writes the files as offices do: the service's own empty form, filled in below a title and above a signature line.

What stands under a column follows from its header in the form, so that a form with more columns is filled as far as
the office has something to say.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal

import xlsxwriter
from python_calamine import CalamineWorkbook

from deploy.demo.catalogue import MILESTONES
from deploy.demo.programme import CYCLE, Docket, Issue, PilotFile, Project
from shared.contracts.pilot_registration import ChainRole, Direction, IssueClass

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
Value = str | int | Decimal | date | None
Rows = list[Mapping[str, Value]]

_HEADER_WITHIN = 10
_WRITTEN_AT = datetime(2026, 1, 5, 9)  # noqa: DTZ001 - the file format knows no zone
_CLASSES = {
    IssueClass.TECHNIQUE: "技术",
    IssueClass.MANAGEMENT: "管理",
    IssueClass.BRAND: "品牌",
    IssueClass.NQI: "质量基础设施",
}
_GRADES = {1: "1", 2: "2", 3: "3", 4: "4"}
_DIRECTIONS = {Direction.LOWER: "越低越好", Direction.HIGHER: "越高越好"}
_ROLES = {
    ChainRole.CHIEF: ("链长单位", "统筹链上质量联动提升,督促责任落实"),
    ChainRole.LEADER: ("链主企业", "牵头编制质量图谱和清单,带动链上成员"),
    ChainRole.MEMBER: ("链上成员", "落实本企业质量问题整改并按期报送进展"),
    ChainRole.ENABLER: ("质量赋能专业技术机构", "提供计量、标准、检验检测、认证技术支撑"),
}


class StrangeForm(Exception):
    """The service's empty form has none of the columns the office knows."""


def application(pilot: PilotFile, form: bytes, *, flawed: bool = False) -> bytes:
    """A consortium's application workbook; with `flawed`, one owner's code is mistyped in its last character."""
    issues = [_issue(pilot, issue) for issue in pilot.issues]
    if flawed:
        code = str(issues[-1]["责任单位"])
        issues[-1] = {**issues[-1], "责任单位": code[:-1] + ("A" if code[-1] != "A" else "B")}
    return filled(
        form,
        {
            "质量问题清单": issues,
            "重点攻关项目清单": [_project(project) for project in pilot.projects],
            "质量政策工具清单": [
                {"编号": tool.number, "工具类型": tool.kind, "名称": tool.title, "发布单位": tool.issuer,
                 "适用对象": "链上企业", "生效日期": tool.since, "失效日期": tool.until}
                for tool in pilot.tools
            ],
            "角色清单": [
                {"角色": _ROLES[role][0], "统一社会信用代码": party.uscc, "单位名称": party.name, "联系岗位": "质量部",
                 "起始日期": date(2026, 1, 1), "职责": _ROLES[role][1], "责任状": "已签"}
                for role, party in pilot.roles
            ],
            "质量图谱节点": [
                {"编号": node.number, "环节": node.stage, "产品": node.product, "行业代码": node.industry_code,
                 "行政区划代码": node.division_code, "统一社会信用代码": "、".join(node.parties),
                 "质量基础设施要素": "、".join(node.elements), "状态": node.status}
                for node in pilot.nodes
            ],
            "质量图谱关系": [
                {"起点": edge.source, "终点": edge.target, "物料或服务": edge.what,
                 "唯一来源": "是" if edge.sole_source else "否"}
                for edge in pilot.edges
            ],
        },
        title=f"{pilot.title}申报表",
        signed=f"制表人:{pilot.applicant.name}质量发展处",
    )  # fmt: skip


def _issue(pilot: PilotFile, issue: Issue) -> Mapping[str, Value]:
    return {
        "编号": issue.number,
        "节点": issue.node,
        "问题名称": issue.title,
        "类别": _CLASSES[issue.fault.issue_class],
        "等级": _GRADES[issue.grade],
        "行政区划代码": issue.division_code,
        "证据": "调研记录、检验报告",
        "影响范围": f"{pilot.chain.name}下游用户",
        "原因": issue.fault.cause,
        "指标名称": issue.fault.measure,
        "方向": _DIRECTIONS[issue.fault.direction],
        "基线值": issue.baseline.value,
        "样本量": issue.baseline.n,
        "测量日期": issue.baseline.on,
        "责任单位": issue.owner.uscc,
        "完成时限": issue.due_on,
        "关联项目": issue.project,
    }


def _project(project: Project) -> Mapping[str, Value]:
    return {
        "编号": project.number,
        "项目名称": project.title,
        "关联问题": "、".join(project.issues),
        "牵头单位": project.leader.uscc,
        "参与单位": "",
        "技术机构": project.institution.uscc,
        "目标值": project.target,
        "里程碑": "、".join(MILESTONES),
        "经费来源": "企业自筹、地方财政",
        "完成时限": project.due_on,
    }


def filled(form: bytes, sheets: Mapping[str, Rows], *, title: str, signed: str) -> bytes:
    """The form with rows under its own headers, a merged title above and the signature line below."""
    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        book.set_properties({"created": _WRITTEN_AT})  # else the machine's clock goes into the file
        head = book.add_format({"bold": True, "align": "center", "font_size": 14})
        bold, day = book.add_format({"bold": True}), book.add_format({"num_format": "yyyy-mm-dd"})
        text = book.add_format({"num_format": "@"})
        for name, headers in columns(form).items():
            if name not in sheets:
                continue
            sheet = book.add_worksheet(name)
            sheet.merge_range(0, 0, 0, max(1, len(headers) - 1), f"{title} · {name}", head)
            sheet.write_row(1, 0, headers, bold)
            known = [_column(header, sheets[name]) for header in headers]
            if sheets[name] and not any(known):
                raise StrangeForm(f"{name}: {'、'.join(headers)}")
            for i, row in enumerate(sheets[name], 2):
                for j, key in enumerate(known):
                    value = row.get(key) if key else None
                    if isinstance(value, date):
                        sheet.write_datetime(i, j, value, day)
                    elif isinstance(value, int | Decimal):
                        sheet.write_number(i, j, value)
                    elif value:
                        sheet.write_string(i, j, value, text)
            sheet.write_string(len(sheets[name]) + 3, 0, signed)
    return out.getvalue()


def columns(form: bytes) -> dict[str, list[str]]:
    """The headers of each sheet of an empty form: the fullest of its first rows."""
    book = CalamineWorkbook.from_filelike(io.BytesIO(form))
    found: dict[str, list[str]] = {}
    for name in book.sheet_names:
        rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)[:_HEADER_WITHIN]
        fullest = max(rows, key=lambda row: sum(1 for cell in row if cell), default=[])
        found[name] = [str(cell) for cell in fullest if cell]
    return found


def _column(header: str, rows: Iterable[Mapping[str, Value]]) -> str | None:
    """Which of the office's columns a header of the form means; one that the office knows nothing of stays empty."""
    return next((key for key in next(iter(rows), {}) if _bare(key) == _bare(header)), None)


def _bare(header: str) -> str:
    return re.sub(r"[\s*]|\([^)]*\)", "", unicodedata.normalize("NFKC", header))


def panel(dockets: Iterable[Docket], form: bytes) -> bytes:
    """The panels' workbook: one row per appraisal."""
    kinds = {"region": "地区", "enterprise": "企业", "institution": "机构"}
    rows: Rows = [
        {"评价对象类型": kinds[docket.kind], "评价对象代码": candidate.subject, "评价周期": CYCLE,
         "评价员编号": evaluator.number, "评价员单位": evaluator.org.uscc, "是否申明回避": "否", "得分": score}
        for docket in dockets
        for candidate in docket.candidates
        for evaluator, score in candidate.scores
    ]  # fmt: skip
    return filled(form, {"专家评分": rows}, title=f"{CYCLE} 年度专家评分表", signed="制表人:评价组秘书")


def base_scores(docket: Docket, form: bytes) -> bytes:
    """A docket's base scores as the award office hands them in."""
    rows: Rows = [
        {"评价对象代码": candidate.subject, "名称": candidate.name, "所在地区": candidate.region,
         "基础得分": candidate.base, "受理日期": candidate.accepted_on}
        for candidate in docket.candidates
    ]  # fmt: skip
    return filled(form, {"基础得分": rows}, title=f"{CYCLE} {docket.award}基础得分表", signed="制表人:评审办公室")
