"""Tilt policies: files that people write, approved by somebody else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.incentive_scoring.domain import PolicyAlreadyApproved, TiltPolicy, digest
from services.incentive_scoring.handlers.ports import Aggregates, every
from services.incentive_scoring.policies.rules import PolicyDocument
from shared.kernel import NATIONAL, Actor, NotFound


class PolicyFileChanged(Exception):
    """The file of an approved version says something else than what was approved: the service does not start."""


@dataclass(frozen=True, slots=True)
class TiltPolicies:
    """Approves versions, and holds their files to what was approved."""

    policies: Aggregates[TiltPolicy]
    files: Mapping[str, PolicyDocument]

    async def approve(self, version: str, *, by: Actor, at: datetime) -> TiltPolicy:
        """Brings the file's content into force, as it stands now."""
        document = self.files.get(version)
        if document is None:
            raise NotFound
        if await self.policies.find_one(version) is not None:
            raise PolicyAlreadyApproved(version=version)
        policy = TiltPolicy.approve(
            version=version, content=document.content(), author=document.author, replaces=document.replaces,
            by=by.id, at=at,
        )  # fmt: skip
        self.policies.save(policy)
        return policy

    async def check_files(self) -> None:
        """Raises PolicyFileChanged when an approved version's file is gone or says something else."""
        for policy in await every(self.policies, NATIONAL, {}):
            document = self.files.get(policy.id)
            found = digest(document.content()) if document else "nothing"
            if found != policy.content_hash:
                raise PolicyFileChanged(
                    f"倾斜政策 {policy.id} 已于 {policy.approved_at} 批准,其文件内容却已改变:"
                    "请恢复原文件,修改须另立新版本。 / "
                    f"Tilt policy {policy.id} was approved with content {policy.content_hash[:12]}, its file now says "
                    f"{found[:12]}: restore the file, and write changes as a new version."
                )
