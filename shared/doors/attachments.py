"""Documents behind facts: uploaded first, hashed here, known by their content, referred to afterwards (rule 8)."""

import hashlib
import io
import os
import re
import uuid
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from bson import ObjectId
from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import JSONResponse, Response, StreamingResponse
from gridfs.errors import FileExists, NoFile
from motor.motor_asyncio import AsyncIOMotorGridFSBucket
from pymongo.errors import DuplicateKeyError

from shared.contracts.fact import Evidence
from shared.doors.doors import CommandRequest, Doors, ReadRequest
from shared.doors.sheets.writing import disposition
from shared.kernel import Actor, DomainError, NotFound, instant, microseconds
from shared.log.committer import IdempotencyKeyReused

BYTES_MAX = 50 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_NAME_CHARACTERS_MAX = 200
_ENTRIES_MAX = 10_000
_SWEEP_BATCH = 200
_BUCKET = "attachments"
_ZIPS = {
    "OFD.xml": "application/ofd",
    "word/document.xml": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xl/workbook.xml": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
_SIGNATURES = {
    b"%PDF-": "application/pdf",
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
}


class AttachmentMissing(DomainError):
    """What a command refers to has not been uploaded here by the one who refers to it."""

    code = "attachment-missing"
    status = 422
    zh = "没有附件 {id}:请先上传,再引用"
    en = "There is no attachment {id}: upload it first, then refer to it"


class AttachmentRefused(DomainError):
    """The bytes are empty or not one of the kinds an office files."""

    code = "attachment-refused"
    status = 422
    zh = "附件只接收 PDF、OFD、JPG、PNG、DOCX、XLSX(按内容识别,不看文件名),且不能为空、不能含宏"
    en = "An attachment is a PDF, OFD, JPG, PNG, DOCX or XLSX (by its content, not its name), not empty, without macros"


class AttachmentTooLarge(DomainError):
    """An attachment is at most 50 MB."""

    code = "attachment-too-large"
    status = 413
    zh = "附件最大 50 MB"
    en = "An attachment is at most 50 MB"


class AttachmentDamaged(DomainError):
    """The stored bytes are not the ones that were uploaded."""

    code = "attachment-damaged"
    status = 500
    zh = "附件与登记的摘要不符,请告知管理员"
    en = "The attachment does not match its recorded digest: tell the operator"


@dataclass(frozen=True, slots=True)
class Attachment:
    """What is known of an uploaded document; `sha256` in lower-case hex, `size` in bytes."""

    id: str
    sha256: str
    size: int
    media_type: str
    name: str
    uploaded_by: str
    org: str
    uploaded_at: datetime

    def shown(self) -> dict[str, Any]:
        """As the upload answers."""
        return {"id": self.id, "sha256": self.sha256, "size": self.size, "media_type": self.media_type,
                "name": self.name}  # fmt: skip


MayRead = Callable[[Actor, Attachment], Awaitable[bool]]
"""Whether an actor may see a record that refers to the attachment; whoever uploaded it always may."""


class Attachments:
    """The attachments of one service, in GridFS beside its states."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self._files = database[f"{_BUCKET}.files"]
        self._chunks = database[f"{_BUCKET}.chunks"]
        self._indexed = False

    def router(self, doors: Doors, *, may_read: MayRead) -> APIRouter:
        """`POST /attachments` and `GET /attachments/{id}`."""
        router = APIRouter(tags=["attachments"])

        @router.post("/attachments", status_code=201)
        async def upload(
            file: Annotated[UploadFile, File(description="PDF、OFD、JPG、PNG、DOCX、XLSX; 50 MB at most")],
            request: Annotated[CommandRequest, Depends(doors.command("attachment.upload"))],
        ) -> JSONResponse:
            stored = await request.measured(
                self.store(file, key=request.key, body=request.body, by=request.actor, at=request.at)
            )
            return JSONResponse(stored.shown(), 201, headers={"Location": f"/attachments/{stored.id}"})

        @router.get("/attachments/{id}", response_class=Response)
        async def read(
            id: str, read: Annotated[ReadRequest, Depends(doors.reader("attachment.read"))]
        ) -> StreamingResponse:
            found = await self.find(id)
            if found is None or not (found.uploaded_by == read.actor.id or await may_read(read.actor, found)):
                raise NotFound
            headers = {
                "Content-Length": str(found.size),
                "Content-Disposition": disposition(found.name),
                "Content-Security-Policy": "sandbox; default-src 'none'",
                "Cache-Control": "private, no-store",
                "ETag": f'"{found.sha256}"',
            }
            return StreamingResponse(self.content(found), media_type=found.media_type, headers=headers)

        return router

    async def store(self, file: UploadFile, *, key: str, body: str, by: Actor, at: datetime) -> Attachment:
        """Streams an upload into the store, once per key; the same key with other bytes raises IdempotencyKeyReused."""
        await self._index()
        sha256, media_type = await _identified(file)
        answered = await self._known(key, body)
        if answered is not None:
            return answered
        ident = ObjectId()
        metadata = {
            "id": str(uuid.UUID(bytes=os.urandom(16), version=4)), "key": key, "body": body, "sha256": sha256,
            "media_type": media_type, "by": by.id, "org": by.org, "at": microseconds(at),
        }  # fmt: skip
        stream = self._bucket().open_upload_stream_with_id(ident, _safe_name(file.filename), metadata=metadata)
        try:
            await file.seek(0)
            while piece := await file.read(_PIECE_BYTES):
                await stream.write(piece)
            await stream.close()
        except (FileExists, DuplicateKeyError):  # the same request was faster: its answer is ours, too
            await self._chunks.delete_many({"files_id": ident})
            answered = await self._known(key, body)
            if answered is None:
                raise
            return answered
        except BaseException:
            await stream.abort()
            raise
        return _attachment(await self._files.find_one({"_id": ident}))

    async def find(self, id: str) -> Attachment | None:
        """The attachment with this id, whoever uploaded it."""
        found = await self._files.find_one({"metadata.id": id})
        return None if found is None else _attachment(found)

    async def content(self, attachment: Attachment) -> AsyncIterator[bytes]:
        """The bytes, checked against the digest while they leave; a mismatch breaks the answer off."""
        found = await self._files.find_one({"metadata.id": attachment.id}, {"_id": 1})
        digest = hashlib.sha256()
        try:
            stream = await self._bucket().open_download_stream(found["_id"])
            while piece := await stream.readchunk():
                digest.update(piece)
                yield piece
        except NoFile as error:
            raise AttachmentDamaged from error
        if digest.hexdigest() != attachment.sha256:
            raise AttachmentDamaged

    async def evidence(self, id: str, *, by: Actor | None = None) -> Evidence:
        """What a fact names the document by: the path it is opened at, and its digest.

        With `by`, only a document that this actor or the actor's organisation has uploaded counts: referring to a
        stranger's document would make it readable. Raises AttachmentMissing.
        """
        found = await self.find(id)
        if found is None or (by is not None and by.id != found.uploaded_by and (not by.org or by.org != found.org)):
            raise AttachmentMissing(id=id[:64])
        return Evidence(uri=self.uri(id), sha256=found.sha256)

    def uri(self, id: str) -> str:
        """Where the document is opened: the service's name and the path behind its door."""
        return f"/{self._database.name.replace('_', '-')}/attachments/{id}"

    async def sweep(
        self, older_than: datetime, *, referred: Callable[[list[str]], Awaitable[set[str]]] | None = None
    ) -> int:
        """Deletes what was uploaded before `older_than` and is referred to by no fact; answers how many.

        `referred` tells which of some ids are in use; without it every fact of this service's log is asked. A document
        once seen in use is marked and never asked for again. Chunks that a crash left without a file go, too.
        """
        deleted = 0
        old = {"metadata.at": {"$lt": microseconds(older_than)}, "metadata.used": {"$ne": True}}
        while True:
            batch = await self._files.find(old, {"metadata.id": 1}).sort("_id", 1).to_list(_SWEEP_BATCH)
            if not batch:
                break
            ids = {file["metadata"]["id"]: file["_id"] for file in batch}
            used = await (referred or self._in_the_log)(list(ids))
            await self._files.update_many({"_id": {"$in": [ids[id] for id in used]}}, {"$set": {"metadata.used": True}})
            gone = [ident for id, ident in ids.items() if id not in used]
            # The file first: a chunk without a file is swept below, a file without chunks would be a broken promise.
            await self._files.delete_many({"_id": {"$in": gone}})
            await self._chunks.delete_many({"files_id": {"$in": gone}})
            deleted += len(gone)
        await self._sweep_chunks(older_than)
        return deleted

    async def _in_the_log(self, ids: list[str]) -> set[str]:
        named = re.compile("|".join(map(re.escape, ids)))
        used: set[str] = set()
        wanted = {"$or": [{"events.data": named}, {"events.evidence.uri": named}]}
        async for commit in self._database.commits.find(wanted, {"events.data": 1, "events.evidence": 1}):
            used.update(named.findall(str(commit["events"])))
        return used

    async def _sweep_chunks(self, older_than: datetime) -> None:
        # An ObjectId carries the machine's time, the development clock may run ahead of it: the earlier one holds.
        before = ObjectId.from_datetime(older_than)
        known = await self._files.distinct("_id")
        orphans = await self._chunks.distinct("files_id", {"files_id": {"$lt": before, "$nin": known}})
        await self._chunks.delete_many({"files_id": {"$in": orphans}})

    async def _known(self, key: str, body: str) -> Attachment | None:
        found = await self._files.find_one({"metadata.key": key})
        if found is None:
            return None
        if found["metadata"]["body"] != body:
            raise IdempotencyKeyReused
        return _attachment(found)

    async def _index(self) -> None:
        if not self._indexed:
            await self._files.create_index("metadata.key", unique=True)
            await self._files.create_index("metadata.id", unique=True)
            self._indexed = True

    def _bucket(self) -> Any:
        return AsyncIOMotorGridFSBucket(self._database, bucket_name=_BUCKET, chunk_size_bytes=_PIECE_BYTES)


async def _identified(file: UploadFile) -> tuple[str, str]:
    """Digest and media type of an upload, by its content."""
    digest, size, head = hashlib.sha256(), 0, b""
    await file.seek(0)
    while piece := await file.read(_PIECE_BYTES):
        head = head or piece
        digest.update(piece)
        size += len(piece)
        if size > BYTES_MAX:
            raise AttachmentTooLarge
    media_type = next((kind for mark, kind in _SIGNATURES.items() if head.startswith(mark)), "")
    if head.startswith(b"PK\x03\x04"):
        media_type = _zip_type(file.file)
    if not media_type:
        raise AttachmentRefused
    return digest.hexdigest(), media_type


def _zip_type(file: Any) -> str:
    """OFD, DOCX and XLSX are zips: told apart by the entry each must have."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 66_000))
    end = file.read().rpartition(b"PK\x05\x06")[2]
    if len(end) < 18 or int.from_bytes(end[6:8], "little") > _ENTRIES_MAX:
        raise AttachmentRefused
    try:
        names = zipfile.ZipFile(file).namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise AttachmentRefused from error
    if any(name.lower().endswith("vbaproject.bin") for name in names):
        raise AttachmentRefused
    return next((kind for entry, kind in _ZIPS.items() if entry in names), "")


def _safe_name(name: str | None) -> str:
    last = re.split(r"[/\\]", name or "")[-1]
    clean = "".join(character for character in last if character.isprintable()).strip(". ")
    if len(clean) > _NAME_CHARACTERS_MAX:
        stem, dot, ending = clean.rpartition(".")
        keep = _NAME_CHARACTERS_MAX - len(dot + ending)
        clean = stem[:keep] + dot + ending if 0 < len(ending) <= 8 else clean[:_NAME_CHARACTERS_MAX]
    return clean or "attachment"


def _attachment(file: dict[str, Any]) -> Attachment:
    metadata = file["metadata"]
    return Attachment(
        metadata["id"], metadata["sha256"], file["length"], metadata["media_type"], file["filename"], metadata["by"],
        metadata["org"], instant(metadata["at"]),
    )  # fmt: skip


def ids_in(evidence: Iterable[Evidence]) -> list[str]:
    """The attachment ids that evidence refers to."""
    return [item.uri.rpartition("/attachments/")[2] for item in evidence if "/attachments/" in item.uri]
