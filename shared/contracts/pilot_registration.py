"""The facts pilot_registration publishes: parties, chains, pilots, quotas, quality issues, key projects."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from shared.contracts.fact import Fact, Topic, Value


class PartyKind(StrEnum):
    """What a party is: 企业, 机构, 政府."""

    ENTERPRISE = "enterprise"
    INSTITUTION = "institution"
    GOVERNMENT = "government"


class SizeClass(StrEnum):
    """Size class of an enterprise (大型, 中型, 小型, 微型); `none` for institutions and government."""

    LARGE = "large"
    MEDIUM = "medium"
    SMALL = "small"
    MICRO = "micro"
    NONE = "none"


class Programme(StrEnum):
    """联动提升试点 (clause 十五) or 质量强链重大标志性项目 (clause 十二)."""

    PILOT = "pilot"
    LANDMARK = "landmark"


class Level(StrEnum):
    """Who runs the call; only national pilots count for target T13."""

    NATIONAL = "national"
    PROVINCIAL = "provincial"
    MUNICIPAL = "municipal"


class IssueClass(StrEnum):
    """Class of a quality issue: 技术, 管理, 品牌, 质量基础设施."""

    TECHNIQUE = "technique"
    MANAGEMENT = "management"
    BRAND = "brand"
    NQI = "nqi"


class ListKind(StrEnum):
    """The four lists: 质量问题清单, 重点攻关项目清单, 质量政策工具清单, 角色清单 (the fourth is ours)."""

    ISSUES = "issues"
    KEY_PROJECTS = "key-projects"
    POLICY_TOOLS = "policy-tools"
    ROLES = "roles"


class ChainRole(StrEnum):
    """链长单位, 链主企业, 链上成员, 质量赋能专业技术机构, 基础支撑."""

    CHIEF = "chief"
    LEADER = "leader"
    MEMBER = "member"
    ENABLER = "enabler"
    FOUNDATION = "foundation"


class DocumentKind(StrEnum):
    """三书一表: plan 任务书, initiation 立项书, completion 结题书, settlement 决算表."""

    PLAN = "plan"
    INITIATION = "initiation"
    COMPLETION = "completion"
    SETTLEMENT = "settlement"


class Direction(StrEnum):
    """Whether a measure is better when lower (defect-like) or higher (pass-like)."""

    LOWER = "lower"
    HIGHER = "higher"


class Share(Value):
    """One region's credit share of a pilot; all shares of a pilot sum to exactly 1 (rule 4 of the domain)."""

    region: str
    share: Decimal


class Measure(Value):
    """A quality measure at one time: a fraction in [0, 1] seen on a sample of n."""

    name: str
    direction: Direction
    value: Decimal
    n: int
    on: date


# --- parties and chains ---


class PartyFact(Fact, topic=Topic("pilot-registration.parties"), key="uscc"):
    """About one party, keyed by its unified social credit code (GB 32100)."""

    uscc: str


class PartyRegistered(PartyFact):
    """An enterprise, an institution or a government body entered the registry."""

    name: str
    kind: PartyKind
    size_class: SizeClass
    division_code: str


class PartyAffiliationChanged(PartyFact):
    """A party joined (or, with `group_id` empty, left) a group; affiliates never count for helping (rule 11)."""

    group_id: str


class ChainFact(Fact, topic=Topic("pilot-registration.chains"), key="chain_id"):
    """About one industrial or supply chain."""

    chain_id: str


class ChainRegistered(ChainFact):
    """A chain was registered with its GB/T 4754 codes."""

    name: str
    industry_codes: tuple[str, ...]


# --- pilots ---


class PilotFact(Fact, topic=Topic("pilot-registration.pilots"), key="pilot_id"):
    """About one pilot (联动提升试点 / 质量强链重大标志性项目)."""

    pilot_id: str


class PilotDrafted(PilotFact):
    """A registrar opened a pilot with lead and participant regions; shares sum to 1."""

    title: str
    programme: Programme
    level: Level
    chain_id: str
    applicant: str
    lead_region: str
    shares: tuple[Share, ...]


class PilotChanged(PilotFact):
    """The applicant changed the pilot before submission; `voids`: regions must confirm their shares anew."""

    title: str
    programme: Programme
    level: Level
    chain_id: str
    applicant: str
    lead_region: str
    shares: tuple[Share, ...]
    voids: bool


class PilotSharesChanged(PilotFact):
    """The office decided on other shares from a day on; facts before it keep the earlier shares (rule 4)."""

    lead_region: str
    shares: tuple[Share, ...]
    effective_on: date
    reason: str


class PilotShareConfirmed(PilotFact):
    """A participant region agreed to its share."""

    region: str


class QualityMapPublished(PilotFact):
    """A version of the quality map: nodes, edges, nodes covered by an NQI element, and the content hash."""

    map_version: int
    nodes: int
    edges: int
    nodes_covered: int
    content_hash: str


class ListPublished(PilotFact):
    """A version of one of the four lists, with its number of rows and content hash."""

    list_kind: ListKind
    list_version: int
    rows: int
    content_hash: str


class ChainRoleAssigned(PilotFact):
    """A party took a role in the pilot's chain."""

    role: ChainRole
    uscc: str
    since: date


class ChainRoleEnded(PilotFact):
    """A party no longer has a role in the pilot's chain."""

    role: ChainRole
    uscc: str
    until: date


class PilotSubmitted(PilotFact):
    """The application went in; `application_hash` is the SHA-256 of what was submitted."""

    application_hash: str
    submission: int


class PilotReturned(PilotFact):
    """The application came back with reasons and missing documents; at most three times."""

    reasons: tuple[str, ...]
    missing_documents: tuple[str, ...]


