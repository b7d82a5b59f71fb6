"""What the programme's files are written from: chains with their products, and what goes wrong with those."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from shared.contracts.pilot_registration import Direction, IssueClass


@dataclass(frozen=True, slots=True)
class ChainSketch:
    """One chain: id, name, GB/T 4754-2017 codes, and its products up, mid and down the stream."""

    chain_id: str
    name: str
    industry_codes: tuple[str, ...]
    up: tuple[str, ...]
    mid: tuple[str, ...]
    down: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of quality issue: its class, title around a product, the measure that shows it, and a usual cause."""

    issue_class: IssueClass
    title: str
    measure: str
    direction: Direction
    cause: str


def _lines(name: str) -> list[dict[str, str]]:
    with (Path(__file__).parent / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


CHAINS = tuple(
    ChainSketch(
        line["chain_id"],
        line["name"],
        tuple(line["industry_codes"].split()),
        *(tuple(line[stage].split("、")) for stage in ("up", "mid", "down")),
    )
    for line in _lines("chains.csv")
)
"""21 chains of the programme."""


FAULTS = tuple(
    Fault(IssueClass(line["issue_class"]), line["title"], line["measure"], Direction(line["direction"]), line["cause"])
    for line in _lines("faults.csv")
)
"""What goes wrong: titles with a gap for the product."""

BRANDS = (
    "恒信 华睿 中擎 新元 瑞达 联创 宏图 力合 天工 精诚 安泰 博远 "
    "凯盛 明德 国晟 鼎盛 金石 启航 卓越 同方元 远程 长风 泰和 正弘 "
    "嘉禾 云帆 昆岳 星河 赛诺 北辰 南微 海川 川安 陆通 三立 六合 "
    "九章 万维 百川 千山 "
).split()

TOOLS = (
    ("标准", "{}团体标准转化行动"),
    ("计量", "{}产业计量测试服务清单"),
    ("认证", "{}质量认证升级补助"),
    ("检测", "{}检验检测共享平台开放"),
    ("品牌", "{}区域品牌培育"),
    ("金融增信", "{}质量融资增信"),
    ("首台套", "{}首台(套)保险补偿"),
    ("奖励", "{}政府质量奖激励"),
    ("培训", "{}首席质量官培训"),
    ("帮扶", "{}质量技术帮扶“巡回问诊”"),
)
"""Policy tools: the kind and a title around the chain's name."""

MILESTONES = ("方案评审", "样件试制", "小批验证", "推广应用")
"""The milestones of a key project, in order."""
