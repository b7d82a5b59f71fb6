"""The real service beside a voice of evaluation, on the real stack; its development clock begins in March 2026."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.demo.clock import YearClock
from deploy.demo.papers import paper
from deploy.local.stack import Stack
from services.pilot_registration.api.imports import WORKBOOK
from shared.codes.uscc import check_character
from shared.contracts.fact import Fact
from shared.doors.sheets import write_workbook
from shared.kernel import CIVIL, SYSTEM, Aggregate
from shared.log.runtime import Log
from shared.log.store import Documents
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings

BEGUN = datetime(2026, 3, 2, 9, tzinfo=CIVIL)
SLOT = "pilot-registration-0"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Verdicts(Aggregate):
    """What evaluation says, in a test."""


def uscc(serial: int) -> str:
    seventeen = f"91340100{serial:09d}"
    return seventeen + check_character(seventeen)


def workbook_rows(
    parties: Sequence[str], *, issues: int = 3, title: str = "尺寸超差"
) -> dict[str, list[dict[str, Any]]]:
    """A complete application: `issues` issues, one project, one tool, all roles, a map of three nodes."""
    roles = ["chief", "leader", *["member"] * 5, "enabler"]
    return {
        "issues": [
            {"number": f"Q{i:03d}", "node": "N1", "title": f"{title}{i}", "issue_class": "technique",
             "grade": 1 + i % 4, "division_code": "340100", "measure": "不合格率", "direction": "lower",
             "value": Decimal("0.0825"), "n": 400, "on": date(2026, 1, 10), "owner": parties[i % 3], "project": "K1"}
            for i in range(issues)
        ],
        "key-projects": [
            {"number": "K1", "title": "精密加工攻关", "issues": "Q000、Q001", "leader": parties[0],
             "institution": parties[1], "milestones": "方案、样件、批产", "due_on": date(2026, 11, 30)},
        ],
        "policy-tools": [
            {"number": "T1", "tool_kind": "standard", "title": "标准化补助", "issuer": "省市场监管局",
             "applicable": "链上企业", "valid_from": date(2026, 1, 1)},
        ],
        "roles": [
            {"role": role, "uscc": parties[i], "since": date(2026, 1, 1), "responsibility": "按责任状落实"}
            for i, role in enumerate(roles)
        ],
        "map-nodes": [
            {"number": f"N{i}", "stage": stage, "product": f"部件{i}", "industry_code": "C36",
             "division_code": "340100", "enterprises": parties[0], "elements": "计量、检测", "status": "ok"}
            for i, stage in enumerate(("upstream", "midstream", "downstream"), 1)
        ],
        "map-edges": [
            {"source": "N1", "target": "N2", "material": "毛坯"}, {"source": "N2", "target": "N3", "material": "组件"},
        ],
    }  # fmt: skip


def workbook(rows: Mapping[str, Sequence[Mapping[str, object]]], *, title: str | None = "申报工作簿") -> bytes:
    return write_workbook([(sheet, rows.get(key, ())) for key, sheet in WORKBOOK.items()], title=title)


class Office:
    """Speaks through the doors of one running service as whoever is asked, and as evaluation on its topic."""

    def __init__(self, stack: Stack, clock: YearClock, voice: Log) -> None:
        self.stack, self.clock, self.voice = stack, clock, voice
        self.tokens: dict[str, dict[str, str]] = {}
        self.parties: list[str] = []
        self.quotas: set[str] = set()
        self.http = httpx2.AsyncClient(timeout=60)

    async def who(self, sub: str, roles: str, regions: str = "*", org: str = "") -> dict[str, str]:
        form = {"sub": sub, "roles": roles, "regions": regions, "org": org}
        if (name := repr(form)) not in self.tokens:
            answer = await self.http.post(f"{self.stack.issuer_url}/token", data=form)
            self.tokens[name] = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        return self.tokens[name]

    async def registrar(self, region: str = "34") -> dict[str, str]:
        return await self.who(f"registrar-{region}", "registrar", region)

    async def province(self, region: str = "34") -> dict[str, str]:
        return await self.who(f"province-{region}", "province", region)

    async def national(self, number: int = 1) -> dict[str, str]:
        return await self.who(f"office-{number}", "office")

    async def firm(self, code: str, region: str = "3401") -> dict[str, str]:
        return await self.who(f"quality-{code}", "enterprise", region, code)

    def url(self, path: str) -> str:
        return f"{self.stack.url('pilot_registration')}{path}"

    async def get(self, path: str, who: dict[str, str], **headers: str) -> httpx2.Response:
        return await self.http.get(self.url(path), headers=who | headers)

    async def post(
        self, path: str, who: dict[str, str], body: Any = None, *, key: str | None = None, **how: Any
    ) -> httpx2.Response:
        headers = who | {"Idempotency-Key": key or str(uuid.uuid4())}
        if "files" not in how:
            how["json"] = body if body is not None else {}
        return await self.http.post(self.url(path), headers=headers, **how)

    async def done(self, path: str, who: dict[str, str], body: Any = None, **how: Any) -> Any:
        """A command that must be accepted; its answer."""
        answer = await self.post(path, who, body, **how)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    async def read(self, path: str, who: dict[str, str]) -> Any:
        answer = await self.get(path, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                if found := await condition():
                    return found
            except httpx2.HTTPError:
                pass  # the service is away for a moment
            assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
            await asyncio.sleep(0.05)

    async def move_to(self, day: date) -> None:
        await self.clock.move_to(day, services=("pilot_registration",))

    async def today(self) -> date:
        return self.clock.now().astimezone(CIVIL).date()

    async def say(self, fact: Fact) -> str:
        """Publishes a fact as evaluation; its id."""
        documents = Documents(self.voice.database, "verdicts", Verdicts)
        stream = f"{type(fact).topic.name}/{fact.aggregate_id}"

        async def call() -> Verdicts:
            verdicts = await documents.find_one(stream) or Verdicts(id=stream)
            verdicts.record(fact, effective_at=self.clock.now())
            documents.save(verdicts)
            return verdicts

        answer = await self.voice.commands.execute(
            key=str(uuid.uuid4()), body="", lock=stream, actor=SYSTEM, correlation_id="test", call=call
        )
        return answer.facts[0]

    # --- a pilot, as far as a test needs it ---

    def rows(self, **how: Any) -> dict[str, list[dict[str, Any]]]:
        """A complete application's rows."""
        return workbook_rows(self.parties, **how)

    async def upload(self, who: dict[str, str], title: str = "任务书") -> str:
        files = {"file": (f"{title}.pdf", paper(title, (str(uuid.uuid4()),)), "application/pdf")}
        return str((await self.done("/attachments", who, files=files))["id"])

    async def draft(
        self, shares: Mapping[str, str] | None = None, *, level: str = "national", lead: str = "340000"
    ) -> str:
        shares = shares or {"340000": "1"}
        body = {
            "title": "机床产业链质量联动提升试点", "programme": "pilot", "level": level, "chain_id": "machine-tools",
            "applicant": self.parties[0], "lead_region": lead,
            "shares": [{"region": region, "share": share} for region, share in shares.items()],
        }  # fmt: skip
        return str((await self.done("/pilots", await self.registrar(lead[:2]), body))["id"])

    async def send(self, pilot: str, rows: Mapping[str, Any], *, key: str | None = None) -> httpx2.Response:
        """Uploads a workbook for preview."""
        files = {"file": ("申报.xlsx", workbook(rows), XLSX)}
        return await self.post(f"/pilots/{pilot}/imports", await self.registrar(), files=files, key=key)

    async def import_(self, pilot: str, rows: Mapping[str, Any], **apply: bool) -> Any:
        """Previews and applies a workbook."""
        preview = await self.send(pilot, rows)
        assert preview.status_code == 201, preview.text
        path = f"/pilots/{pilot}/imports/{preview.json()['id']}/apply"
        return await self.done(path, await self.registrar(), apply)

    async def submitted(self, pilot: str | None = None, *, level: str = "national", issues: int = 3) -> str:
        pilot = pilot or await self.draft(level=level)
        registrar = await self.registrar()
        await self.import_(pilot, workbook_rows(self.parties, issues=issues))
        papers = [{"kind": kind, "attachment_id": await self.upload(registrar)} for kind in ("plan", "initiation")]
        await self.done(f"/pilots/{pilot}/submit", registrar, {"attachments": papers})
        return pilot

    async def admitted(self, bucket: str = "2026-call", **how: Any) -> str:
        pilot = await self.submitted(**how)
        if bucket not in self.quotas:
            await self.done("/quotas", await self.national(), {"call": bucket, "national": 100, "per_region": 100})
            self.quotas.add(bucket)
        await self.done(f"/pilots/{pilot}/admit", await self.province(), {"quota_bucket": bucket})
        return pilot

    async def in_notice(self, **how: Any) -> str:
        pilot = await self.admitted(**how)
        office = await self.national()
        await self.done(f"/pilots/{pilot}/select", office, {"run_id": "RUN-1", "reason": "得分在名额之内"})
        await self.done(f"/pilots/{pilot}/open-notice", office, {"working_days": 5})
        return pilot

    async def running(self, **how: Any) -> str:
        pilot = await self.in_notice(**how)
        office = await self.national()
        closes = datetime.fromisoformat((await self.read(f"/pilots/{pilot}", office))["notice"]["closes_at"])
        await self.move_to(closes.astimezone(CIVIL).date())

        async def closed() -> bool:
            return bool((await self.read(f"/pilots/{pilot}", office))["state"] == "notice_closed")

        await self.until(closed)
        body = {"code": f"LD-{pilot}", "due_on": "2026-12-20"}
        await self.done(f"/pilots/{pilot}/approve", await self.national(2), body)
        await self.done(f"/pilots/{pilot}/start", await self.province())
        return pilot


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def office(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """pilot_registration on real Kafka and mongod with the issuer, and a log that speaks for evaluation."""
    async with Stack(tmp_path_factory.mktemp("registration"), issuer=True, clock_at=BEGUN) as stack:
        clock = YearClock(stack)
        await stack.start(SLOT, LIANDONG_DUE_POLL_SECONDS="0.1")
        password = (stack.home / "secrets" / "evaluation" / "mongo_password").read_text()
        settings = ServiceSettings(
            env="test", service="evaluation", service_slot="evaluation-0", kafka=stack.kafka, mongo=stack.mongo,
            mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"), issuer="http://x",
        )  # fmt: skip
        database = connect(settings)
        voice = Log(database, settings)
        await voice.start(reactions={}, due={}, extra_indexes=(), collections=("verdicts",))
        here = Office(stack, clock, voice)
        try:
            await _registered(here)
            yield here
        finally:
            await here.http.aclose()
            await voice.stop()
            database.client.close()
            clock.close()


async def _registered(office: Office) -> None:
    registrar, national = await office.registrar(), await office.national()
    for i in range(10):
        kind, size = ("institution", "none") if i == 1 else ("enterprise", "small")
        body = {"uscc": uscc(i), "name": f"合肥第{i}厂", "kind": kind, "size_class": size, "division_code": "340100"}
        await office.done("/parties", registrar, body)
        office.parties.append(uscc(i))
    chain = {"chain_id": "machine-tools", "name": "机床产业链", "industry_codes": ["C34", "3421"]}
    await office.done("/chains", national, chain)
    assert datetime.now(UTC) > BEGUN
