"""Reads an uploaded workbook: opened elsewhere under limits, then judged cell by cell against the declared columns."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from shared.doors.sheets.columns import Sheet, Workbook
from shared.doors.sheets.judging import HEADER_ROWS, judged
from shared.kernel import DomainError

BYTES_MAX = 5 * 1024 * 1024
ROWS_MAX = 20_000

_MEMORY_BYTES = 768 * 1024 * 1024
_CPU_SECONDS = 15
_WALL_SECONDS = 30.0
_WORKERS_MAX = 2
_WAITING_MAX = 32
_ANSWER_BYTES_MAX = 128 * 1024 * 1024
_UNPACKED_FACTOR = 16
_WORKER = Path(__file__).with_name("worker.py")


class WorkbookUnreadable(DomainError):
    """The file is not a workbook that can be read: `reason` says what to do."""

    code = "workbook-unreadable"
    status = 422
    zh = "无法读取这个文件:{reason_zh}"
    en = "This file cannot be read: {reason_en}"


class WorkbookEncrypted(DomainError):
    """The workbook is protected by a password."""

    code = "workbook-encrypted"
    status = 422
    zh = "文件设有打开密码:请取消密码后重新上传"
    en = "The file is protected by a password: remove it and upload again"


class WorkbookTooLarge(DomainError):
    """The file, what it unpacks to, or its rows and columns pass a limit."""

    code = "workbook-too-large"
    status = 413
    zh = "文件过大:{reason_zh}"
    en = "The file is too large: {reason_en}"


class WorkbookRefused(DomainError):
    """The workbook carries something that no list needs: macros."""

    code = "workbook-refused"
    status = 422
    zh = "文件含有宏,不予接收:请另存为 .xlsx 后重新上传"
    en = "The file carries macros and is refused: save it as .xlsx and upload again"


class SheetsBusy(DomainError):
    """Too many workbooks are being read at the same time."""

    code = "sheets-busy"
    status = 503
    zh = "正在读取的文件太多,请稍后重试"
    en = "Too many files are being read: try again in a moment"


_UNREADABLE = {
    "empty": ("文件是空的", "it is empty"),
    "corrupt": ("文件已损坏或不完整,请重新保存后上传", "it is damaged or incomplete; save it anew and upload again"),
    "wrong-type": (
        "只接收 .xlsx、.xls 或 .csv;其他格式(含网页格式的 .xls)请另存为 .xlsx",
        "only .xlsx, .xls or .csv is taken; save anything else (a web page named .xls, too) as .xlsx",
    ),
}
_TOO_LARGE = {
    "too-large": ("展开后的内容超过上限", "what it unpacks to passes the limit"),
    "too-many-columns": ("列数超过 256", "more than 256 columns"),
    "too-complex": ("读取超过时间上限,请拆分后上传", "reading it takes too long; split it"),
}


async def read_workbook(
    data: bytes, sheets: Sequence[Sheet], *, bytes_max: int = BYTES_MAX, rows_max: int = ROWS_MAX
) -> Workbook:
    """Typed rows and every fault of an uploaded `.xlsx`, `.xls` or `.csv`.

    The header is looked for in the first ten rows; titles above, blank rows and totals or signatures below are left
    out. A CSV, or a workbook with one sheet only, answers for the one sheet that is asked for, whatever it is called.
    Raises WorkbookTooLarge (413), WorkbookUnreadable, WorkbookEncrypted, WorkbookRefused (422) or SheetsBusy (503).
    """
    if len(data) > bytes_max:
        size = f"{bytes_max / 1024 / 1024:g} MB"
        raise WorkbookTooLarge(reason_zh=f"上限为 {size}", reason_en=f"the limit is {size}")
    answer = await _answer(data, bytes_max, rows_max + HEADER_ROWS * 2)
    problem = answer.get("problem")
    if problem == "encrypted":
        raise WorkbookEncrypted
    if problem == "macros":
        raise WorkbookRefused
    if problem == "too-many-rows":
        raise WorkbookTooLarge(reason_zh=f"每个工作表最多 {rows_max} 行", reason_en=f"at most {rows_max} rows a sheet")
    if problem in _UNREADABLE:
        zh, en = _UNREADABLE[problem]
        raise WorkbookUnreadable(reason_zh=zh, reason_en=en)
    if problem is not None:
        zh, en = _TOO_LARGE[problem]
        raise WorkbookTooLarge(reason_zh=zh, reason_en=en)
    # A thread, so that judging 20 000 rows does not keep the other requests waiting.
    return await asyncio.to_thread(judged, answer["sheets"], tuple(sheets))


# --- the process that opens the file ---

_slots: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[asyncio.Semaphore, list[int]]] = WeakKeyDictionary()


async def _answer(data: bytes, bytes_max: int, rows_max: int) -> dict[str, Any]:
    slots, waiting = _slots.setdefault(asyncio.get_running_loop(), (asyncio.Semaphore(_WORKERS_MAX), [0]))
    if waiting[0] >= _WAITING_MAX:
        raise SheetsBusy
    waiting[0] += 1
    try:
        async with slots:
            limits = (_MEMORY_BYTES, _CPU_SECONDS, bytes_max * _UNPACKED_FACTOR, rows_max)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", str(_WORKER), *map(str, limits), env={},
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            try:
                printed = await asyncio.wait_for(_printed(process, data), _WALL_SECONDS)
            except TimeoutError:
                return {"problem": "too-complex"}
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        waiting[0] -= 1
    if printed is None:
        return {"problem": "too-large"}
    if not printed:  # it died of a limit
        return {"problem": "too-complex" if process.returncode in (-9, -24) else "too-large"}
    return await asyncio.to_thread(json.loads, printed, parse_float=Decimal, parse_int=Decimal)


async def _printed(process: asyncio.subprocess.Process, data: bytes) -> bytes | None:
    assert process.stdin is not None
    assert process.stdout is not None
    feeding = asyncio.create_task(_feed(process.stdin, data))
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await process.stdout.read(1 << 20):
            chunks.append(chunk)
            size += len(chunk)
            if size > _ANSWER_BYTES_MAX:
                return None
        await process.wait()
    finally:
        feeding.cancel()
    return b"".join(chunks) if process.returncode == 0 else b""


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    try:
        stdin.write(data)
        await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # it has died already; what it printed tells the rest
