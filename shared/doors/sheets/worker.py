"""Opens an untrusted workbook in a process of its own, under limits, and prints plain cells as JSON.

Run as a script by `reading.py`, isolated (`python -I`): it imports nothing of the product. Reads the file from standard
input, never touches a disk, and answers `{"sheets": [...]}` or `{"problem": code}`. When it dies of a limit it answers
nothing, which is an answer too.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import resource
import sys
import zipfile
import zlib
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

_ENTRIES_MAX = 500
_RATIO_MAX = 100
_RATIO_FREE_BYTES = 4 * 1024 * 1024  # below this size a high ratio is a harmless sheet of equal cells
_COLUMNS_MAX = 256
_CELL_CHARACTERS_MAX = 8_192
_TEXT_CHARACTERS_MAX = 24_000_000
_MERGED_CELLS_MAX = 200_000
_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
_DOCTYPE_WINDOW = 64 * 1024


class Refused(Exception):
    """The file is not one we read; the code says why."""


def main() -> None:
    """Arguments: bytes of address space, seconds of CPU, bytes unpacked at most, rows per sheet at most."""
    memory, cpu, unpacked_max, rows_max = map(int, sys.argv[1:5])
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        answer: dict[str, Any] = {"sheets": list(_opened(sys.stdin.buffer.read(), unpacked_max, rows_max))}
    except Refused as refused:
        answer = {"problem": refused.args[0]}
    except (MemoryError, RecursionError):
        answer = {"problem": "too-large"}
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))


def _opened(data: bytes, unpacked_max: int, rows_max: int) -> Iterator[dict[str, Any]]:
    if not data.strip():
        raise Refused("empty")
    if data.startswith(b"PK"):
        errors = _checked_zip(data, unpacked_max)
        yield from _workbook(data, rows_max, errors)
    elif data.startswith(_OLE):
        if "EncryptedPackage".encode("utf-16-le") in data:
            raise Refused("encrypted")
        yield from _workbook(data, rows_max, {})
    else:
        yield {"name": None, "rows": list(_csv_rows(data, rows_max)), "merged": [], "errors": []}


def _checked_zip(data: bytes, unpacked_max: int) -> dict[str, list[str]]:
    """Refuses bombs, macros and what is no workbook; returns the cells that hold an error value, by sheet name."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Refused("corrupt") from error
    _checked_entries(archive.infolist(), unpacked_max)
    names = archive.namelist()
    if any(name.lower().endswith("vbaproject.bin") for name in names):
        raise Refused("macros")
    if "xl/workbook.xml" not in names:
        raise Refused("wrong-type")
    try:
        for name in names:
            if name.endswith((".xml", ".rels")):
                with archive.open(name) as part:
                    if b"<!DOCTYPE" in part.read(_DOCTYPE_WINDOW):
                        raise Refused("corrupt")
        return _error_cells(archive, names)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, KeyError) as error:
        raise Refused("corrupt") from error


def _checked_entries(entries: list[zipfile.ZipInfo], unpacked_max: int) -> None:
    if len(entries) > _ENTRIES_MAX or sum(entry.file_size for entry in entries) > unpacked_max:
        raise Refused("too-large")
    for entry in entries:
        if entry.flag_bits & 1:
            raise Refused("encrypted")
        if entry.file_size > _RATIO_FREE_BYTES and entry.file_size > _RATIO_MAX * max(entry.compress_size, 1):
            raise Refused("too-large")
        if entry.filename.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", entry.filename):
            raise Refused("corrupt")
    if len({entry.filename for entry in entries}) != len(entries) or _overlapping(entries):
        raise Refused("corrupt")


def _overlapping(entries: list[zipfile.ZipInfo]) -> bool:
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    return any(
        before.header_offset + before.compress_size + len(before.filename) > after.header_offset
        for before, after in itertools.pairwise(ordered)
    )


