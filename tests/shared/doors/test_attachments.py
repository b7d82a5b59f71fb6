"""Attachments on a real GridFS: stored once, known by content, opened by who may, swept when nothing refers to them."""

import asyncio
import hashlib
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from pydantic import SecretStr

from deploy.local.stack import Stack
from shared.doors.attachments import BYTES_MAX, Attachment, AttachmentDamaged, AttachmentMissing, Attachments
from shared.doors.service import application
from shared.kernel import NATIONAL, Actor
from shared.platform.mongo import connect
from shared.platform.settings import ServiceSettings
from tests.shared.doors.chains import bearer, made_doors

PDF = b"%PDF-1.7\n" + "任务书".encode() * 200_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def zipped(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 100)
    return out.getvalue()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(stack: Stack) -> AsyncIterator[Any]:
    """The pilots' own database, through the service's own user."""
    password = (stack.home / "secrets" / "pilot_registration" / "mongo_password").read_text()
    settings = ServiceSettings(
        env="test", service="pilot_registration", kafka=stack.kafka, mongo=stack.mongo, issuer="http://x",
        mongo_password=SecretStr(password), hmac_key=SecretStr("h"), cursor_key=SecretStr("c"),
    )  # fmt: skip
    found = connect(settings)
    yield found
    found.client.close()


@pytest.fixture
def attachments(database: Any) -> Attachments:
    return Attachments(database)


@pytest_asyncio.fixture
async def http(attachments: Attachments) -> AsyncIterator[httpx2.AsyncClient]:
    """A client let in; besides the uploader, whoever is called `colleague` may read."""

    async def may_read(actor: Actor, attachment: Attachment) -> bool:
        assert attachment.size
        return actor.id == "colleague"

    doors = made_doors()
    router = attachments.router(doors, may_read=may_read)
    larger = {"/attachments": BYTES_MAX + 1024 * 1024}
    app = application(doors, title="t", routers=[router], larger_bodies=larger)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://t", headers=bearer(), timeout=60) as client:
        yield client


async def upload(
    http: httpx2.AsyncClient, content: bytes, *, key: str, name: str = "任务书.pdf", who: dict[str, str] | None = None
) -> httpx2.Response:
    headers = {"Idempotency-Key": key} | (who or {})
    return await http.post("/attachments", files={"file": (name, content)}, headers=headers)


async def test_what_is_uploaded_is_opened_again_byte_by_byte(http: httpx2.AsyncClient) -> None:
    answer = await upload(http, PDF, key="one")

    assert answer.status_code == 201
    stored = answer.json()
    assert stored == {
        "id": stored["id"], "sha256": hashlib.sha256(PDF).hexdigest(), "size": len(PDF),
        "media_type": "application/pdf", "name": "任务书.pdf",
    }  # fmt: skip
    opened = await http.get(answer.headers["location"])
    assert opened.content == PDF
    assert opened.headers["content-type"] == "application/pdf"
    assert opened.headers["content-disposition"].startswith("attachment;")
    assert "%E4%BB%BB" in opened.headers["content-disposition"]
    assert opened.headers["content-security-policy"].startswith("sandbox")
    assert opened.headers["x-content-type-options"] == "nosniff"
    assert opened.headers["etag"] == f'"{stored["sha256"]}"'


async def test_twenty_equal_uploads_are_one_attachment_and_twenty_equal_answers(
    http: httpx2.AsyncClient, database: Any
) -> None:
    answers = await asyncio.gather(*(upload(http, PDF, key="twenty", name=f"{n}.pdf") for n in range(20)))

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    stored = answers[0].json()
    assert await database["attachments.files"].count_documents({"metadata.id": stored["id"]}) == 1
    files = await database["attachments.files"].distinct("_id")
    assert await database["attachments.chunks"].count_documents({"files_id": {"$nin": files}}) == 0
    other = await upload(http, PDF + b"!", key="twenty")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (zipped("OFD.xml", "Doc_0/Document.xml"), "application/ofd"),
        (zipped("[Content_Types].xml", "word/document.xml"), "wordprocessingml.document"),
        (zipped("[Content_Types].xml", "xl/workbook.xml"), "spreadsheetml.sheet"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"),
    ],
)
async def test_a_kind_is_known_by_its_content_whatever_it_is_called(
    http: httpx2.AsyncClient, content: bytes, media_type: str
) -> None:
    answer = await upload(http, content, key=media_type, name="附件.exe")

    assert answer.status_code == 201
    assert answer.json()["media_type"].endswith(media_type)


@pytest.mark.parametrize(
    "content",
    [b"", b"MZ\x90\x00", b"<html><script>", zipped("a.txt"), zipped("word/document.xml", "word/vbaProject.bin"),
     zipped("OFD.xml")[:-30], b"PK\x03\x04" + bytes(100), b"  %PDF-1.7", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600),
     zipped(*(f"{n}" for n in range(10_001)))],
)  # fmt: skip
async def test_anything_else_is_refused_and_nothing_of_it_is_kept(
    http: httpx2.AsyncClient, database: Any, content: bytes
) -> None:
    before = await database["attachments.chunks"].count_documents({})

    answer = await upload(http, content, key="refused")

    assert (answer.status_code, answer.json()["code"]) == (422, "attachment-refused")
    assert await database["attachments.chunks"].count_documents({}) == before