class PilotRecalled(PilotFact):
    """The applicant took the submission back to work on it; this spends no return."""

    reason: str


class PilotRefused(PilotFact):
    """The application was faulty again after three returns, and is refused for these reasons."""

    reasons: tuple[str, ...]


class PilotAdmitted(PilotFact):
    """受理: the application passed the form check and stands in a quota bucket."""

    quota_bucket: str


class PilotSelected(PilotFact):
    """The pilot was selected in a run."""

    run_id: str
    reason: str


class PilotNotSelected(PilotFact):
    """The pilot was not selected in a run, for a reason."""

    run_id: str
    reason: str


class NoticeOpened(PilotFact):
    """公示 opened on a day; it closes at the end of the n-th working day after it (rule 2)."""

    notice_id: str
    opened_on: date
    closes_at: datetime
    working_days: int
    calendar_version: str


class ObjectionFiled(PilotFact):
    """Somebody objects during the notice, with evidence (of the fact); the notice's clock stands still."""

    notice_id: str
    objection_id: str
    objector: str
    reason: str


class ObjectionDecided(PilotFact):
    """The objection was decided. Sustained disqualifies; otherwise nothing changes but that the clock goes on.

    `closes_at` is the new end of the notice, empty when it is sustained or another objection is still open.
    """

    notice_id: str
    objection_id: str
    sustained: bool
    reason: str
    closes_at: datetime | None
    calendar_version: str


class NoticeClosed(PilotFact):
    """The public notice ended; approval is possible from now on."""

    notice_id: str


class PilotApproved(PilotFact):
    """立项, after the notice closed; `due_on` is the day by which acceptance is due."""

    code: str
    approved_on: date
    due_on: date


class PilotStarted(PilotFact):
    """开展: the pilot runs; this is what target T13 counts. Carries the shares credited from now on."""

    level: Level
    lead_region: str
    shares: tuple[Share, ...]
    started_on: date
    due_on: date


class PilotAcceptanceRequested(PilotFact):
    """The region asks for acceptance."""

    requested_on: date


class PilotAccepted(PilotFact):
    """验收通过 on a day."""

    accepted_on: date


class PilotWithdrawn(PilotFact):
    """The applicant took the pilot back before approval."""

    reason: str


# --- quotas ---


class QuotaFact(Fact, topic=Topic("pilot-registration.quotas", partitions=1), key="call"):
    """About the places of one call (also called quota bucket) for national pilots."""

    call: str


class QuotaSet(QuotaFact):
    """The office set how many pilots may be selected in all, and in any one province."""

    national: int
    per_region: int


class QuotaPlaceTaken(QuotaFact):
    """A selected pilot took a place."""

    pilot_id: str
    region: str


class QuotaPlaceReleased(QuotaFact):
    """A pilot that was selected withdrew or was disqualified; its place is free again."""

    pilot_id: str
    region: str


# --- quality issues ---


class IssueFact(Fact, topic=Topic("pilot-registration.issues", partitions=6), key="issue_id"):
    """About one quality issue (质量问题)."""

    issue_id: str


class IssueListed(IssueFact):
    """An issue entered a pilot's issue list under its stable 编号; grade 1 is major, 4 minor."""

    pilot_id: str
    number: str
    title: str
    issue_class: IssueClass
    grade: int
    division_code: str
    owner: str
    baseline: Measure


class IssueChanged(IssueFact):
    """A re-import changed an issue that is not assigned yet."""

    title: str
    issue_class: IssueClass
    grade: int
    division_code: str
    owner: str
    baseline: Measure


class IssueRemoved(IssueFact):
    """A re-import asked to take an unassigned issue off the list."""

    reason: str


class IssueAssigned(IssueFact):
    """An owner is responsible, the grade is confirmed by a second party, and a day is due."""

    pilot_id: str
    division_code: str
    owner: str
    grade: int
    due_on: date
    confirmed_by: str


class IssueClosureClaimed(IssueFact):
    """The owner says it is solved, with the measure after and the documents behind it (as evidence of the fact)."""

    pilot_id: str
    claimed_by: str
    claimant_org: str
    baseline: Measure
    after: Measure


class IssueClosed(IssueFact):
    """Evaluation verified the claimed closure; the issue is off its owner's desk."""

    pilot_id: str
    verdict_fact: str
    verifier_org: str


class IssueSentBack(IssueFact):
    """Evaluation refused the claimed closure; its owner works on."""

    pilot_id: str
    verdict_fact: str
    verifier_org: str
    reason: str


class IssueReopened(IssueFact):
    """A verified issue came back."""

    reason: str


# --- key projects ---


class KeyProjectFact(Fact, topic=Topic("pilot-registration.key-projects"), key="project_id"):
    """About one key project (攻关项目)."""

    project_id: str


class KeyProjectListed(KeyProjectFact):
    """A key project entered the list, traced to at least one issue."""

    pilot_id: str
    number: str
    title: str
    issue_ids: tuple[str, ...]
    leader: str
    institution: str
    due_on: date
    milestones: tuple[str, ...]


class KeyProjectChanged(KeyProjectFact):
    """A re-import changed a key project that has not reported anything yet."""

    title: str
    issue_ids: tuple[str, ...]
    leader: str
    institution: str
    due_on: date
    milestones: tuple[str, ...]


class KeyProjectRemoved(KeyProjectFact):
    """A re-import asked to take a key project off the list that has not reported anything yet."""

    reason: str


class MilestoneReported(KeyProjectFact):
    """A milestone was reached on a day."""

    milestone: str
    reached_on: date


class KeyProjectDocumentFiled(KeyProjectFact):
    """One of the four documents was filed (as evidence of the fact)."""

    document_kind: DocumentKind
    attachment_id: str
    sha256: str
