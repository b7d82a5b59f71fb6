"""The application workbook: six sheets and their columns, from clause (四) of the policy [J]."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

NUMBER_PATTERN = r"[0-9A-Za-z._-]{1,40}"
LIST_MARKS = "、,,;;\n"
"""What separates entries of a cell that holds several."""


class ListColumn(NamedTuple):
    """One column: its header, the field it fills, its kind, and what may stand in it."""

    header: str
    field: str
    kind: Literal["text", "code", "integer", "decimal", "date", "choice"] = "text"
    required: bool = True
    choices: Mapping[str, str] = MappingProxyType({})
    max_length: int = 200
    help: str = ""


class ListSheet(NamedTuple):
    """One sheet: the key it is stored under, its name, its columns."""

    key: str
    name: str
    columns: tuple[ListColumn, ...]

    def header(self, field: str) -> str:
        """The header above a field."""
        return next(column.header for column in self.columns if column.field == field)


def _number(required: bool = True) -> ListColumn:
    text = "稳定编号:再次导入时按它对应同一行(字母、数字、点、横线)。 The stable number by which a row is known again."
    return ListColumn("编号", "number", required=required, max_length=40, help=text)


_USCC = "统一社会信用代码(18 位)。 Unified social credit code."
_SEVERAL = "可填多项,用顿号“、”分隔。 Several, separated by 、"
_DIVISION = "GB/T 2260 六位代码,如 340100"

ISSUES = ListSheet(
    "issues",
    "质量问题清单",
    (
        _number(),
        ListColumn("节点", "node", required=False, max_length=40, help="质量图谱节点的编号"),
        ListColumn("问题名称", "title"),
        ListColumn(
            "类别",
            "issue_class",
            "choice",
            choices={"技术": "technique", "管理": "management", "品牌": "brand", "质量基础设施": "nqi"},
        ),
        ListColumn("等级", "grade", "integer", help="1 重大 至 4 轻微。 1 is major, 4 minor."),
        ListColumn("行政区划代码", "division_code", "code", max_length=12, help=_DIVISION),
        ListColumn("证据", "evidence", required=False, max_length=500),
        ListColumn("影响范围", "affected", required=False, max_length=500),
        ListColumn("原因", "root_cause", required=False, max_length=500),
        ListColumn("指标名称", "measure", max_length=100),
        ListColumn("方向", "direction", "choice", choices={"越低越好": "lower", "越高越好": "higher"}),
        ListColumn("基线值", "value", "decimal", help="0 至 1 的比率,如 0.035 或 3.5%。 A fraction from 0 to 1."),
        ListColumn("样本量", "n", "integer"),
        ListColumn("测量日期", "on", "date"),
        ListColumn("责任单位", "owner", "code", max_length=40, help=_USCC),
        ListColumn("完成时限", "due_on", "date", required=False),
        ListColumn("关联项目", "project", required=False, max_length=40, help="重点攻关项目清单的编号"),
    ),
)
KEY_PROJECTS = ListSheet(
    "key-projects",
    "重点攻关项目清单",
    (
        _number(),
        ListColumn("项目名称", "title"),
        ListColumn("关联问题", "issues", max_length=2000, help=f"质量问题清单的编号,至少一项;{_SEVERAL}"),
        ListColumn("牵头单位", "leader", "code", max_length=40, help=_USCC),
        ListColumn("参与单位", "members", required=False, max_length=2000, help=_SEVERAL),
        ListColumn("技术机构", "institution", "code", max_length=40, help=_USCC),
        ListColumn("攻关目标", "goal", required=False, max_length=500),
        ListColumn("目标值", "target", "decimal", required=False),
        ListColumn("计量单位", "unit", required=False, max_length=40),
        ListColumn("里程碑", "milestones", max_length=1000, help=_SEVERAL),
        ListColumn("经费来源", "budget", required=False, max_length=500),
        ListColumn("完成时限", "due_on", "date"),
    ),
)
POLICY_TOOLS = ListSheet(
    "policy-tools",
    "质量政策工具清单",
    (
        _number(),
        ListColumn(
            "工具类型",
            "tool_kind",
            "choice",
            choices={
                "标准": "standard",
                "计量": "metrology",
                "认证": "certification",
                "检测": "testing",
                "品牌": "brand",
                "金融增信": "credit-enhancement",
                "首台套": "first-set",
                "奖励": "award",
                "培训": "training",
                "帮扶": "assistance",
            },
        ),
        ListColumn("名称", "title"),
        ListColumn("发布单位", "issuer"),
        ListColumn("适用对象", "applicable", max_length=500),
        ListColumn("生效日期", "valid_from", "date"),
        ListColumn("失效日期", "valid_to", "date", required=False),
        ListColumn("金额或优先级", "amount", required=False, max_length=200),
        ListColumn("使用情况", "applied", required=False, max_length=500),
    ),
)
ROLES = ListSheet(
    "roles",
    "角色清单",
    (
        _number(required=False),
        ListColumn(
            "角色",
            "role",
            "choice",
            choices={
                "链长单位": "chief",
                "链主企业": "leader",
                "链上成员": "member",
                "质量赋能专业技术机构": "enabler",
                "基础支撑": "foundation",
            },
        ),
        ListColumn("统一社会信用代码", "uscc", "code", max_length=40),
        ListColumn("单位名称", "name", required=False),
        ListColumn(
            "联系岗位",
            "contact_role",
            required=False,
            max_length=100,
            help="只填岗位,不填个人信息。 A post, no person.",
        ),
        ListColumn("起始日期", "since", "date"),
        ListColumn("终止日期", "until", "date", required=False),
        ListColumn("职责", "responsibility", max_length=500),
        ListColumn("责任状", "pledge", "choice", required=False, choices={"已签": "signed", "未签": "unsigned"}),
    ),
)
MAP_NODES = ListSheet(
    "map-nodes",
    "质量图谱节点",
    (
        _number(),
        ListColumn("环节", "stage", "choice", choices={"上游": "upstream", "中游": "midstream", "下游": "downstream"}),
        ListColumn("产品", "product"),
        ListColumn("行业代码", "industry_code", "code", max_length=8, help="GB/T 4754-2017,如 C36 或 3670"),
        ListColumn("行政区划代码", "division_code", "code", max_length=12, help=_DIVISION),
        ListColumn("统一社会信用代码", "enterprises", required=False, max_length=2000, help=_SEVERAL),
        ListColumn(
            "质量基础设施要素", "elements", required=False, max_length=40, help=f"计量、标准、检测、认证;{_SEVERAL}"
        ),
        ListColumn("状态", "status", "choice", choices={"正常": "ok", "薄弱": "weak", "缺失": "missing"}),
    ),
)
MAP_EDGES = ListSheet(
    "map-edges",
    "质量图谱关系",
    (
        _number(required=False),
        ListColumn("起点", "source", max_length=40, help="节点编号"),
        ListColumn("终点", "target", max_length=40, help="节点编号"),
        ListColumn("物料或服务", "material", max_length=200),
        ListColumn("唯一来源", "sole_source", "choice", required=False, choices={"是": "yes", "否": "no"}),
    ),
)
SHEETS = (ISSUES, KEY_PROJECTS, POLICY_TOOLS, ROLES, MAP_NODES, MAP_EDGES)
"""In the order in which they are applied."""
BY_KEY: Mapping[str, ListSheet] = MappingProxyType({sheet.key: sheet for sheet in SHEETS})
NQI_ELEMENTS = ("计量", "标准", "检测", "认证")