async def test_more_than_fifty_megabytes_are_refused(http: httpx2.AsyncClient) -> None:
    just_over = await upload(http, b"%PDF-" + bytes(BYTES_MAX - 4), key="large")
    far_over = await upload(http, b"%PDF-" + bytes(BYTES_MAX + 2 * 1024 * 1024), key="larger")

    assert (just_over.status_code, just_over.json()["code"]) == (413, "attachment-too-large")
    assert (far_over.status_code, far_over.json()["code"]) == (413, "body-too-large")


async def test_the_uploader_and_who_sees_the_record_may_open_it_and_nobody_else_can_tell_it_from_a_missing_one(
    http: httpx2.AsyncClient,
) -> None:
    path = f"/attachments/{(await upload(http, PDF, key='mine')).json()['id']}"

    assert (await http.get(path)).status_code == 200
    assert (await http.get(path, headers=bearer(sub="colleague"))).status_code == 200
    stranger = await http.get(path, headers=bearer(sub="stranger"))
    missing = await http.get("/attachments/00000000-0000-4000-8000-000000000000", headers=bearer(sub="stranger"))
    assert stranger.status_code == missing.status_code == 404
    assert stranger.content == missing.content
    assert (await upload(http, PDF, key="audit", who=bearer(roles="auditor"))).status_code == 403


@pytest.mark.parametrize(
    ("given", "kept"),
    [("../../etc/passwd", "passwd"), ("C:\\temp\\图.pdf", "图.pdf"), ("a\u202eb.pdf", "ab.pdf"),
     ("...", "attachment"),     ("长" * 300 + ".pdf", "长" * 196 + ".pdf")],
)  # fmt: skip
async def test_a_file_name_is_a_name_only(http: httpx2.AsyncClient, given: str, kept: str) -> None:
    assert (await upload(http, PDF[:100], key=kept[:20].encode().hex(), name=given)).json()["name"] == kept


async def test_evidence_names_path_and_digest_and_not_a_strangers_document(
    http: httpx2.AsyncClient, attachments: Attachments
) -> None:
    stored = (await upload(http, PDF, key="evidence", who=bearer(sub="me", org="91340100MA2T00015G"))).json()
    me = Actor("me", frozenset(), "", NATIONAL)
    colleague = Actor("other", frozenset(), "91340100MA2T00015G", NATIONAL)
    stranger = Actor("stranger", frozenset(), "", NATIONAL)

    found = await attachments.evidence(stored["id"])

    assert (found.uri, found.sha256) == (f"/pilot-registration/attachments/{stored['id']}", stored["sha256"])
    assert (
        await attachments.evidence(stored["id"], by=me)
        == await attachments.evidence(stored["id"], by=colleague)
        == found
    )
    for id, by in ((stored["id"], stranger), ("nothing", None), ("nothing", me)):
        with pytest.raises(AttachmentMissing):
            await attachments.evidence(id, by=by)


async def test_the_sweep_takes_what_no_fact_refers_to_and_what_a_crash_left(
    http: httpx2.AsyncClient, attachments: Attachments, database: Any
) -> None:
    used = (await upload(http, PDF, key="used")).json()["id"]
    orphan = (await upload(http, PDF, key="orphan")).json()["id"]
    await database.commits.insert_one(
        {
            "log_id": "x",
            "at": 1,
            "events": [{"stream": "s", "version": 1, "data": f'{{"uri":"{attachments.uri(used)}"}}'}],
        }
    )
    half = attachments._bucket().open_upload_stream("half")
    await half.write(bytes(600_000))  # the process dies here: chunks without a file

    assert await attachments.sweep(NOW - timedelta(days=1)) == 0
    assert await attachments.find(orphan) is not None
    later = datetime.now(UTC) + timedelta(days=8)
    swept = await attachments.sweep(later)

    assert swept >= 1
    assert await attachments.find(orphan) is None
    assert (await http.get(f"/attachments/{used}")).content == PDF
    assert await database["attachments.chunks"].count_documents({"files_id": half._id}) == 0
    assert await attachments.sweep(later) == 0


async def test_a_damaged_document_is_broken_off_not_delivered(http: httpx2.AsyncClient, database: Any) -> None:
    stored = (await upload(http, PDF, key="damaged")).json()
    file = await database["attachments.files"].find_one({"metadata.id": stored["id"]})
    await database["attachments.chunks"].update_one(
        {"files_id": file["_id"], "n": 1}, {"$set": {"data": bytes(262144)}}
    )

    with pytest.raises(RuntimeError, match="already started") as broken:
        await http.get(f"/attachments/{stored['id']}")
    assert isinstance(broken.value.__cause__, AttachmentDamaged)