def _error_cells(archive: zipfile.ZipFile, names: list[str]) -> dict[str, list[str]]:
    """`#REF!` and its like: the reader takes them for blanks, but a blank was not what the sender meant."""
    book = archive.read("xl/workbook.xml").decode("utf-8", "replace")
    links = "xl/_rels/workbook.xml.rels"
    targets: dict[str, str] = {}
    for relation in re.findall(
        r"<(?:\w+:)?Relationship\b[^>]*>", archive.read(links).decode() if links in names else ""
    ):
        ident, target = re.search(r'\bId="([^"]*)"', relation), re.search(r'\bTarget="([^"]*)"', relation)
        if ident and target:
            targets[ident[1]] = target[1].lstrip("/") if target[1].startswith("/") else f"xl/{target[1]}"
    found: dict[str, list[str]] = {}
    for sheet in re.findall(r"<(?:\w+:)?sheet\b[^>]*>", book):
        name, ident = re.search(r'\bname="([^"]*)"', sheet), re.search(r'\br:id="([^"]*)"', sheet)
        part = targets.get(ident[1]) if ident else None
        if name and part in names:
            faulty = re.findall(rb'<c\b(?=[^>]*\bt="e")[^>]*\br="([A-Z]{1,3}\d{1,7})"', archive.read(str(part)))
            if faulty:
                found[_unescaped(name[1])] = [reference.decode() for reference in faulty[:1000]]
    return found


def _unescaped(text: str) -> str:
    for escape, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(escape, character)
    return text


def _workbook(data: bytes, rows_max: int, errors: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    from python_calamine import CalamineError, PasswordError, load_workbook  # noqa: PLC0415 - under the limits, not before

    budget = [_TEXT_CHARACTERS_MAX]
    try:
        with load_workbook(io.BytesIO(data)) as book:
            for meta in book.sheets_metadata:
                if str(meta.typ) != "SheetTypeEnum.WorkSheet":
                    continue
                sheet = book.get_sheet_by_name(meta.name)
                if sheet.start is None:
                    yield {"name": meta.name, "rows": [], "merged": [], "errors": errors.get(meta.name, [])}
                    continue
                if sheet.total_width > _COLUMNS_MAX:
                    raise Refused("too-many-columns")
                if sheet.total_height > rows_max:
                    raise Refused("too-many-rows")
                rows = [[_plain(cell, budget) for cell in row] for row in sheet.to_python(skip_empty_area=False)]
                merged = [
                    [top, bottom, left]
                    for (top, left), (bottom, right) in sheet.merged_cell_ranges or []
                    if left == right and bottom > top and bottom - top <= _MERGED_CELLS_MAX
                ]
                yield {"name": meta.name, "rows": rows, "merged": merged, "errors": errors.get(meta.name, [])}
    except PasswordError as error:
        raise Refused("encrypted") from error
    except (CalamineError, ValueError, OSError, OverflowError, KeyError) as error:
        raise Refused("encrypted" if "assword" in str(error) else "corrupt") from error
    except BaseException as error:
        if type(error).__name__ == "PanicException":  # a panic of the reader is a file it cannot read
            raise Refused("corrupt") from error
        raise


def _plain(cell: Any, budget: list[int]) -> Any:
    """A cell as JSON: text and numbers as they are, [iso date], None for nothing."""
    if isinstance(cell, str):
        cell = cell[:_CELL_CHARACTERS_MAX]
        budget[0] -= len(cell)
        if budget[0] < 0:
            raise Refused("too-large")
        return cell or None
    if isinstance(cell, datetime):
        return [cell.date().isoformat()]
    if isinstance(cell, date):
        return [cell.isoformat()]
    if isinstance(cell, float):
        return cell if abs(cell) < 1e300 else str(cell)  # NaN and infinities compare as not smaller
    return cell if isinstance(cell, bool | int) else str(cell)


def _csv_rows(data: bytes, rows_max: int) -> Iterator[list[Any]]:
    text = _decoded(data)
    head = text.lstrip()[:200].lower()
    if head.startswith(("<!doctype", "<html", "<table", "<?xml", "%pdf", "{\\rtf")):
        raise Refused("wrong-type")
    first_lines = text[:4096].splitlines()[:10]
    delimiter = max(",\t;", key=lambda mark: sum(line.count(mark) for line in first_lines))
    csv.field_size_limit(_CELL_CHARACTERS_MAX * 4)
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), start=1):
            if number > rows_max:
                raise Refused("too-many-rows")
            if len(row) > _COLUMNS_MAX:
                raise Refused("too-many-columns")
            yield [cell[:_CELL_CHARACTERS_MAX] or None for cell in row]
    except csv.Error as error:
        raise Refused("corrupt") from error


def _decoded(data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        strange = sum(character < " " and character not in "\t\r\n\f" for character in text[:65536])
        if "\0" in text or strange * 50 > min(len(text), 65536):
            break
        return text
    raise Refused("wrong-type")


if __name__ == "__main__":
    main()
