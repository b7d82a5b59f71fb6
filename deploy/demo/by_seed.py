"""Writes a year of the programme by seed: firms with valid codes, lists as an office writes them, fates like life's."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Literal

from deploy.demo.catalogue import BRANDS, CHAINS, FAULTS, MILESTONES, TOOLS, ChainSketch
from deploy.demo.programme import (
    YEAR,
    Candidate,
    Closure,
    Days,
    Docket,
    Edge,
    Evaluator,
    Fate,
    Issue,
    Node,
    Party,
    PilotFile,
    Programme,
    Project,
    Reading,
    Tool,
)  # fmt: skip
from shared.codes.divisions import DIVISIONS, Division, provinces
from shared.codes.uscc import check_character
from shared.contracts.pilot_registration import ChainRole, Direction, DocumentKind, Level, PartyKind, SizeClass
from shared.contracts.pilot_registration import Programme as ProgrammeKind

PILOTS, ISSUES, KEY_PROJECTS = 28, 1417, 163
"""The size of one province's real programme, spread here over the nation."""


def programme(*, seed: int, scale: float) -> Programme:
    """The year of a seed; `scale` 1 is 28 pilots, 1 417 issues and 163 key projects, 0.1 a tenth of it."""
    return _Writer(seed, scale).write()


@dataclass
class _Writer:
    seed: int
    scale: float
    draw: random.Random = field(init=False)
    regions: tuple[Division, ...] = field(init=False)
    places: dict[str, list[Division]] = field(init=False)
    serial: int = 0
    parties: list[Party] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.draw = random.Random(f"liandong {self.seed}")
        self.regions = provinces(Days.REGISTER)
        self.places = {region.code: [] for region in self.regions}
        for place in DIVISIONS:
            region = place.code[:2] + "0000"
            city = place.level == "prefecture" and place.name_zh.endswith(("市", "市市辖区"))
            if city and place.valid(Days.REGISTER) and region in self.places:
                self.places[region].append(place)

    def write(self) -> Programme:
        governments = {region.code: self.government(region) for region in self.regions}
        evaluators = self.evaluators()
        pilots = self.pilots(governments)
        running = [pilot for pilot in pilots if pilot.fate == "running"]
        return Programme(
            seed=self.seed,
            scale=self.scale,
            regions=self.regions,
            governments=governments,
            parties=tuple(self.parties),
            pilots=pilots,
            evaluators=evaluators,
            dockets=self.dockets(pilots, evaluators),
            late=running[0].key,
        )

    # --- who takes part ---

    def party(self, kind: PartyKind, name: str, division_code: str, size: SizeClass) -> Party:
        self.serial += 1
        head = {PartyKind.ENTERPRISE: "91", PartyKind.INSTITUTION: "12", PartyKind.GOVERNMENT: "11"}[kind]
        seventeen = head + division_code + _organisation_code(f"MA{self.serial + 1000 * (self.seed % 97):06d}")
        party = Party(seventeen + check_character(seventeen), name, kind, size, division_code)
        self.parties.append(party)
        return party

    def government(self, region: Division) -> Party:
        name = f"{region.name_zh}市场监督管理{'委员会' if region.code in ('120000',) else '局'}"
        return self.party(PartyKind.GOVERNMENT, name, region.code, SizeClass.NONE)

    def place(self, region: str) -> Division:
        """A prefecture of a region; the Corps has none of its own."""
        below = self.places[region]
        return self.draw.choice(below) if below else next(known for known in self.regions if known.code == region)

    def enterprise(self, region: str, product: str, size: SizeClass) -> Party:
        place = self.place(region)
        town = _short(place.name_zh)
        while (name := f"{town}{self.draw.choice(BRANDS)}{product}{_SUFFIX[size]}有限公司") in self.names:
            product = product if self.draw.random() < 0.5 else f"{self.draw.choice(BRANDS)}{product}"
        self.names.add(name)
        return self.party(PartyKind.ENTERPRISE, name, place.code, size)

    def institution(self, region: str, chain: str) -> Party:
        place = self.place(region)
        kinds = ("质量检验检测研究院", "计量测试中心", "标准化研究院", "质量认证研究所")
        while True:
            name = f"{_short(place.name_zh)}{chain}{self.draw.choice(kinds)}"
            if name not in self.names:
                break
            chain = f"{chain}第{self.draw.choice('一二三四五六七八九')}"
        self.names.add(name)
        return self.party(PartyKind.INSTITUTION, name, place.code, SizeClass.NONE)

    def evaluators(self) -> tuple[Evaluator, ...]:
        """Panel members of institutions that serve no pilot, so that nobody scores what the house had a hand in."""
        regions = self.draw.sample([region.code for region in self.regions], 12)
        homes = [self.institution(region, "质量发展") for region in regions]
        count = max(6, round(24 * min(1.0, self.scale * 2)))
        return tuple(Evaluator(f"E{i + 1:03d}", homes[i % len(homes)]) for i in range(count))

    # --- what they hand in ---

    def pilots(self, governments: dict[str, Party]) -> tuple[PilotFile, ...]:
        count = max(5, round(PILOTS * self.scale))
        issues = _spread(self.draw, max(count * 6, round(ISSUES * self.scale)), count)
        projects = _spread(self.draw, max(count, round(KEY_PROJECTS * self.scale)), count)
        waiting = [region.code for region in self.regions]
        self.draw.shuffle(waiting)
        leads = [waiting.pop() for _ in range(min(count, len(waiting)))]
        fates = self.fates(count)
        return tuple(
            self.pilot(
                i,
                lead=leads[i % len(leads)],
                waiting=waiting,
                chief=governments[leads[i % len(leads)]],
                issues=issues[i],
                projects=projects[i],
                fate=fates[i],
            )
            for i in range(count)
        )

    def fates(self, count: int) -> list[Fate]:
        """One of each, then mostly accepted in time or running on."""
        fates: list[Fate] = ["running", "accepted", "accepted_late", "not_selected", "withdrawn"]
        rest: list[Fate] = ["running", "accepted", "accepted", "accepted_late"]
        fates += [rest[i % len(rest)] for i in range(count - len(fates))]
        first, others = fates[:1], fates[1:]
        self.draw.shuffle(others)
        return first + others

    def pilot(
        self, i: int, *, lead: str, waiting: list[str], chief: Party, issues: int, projects: int, fate: Fate
    ) -> PilotFile:
        chain = CHAINS[i % len(CHAINS)]
        shares = self.shares(lead, waiting, alone=i % 7 == 6, three=i % 3 == 1)
        regions = [region for region, _share in shares]
        roles = self.roles(chief, chain, regions)
        nodes, edges = self.quality_map(chain, roles, regions)
        owners = [party for role, party in roles if role in (ChainRole.LEADER, ChainRole.MEMBER)]
        listed = self.issues(issues, nodes, owners)
        listed, key_projects = self.projects(projects, listed, roles)
        due_on = Days.DUE_EARLY if fate in ("accepted", "accepted_late") else date(YEAR + 1, 6, 30)
        due_on = Days.DUE_REPORTED_LATE if i == 0 else due_on
        names = {region.code: _short(region.name_zh) for region in self.regions}
        places = "、".join(names[region] for region in regions)
        return PilotFile(
            key=f"pilot-{i + 1:02d}",
            title=f"{places}{chain.name.removesuffix('产业链')}质量联动提升试点",
            programme=ProgrammeKind.LANDMARK if i % 9 == 8 else ProgrammeKind.PILOT,
            level=Level.PROVINCIAL if i % 11 == 10 and fate != "not_selected" else Level.NATIONAL,
            chain=chain,
            applicant=chief,
            shares=shares,
            roles=roles,
            nodes=nodes,
            edges=edges,
            issues=listed,
            projects=key_projects,
            tools=self.tools(chain, chief),
            due_on=due_on,
            fate=fate,
            returned=i % 6 == 1,
            flaw=i % 5 == 0,
        )

    def shares(self, lead: str, waiting: list[str], *, alone: bool, three: bool) -> tuple[tuple[str, Decimal], ...]:
        if alone:
            return ((lead, Decimal("1")),)
        pool = [region.code for region in self.regions if region.code != lead]
        partners: list[str] = []
        while len(partners) < (2 if three else 1):
            partner = waiting.pop() if waiting else self.draw.choice(pool)
            if partner not in partners:
                partners.append(partner)
        parts = ("0.5", "0.3", "0.2") if three else self.draw.choice((("0.6", "0.4"), ("0.7", "0.3"), ("0.55", "0.45")))
        return tuple(zip([lead, *partners], map(Decimal, parts), strict=True))

    def roles(self, chief: Party, chain: ChainSketch, regions: list[str]) -> tuple[tuple[ChainRole, Party], ...]:
        lead = regions[0]
        roles = [(ChainRole.CHIEF, chief), (ChainRole.LEADER, self.enterprise(lead, chain.down[0], SizeClass.LARGE))]
        products = [*chain.mid, *chain.up, *chain.down[1:]]
        for i in range(self.draw.randint(5, 7)):
            size = (SizeClass.MEDIUM, SizeClass.SMALL, SizeClass.SMALL, SizeClass.MICRO)[i % 4]
            member = self.enterprise(regions[i % len(regions)], products[i % len(products)], size)
            roles.append((ChainRole.MEMBER, member))
        for i in range(self.draw.randint(1, 2)):
            enabler = self.institution(regions[-1 - i % len(regions)], chain.down[0])
            roles.append((ChainRole.ENABLER, enabler))
        return tuple(roles)

    def quality_map(
        self, chain: ChainSketch, roles: tuple[tuple[ChainRole, Party], ...], regions: list[str]
    ) -> tuple[tuple[Node, ...], tuple[Edge, ...]]:
        members = [party for role, party in roles if role in (ChainRole.LEADER, ChainRole.MEMBER)]
        nodes: list[Node] = []
        for stage, products in (("上游", chain.up), ("中游", chain.mid), ("下游", chain.down)):
            for product in products:
                here = self.draw.sample(members, self.draw.randint(1, 2))
                elements = tuple(e for e in ("计量", "标准", "检测", "认证") if self.draw.random() < 0.55)
                status = self.draw.choice(("正常", "薄弱")) if elements else "缺失"
                code = self.draw.choice(chain.industry_codes)
                usccs = tuple(party.uscc for party in here)
                nodes.append(
                    Node(f"N{len(nodes) + 1:02d}", stage, product, code, here[0].division_code, usccs, elements, status)
                )
        by_stage = [[node for node in nodes if node.stage == stage] for stage in ("上游", "中游", "下游")]
        edges = [
            Edge(source.number, target.number, source.product, self.draw.random() < 0.15)
            for before, after in pairwise(by_stage)
            for source in before
            for target in self.draw.sample(after, self.draw.randint(1, len(after)))
        ]
        return tuple(nodes), tuple(edges)

    def issues(self, count: int, nodes: tuple[Node, ...], owners: list[Party]) -> tuple[Issue, ...]:
        return tuple(self.issue(i, nodes[i % len(nodes)], owners) for i in range(count))

    def issue(self, i: int, node: Node, owners: list[Party]) -> Issue:
        fault = self.draw.choice(FAULTS)
        owner = self.draw.choice(owners)
        grade = self.draw.choices((1, 2, 3, 4), (1, 3, 4, 2))[0]
        baseline = self.reading(fault.direction, Days.DRAFT - timedelta(days=self.draw.randint(5, 60)))
        confirmed = min(4, max(1, grade + self.draw.choices((0, 1, -1), (8, 1, 1))[0]))
        # A tenth is due after the year, so that it may not count against anybody yet.
        due = date(YEAR + 1, 3, 31) if self.draw.random() < 0.1 else self.draw.choice(_DUE_DAYS)
        return Issue(
            number=f"{i + 1:03d}",
            node=node.number,
            fault=fault,
            title=fault.title.format(node.product),
            grade=grade,
            division_code=owner.division_code,
            owner=owner,
            baseline=baseline,
            confirmed_grade=confirmed,
            due_on=due,
            closure=self.closure(fault.direction, baseline) if self.draw.random() < 0.66 else None,
        )

    def reading(self, direction: Direction, on: date) -> Reading:
        fraction = self.draw.randint(20, 180) if direction is Direction.LOWER else self.draw.randint(700, 930)
        return Reading(Decimal(fraction) / 1000, self.draw.randint(40, 900), on)

    def closure(self, direction: Direction, before: Reading) -> Closure:
        """Mostly better, now and then worse; a sample below 30 proves nothing; some refused, some back again."""
        turn = self.draw.randrange(len(Days.ROUNDS))
        gap = before.value if direction is Direction.LOWER else 1 - before.value
        left = self.draw.randint(105, 130) if self.draw.random() < 0.08 else self.draw.randint(25, 75)
        gap = min(Decimal(1), (gap * left / 100).quantize(Decimal("0.001")))
        n = self.draw.randint(8, 29) if self.draw.random() < 0.08 else self.draw.randint(40, 900)
        value = gap if direction is Direction.LOWER else 1 - gap
        fate = self.draw.random()
        last = turn == len(Days.ROUNDS) - 1
        verdict: Literal["verified", "rejected", "corrected"] = "verified"
        if fate < 0.12:
            verdict = "rejected" if last or fate < 0.06 else "corrected"
        reopened = verdict == "verified" and not last and self.draw.random() < 0.03
        return Closure(turn, Reading(value, n, Days.ROUNDS[turn] - timedelta(days=3)), verdict, reopened)

    def projects(
        self, count: int, issues: tuple[Issue, ...], roles: tuple[tuple[ChainRole, Party], ...]
    ) -> tuple[tuple[Issue, ...], tuple[Project, ...]]:
        institutions = [party for role, party in roles if role is ChainRole.ENABLER]
        linked: dict[str, str] = {}
        projects: list[Project] = []
        for i in range(count):
            open_issues = [issue for issue in issues if issue.number not in linked] or list(issues)
            chosen = self.draw.sample(open_issues, min(len(open_issues), self.draw.randint(1, 3)))
            number = f"{i + 1:02d}"
            linked |= {issue.number: number for issue in chosen}
            filed = self.draw.choices((2, 3, 4), (2, 2, 6))[0]
            projects.append(
                Project(
                    number=number,
                    title=f"{chosen[0].title.removesuffix('偏多')}攻关",
                    issues=tuple(sorted(issue.number for issue in chosen)),
                    leader=chosen[0].owner,
                    institution=self.draw.choice(institutions),
                    target=Decimal(self.draw.randint(30, 60)) / 100,
                    due_on=self.draw.choice((date(YEAR, 8, 31), date(YEAR, 10, 31), date(YEAR + 1, 3, 31))),
                    milestones_reached=self.draw.randint(1, len(MILESTONES)),
                    documents=tuple(DocumentKind)[:filed],
                )
            )
        told = tuple(replace(issue, project=linked.get(issue.number, "")) for issue in issues)
        return told, tuple(projects)

    def tools(self, chain: ChainSketch, issuer: Party) -> tuple[Tool, ...]:
        chosen = self.draw.sample(TOOLS, self.draw.randint(3, 5))
        name = chain.name.removesuffix("产业链")
        return tuple(
            Tool(f"T{i + 1:02d}", kind, title.format(name), issuer.name, date(YEAR, 1, 1), date(YEAR + 2, 12, 31))
            for i, (kind, title) in enumerate(chosen)
        )

    # --- who stands for an award ---

    def dockets(self, pilots: tuple[PilotFile, ...], evaluators: tuple[Evaluator, ...]) -> tuple[Docket, ...]:
        started = [pilot for pilot in pilots if pilot.started]
        parties = {party.uscc: (role, party) for pilot in started for role, party in pilot.roles}
        names = {region.code: region.name_zh for region in self.regions}
        regions = sorted({region for pilot in started for region, _share in pilot.shares})
        firms = [party for role, party in parties.values() if role in (ChainRole.LEADER, ChainRole.MEMBER)]
        houses = [party for role, party in parties.values() if role is ChainRole.ENABLER]
        firms = sorted(self.draw.sample(firms, max(8, round(len(firms) * 0.4))), key=lambda party: party.uscc)
        return (
            Docket(
                "region", "质量工作督察激励", "national", max(2, len(regions) // 4),
                tuple(self.candidate(code, names[code], code, 100, evaluators) for code in regions),
            ),
            Docket(
                "enterprise", "中国质量奖(制造业)", "national", max(3, len(firms) // 6),
                tuple(self.candidate(p.uscc, p.name, p.division_code, 1000, evaluators) for p in firms),
            ),
            Docket(
                "institution", "质量基础设施服务奖", "national", max(2, len(houses) // 4),
                tuple(self.candidate(p.uscc, p.name, p.division_code, 1000, evaluators) for p in houses),
            ),
        )  # fmt: skip

    def candidate(
        self, subject: str, name: str, region: str, scale: int, evaluators: tuple[Evaluator, ...]
    ) -> Candidate:
        """Near-ties are what a tilt is for, so that bases lie close; one in twelve stands below gate G1."""
        base = self.draw.randint(560, 598) if self.draw.random() < 1 / 12 else self.draw.randint(690, 790)
        centre = self.draw.randint(70, 92)
        strangers = [evaluator for evaluator in evaluators if evaluator.org.region[:2] != region[:2]]
        panel = self.draw.sample(strangers, self.draw.choice((3, 3, 4)))
        scores = tuple((member, Decimal(centre + self.draw.randint(-5, 5))) for member in panel)
        accepted = Days.DOCKET - timedelta(days=self.draw.randint(10, 60))
        return Candidate(subject, name, region, Decimal(base * scale) / 1000, accepted, scores)


_DUE_DAYS = (date(YEAR, 5, 31), date(YEAR, 7, 31), date(YEAR, 9, 30), date(YEAR, 10, 31))
_SUFFIX = {
    SizeClass.LARGE: "集团股份",
    SizeClass.MEDIUM: "科技",
    SizeClass.SMALL: "制造",
    SizeClass.MICRO: "配套",
}


def _short(name: str) -> str:
    """A place as firms write it into their names: without its level."""
    if name == "新疆生产建设兵团":
        return "兵团"
    for ending in ("壮族自治区", "回族自治区", "维吾尔自治区", "自治区", "市市辖区", "省", "市"):
        if name.endswith(ending):
            return name.removesuffix(ending)
    return name


def _organisation_code(eight: str) -> str:
    """An organisation code with its check character (GB 11714): 11 − Σ weight × value mod 11."""
    total = sum(weight * int(character, 36) for weight, character in zip((3, 7, 9, 10, 5, 8, 4, 2), eight, strict=True))
    return eight + "0123456789X0"[11 - total % 11]


def _spread(draw: random.Random, total: int, parts: int) -> list[int]:
    """`total` over `parts`, unevenly, none empty."""
    weights = [draw.randint(6, 14) for _ in range(parts)]
    counts = [max(1, total * weight // sum(weights)) for weight in weights]
    for i in range(total - sum(counts)):
        counts[i % parts] += 1
    return counts
