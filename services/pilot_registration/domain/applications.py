"""What an application consists of, and what it lacks: documents, lists, map, roles and confirmed shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pydantic import BaseModel

from shared.contracts.pilot_registration import ChainRole, ListKind, Share
from shared.kernel import DomainError

ROLES_MIN = {ChainRole.CHIEF: 1, ChainRole.LEADER: 1, ChainRole.MEMBER: 5, ChainRole.ENABLER: 1}
"""How many parties each role needs at least; exactly one chief, the five members are our default [J]."""

DOCUMENTS_NEEDED = ("plan", "initiation")


class Missing(NamedTuple):
    """Something that the next step needs, and who has to do it: a role, or a region."""

    what: str
    zh: str
    en: str
    by: str


class NotComplete(DomainError):
    """The application lacks something; every lack is listed with who has to see to it."""

    code = "not-complete"
    zh = "还不能提交:有 {count} 项未完成,见所列问题"
    en = "It cannot be submitted yet: {count} things are missing; see the list"


class PilotDocument(BaseModel):
    """A document of the application: its kind (plan, initiation), attachment and SHA-256."""

    kind: str
    attachment_id: str
    sha256: str


class ListVersion(BaseModel):
    """The active version of a list."""

    version: int
    rows: int
    content_hash: str


class MapVersion(BaseModel):
    """The active version of the quality map."""

    version: int
    nodes: int
    edges: int
    nodes_covered: int
    content_hash: str


class RoleHolder(BaseModel):
    """A party with its role in the chain."""

    role: ChainRole
    uscc: str


def missing(
    *,
    shares: Sequence[Share],
    confirmed: Sequence[str],
    documents: Sequence[PilotDocument],
    lists: Mapping[ListKind, ListVersion],
    quality_map: MapVersion | None,
    roles: Sequence[RoleHolder],
) -> list[Missing]:
    """Everything that an application needs before it can be submitted and does not have."""
    lacks = [
        Missing(f"share-{s.region}", f"{s.region} 尚未确认份额", f"{s.region} has not confirmed its share", s.region)
        for s in shares
        if s.region not in confirmed
    ]
    there = {document.kind for document in documents}
    names = {"plan": ("任务书", "the plan"), "initiation": ("立项书", "the initiation document")}
    lacks += [
        Missing(f"document-{kind}", f"缺少{names[kind][0]}", f"{names[kind][1]} is missing", "registrar")
        for kind in DOCUMENTS_NEEDED
        if kind not in there
    ]
    lacks += [
        Missing(f"list-{kind.value}", f"缺少{_LIST_NAMES[kind]}", f"the list of {kind.value} is empty", "registrar")
        for kind in ListKind
        if kind not in lists or not lists[kind].rows
    ]
    if quality_map is None or not quality_map.nodes:
        lacks.append(Missing("quality-map", "缺少质量图谱", "the quality map is missing", "registrar"))
    for role, least in ROLES_MIN.items():
        count = sum(holder.role is role for holder in roles)
        if count < least or (role is ChainRole.CHIEF and count > 1):
            number, word = ("恰为", "exactly") if role is ChainRole.CHIEF else ("至少", "at least")
            lacks.append(
                Missing(
                    f"role-{role.value}",
                    f"{_ROLE_NAMES[role]}应{number} {least} 家,现为 {count} 家",
                    f"{role.value}: {word} {least}, there are {count}",
                    "registrar",
                )
            )
    return lacks


_LIST_NAMES = {
    ListKind.ISSUES: "质量问题清单",
    ListKind.KEY_PROJECTS: "重点攻关项目清单",
    ListKind.POLICY_TOOLS: "质量政策工具清单",
    ListKind.ROLES: "角色清单",
}
_ROLE_NAMES = {
    ChainRole.CHIEF: "链长单位",
    ChainRole.LEADER: "链主企业",
    ChainRole.MEMBER: "链上成员",
    ChainRole.ENABLER: "质量赋能专业技术机构",
}
