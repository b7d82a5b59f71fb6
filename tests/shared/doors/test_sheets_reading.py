"""What offices send: messy sheets read as meant, hostile files refused with a clear 4xx and no trace left."""

from __future__ import annotations

import asyncio
import io
import os
import struct
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import xlsxwriter

from shared.doors.sheets import (
    Column,
    Sheet,
    SheetsBusy,
    Workbook,
    WorkbookEncrypted,
    WorkbookRefused,
    WorkbookTooLarge,
    WorkbookUnreadable,
    read_workbook,
    reading,
    write_workbook,
)
from shared.kernel import DomainError, InvalidInput, RowError

ISSUES = Sheet(
    "质量问题清单",
    (
        Column("编号", "number", "text", max_length=20),
        Column("统一社会信用代码", "uscc", "code", max_length=18, synonyms=("信用代码",)),
        Column("问题描述", "title", "text"),
        Column("整改期限", "due", "date"),
        Column("投入", "money", "decimal", required=False),
        Column("次数", "count", "integer", required=False),
        Column("类别", "kind", "choice", choices={"技术": "technique", "管理": "management"}, required=False),
    ),
)
USCC = "91340100MA2T00015G"
HEADER = ["编号", "统一社会信用代码", "问题描述", "整改期限", "投入", "次数", "类别"]
GOOD = ["1", USCC, "密封件早期失效", date(2025, 3, 5), 12.5, 3, "技术"]
READ = {"number": "1", "uscc": USCC, "title": "密封件早期失效", "due": date(2025, 3, 5), "money": Decimal("12.5"),
        "count": 3, "kind": "technique"}  # fmt: skip


def book(
    rows: list[list[object]],
    *,
    sheet: str = "质量问题清单",
    more: Callable[[xlsxwriter.Workbook, xlsxwriter.worksheet.Worksheet], None] = lambda _book, _page: None,
) -> bytes:
    out = io.BytesIO()
    made = xlsxwriter.Workbook(out, {"in_memory": True, "strings_to_numbers": False, "strings_to_formulas": False})
    page = made.add_worksheet(sheet)
    day = made.add_format({"num_format": "yyyy-mm-dd"})
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            if isinstance(cell, date):
                page.write_datetime(row, column, datetime(cell.year, cell.month, cell.day), day)  # noqa: DTZ001 - a day
            elif isinstance(cell, str):
                page.write_string(row, column, cell)
            elif cell is not None:
                page.write(row, column, cell)
    more(made, page)
    made.close()
    return out.getvalue()


async def read(data: bytes, sheet: Sheet = ISSUES) -> Workbook:
    return await read_workbook(data, [sheet])


def only(errors: list[RowError]) -> tuple[int, str, str]:
    [error] = errors
    assert error.zh
    assert error.en
    return error.row, error.column, error.rule


async def one(*cells: object, headers: list[str] | None = None) -> Workbook:
    """A workbook with a good row in which the first cells are replaced; `...` keeps the good one."""
    row = [good if cell is ... else cell for good, cell in zip(GOOD, [*cells, *[...] * len(GOOD)], strict=False)]
    return await read(book([list(headers or HEADER), row]))


# --- messy, but meant ---


async def test_a_plain_sheet_reads_as_typed_exact_values() -> None:
    workbook = await read(book([HEADER, GOOD]))

    assert (workbook.errors, workbook.warnings) == ([], [])
    [row] = workbook.rows["质量问题清单"]
    assert (row.number, row.values) == (2, READ)
    assert type(row.values["count"]) is int
    assert type(row.values["money"]) is Decimal


async def test_a_merged_title_blank_rows_totals_and_signatures_around_the_table_are_left_out() -> None:
    def title(made: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet) -> None:
        page.merge_range(0, 0, 0, 6, "安徽省2025年产业链供应链质量问题清单", made.add_format())
        page.merge_range(1, 0, 1, 6, "填报单位:安徽省市场监督管理局", made.add_format())

    rows = [[], [], [], HEADER, GOOD, [None, " ", "\u3000"], GOOD, ["合 计", None, None, None, 25], [],
            ["制表人\uff1a张三", None, None, "审核人\uff1a李四"]]  # fmt: skip
    workbook = await read(book(rows, more=title))

    assert workbook.errors == []
    assert [row.number for row in workbook.rows["质量问题清单"]] == [5, 7]
    assert [(warning.row, warning.rule) for warning in workbook.warnings] == [(8, "row-skipped"), (10, "row-skipped")]


async def test_a_data_row_that_only_begins_like_a_footer_is_data() -> None:
    workbook = await one("合计", ..., "合计工作不到位")

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values["number"] == "合计"


async def test_headers_with_stars_blanks_brackets_full_width_and_synonyms_are_known() -> None:
    messy = [
        " 编\u3000号\uff0a",
        "信用代码\uff08必填\uff09",
        "问题描述 \uff1a",
        "整改期限\n(年/月/日)",
        "投入\uff08万元\uff09",
        "次\u00a0数",
        "类别\t",
    ]

    workbook = await one(headers=messy)

    assert (workbook.errors, workbook.warnings) == ([], [])
    assert workbook.rows["质量问题清单"][0].values == READ


async def test_columns_in_another_order_hidden_ones_and_unknown_ones_do_not_disturb() -> None:
    order = [3, 0, 6, 1, 2, 5, 4]

    def hide(_made: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet) -> None:
        page.set_column(0, 0, None, None, {"hidden": True})
        page.set_row(1, None, None, {"hidden": True})

    rows = [[*(HEADER[i] for i in order), "备注二"], [*(GOOD[i] for i in order), "随便"]]
    workbook = await read(book(rows, more=hide))

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values == READ
    assert only(workbook.warnings) == (1, "备注二", "column-unknown")


@pytest.mark.parametrize(
    "written", ["2025.3.5", "2025-03-05", "2025/3/5", "2025年3月5日", "2025年 3月 5日", " 20250305 ",
                "\uff12\uff10\uff12\uff15\uff0e3.5",
                "2025-03-05 00:00:00", 20250305, date(2025, 3, 5)],
)  # fmt: skip
async def test_a_date_is_understood_as_people_write_it(written: object) -> None:
    workbook = await one(..., ..., ..., written)

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values["due"] == date(2025, 3, 5)


@pytest.mark.parametrize(
    ("written", "rule"),
    [("2025年3月", "not-a-date"), ("2025.2.30", "no-such-date"), ("明年", "not-a-date"),
     ("1234-01-01", "date-out-of-range"),
     (45721, "not-a-date"), (True, "not-a-date"), ("2025-03-05 12:30", "not-a-date"), ("5.3.2025", "not-a-date")],
)  # fmt: skip
async def test_what_is_no_date_is_named(written: object, rule: str) -> None:
    assert only((await one(..., ..., ..., written)).errors) == (2, "整改期限", rule)


@pytest.mark.parametrize(
    ("written", "read_as"),
    [("1\uff0c234.50", "1234.5"), ("12.5", "12.5"), ("85.5%", "0.855"),
     ("\uff18\uff15\uff0e\uff15\uff05", "0.855"), (" 100 % ", "1"), ("-3", "-3"),
     (0.1 + 0.2, "0.3"), (0.1, "0.1"), (1e-7, "0.0000001"), (91.0, "91"), (123456789012345.0, "123456789012345"),
     ("12345678901234567890.12", "12345678901234567890.12"), ("1,234", "1234"), ("0.60", "0.6"), ("−2", "-2")],
)  # fmt: skip
async def test_a_decimal_is_exactly_what_was_typed(written: object, read_as: str) -> None:
    workbook = await one(..., ..., ..., ..., written)

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values["money"] == Decimal(read_as)


@pytest.mark.parametrize("written", ["12万元", "1,23", "1.2.3", "一百", "--1", "NaN", "Infinity", "1e5", "0x10", True,
                                     "١٢"])  # fmt: skip
async def test_what_is_no_number_is_named(written: object) -> None:
    assert only((await one(..., ..., ..., ..., written)).errors) == (2, "投入", "not-a-number")


@pytest.mark.parametrize(
    ("written", "rule"), [(2.5, "not-an-integer"), ("2.5", "not-an-integer"), ("三", "not-a-number")]
)
async def test_what_is_no_whole_number_is_named(written: object, rule: str) -> None:
    assert only((await one(..., ..., ..., ..., ..., written)).errors) == (2, "次数", rule)


@pytest.mark.parametrize("written", ["-", "\uff0f", "/", "无", "——", "N/A", "", " ", "\u00a0", None])
async def test_a_dash_in_an_optional_column_means_nothing(written: object) -> None:
    workbook = await one(..., ..., ..., ..., written, written, written)

    assert workbook.errors == []
    values = workbook.rows["质量问题清单"][0].values
    assert (values["money"], values["count"], values["kind"]) == (None, None, None)


@pytest.mark.parametrize(
    ("written", "rule"),
    [(913401000000000000, "numeric-rounded"), (340100, "numeric-code"), ("9.1340100E+17", "numeric-rounded"),
     (USCC + "X", "too-long"), (date(2025, 1, 1), "not-a-code"), (None, "missing"), ("\u200b\u00a0", "missing")],
)  # fmt: skip
async def test_a_code_that_went_through_a_number_format_is_refused(written: object, rule: str) -> None:
    assert only((await one(..., written)).errors) == (2, "统一社会信用代码", rule)


async def test_full_width_blanks_and_invisible_characters_in_a_code_are_mended() -> None:
    wide = "'\u200b" + "".join(chr(ord(character) + 0xFEE0) for character in USCC[:9]) + "\u00a0\t" + USCC[9:]

    workbook = await one(..., wide, "第一行\r\n  第二\u00a0行\u200b ")

    assert workbook.errors == []
    values = workbook.rows["质量问题清单"][0].values
    assert (values["uscc"], values["title"]) == (USCC, "第一行\n第二 行")


async def test_numbers_in_a_text_column_read_as_they_are_shown() -> None:
    assert (await one(7.0)).rows["质量问题清单"][0].values["number"] == "7"
    assert only((await one(1.2345678901234567e17)).errors) == (2, "编号", "numeric-rounded")


async def test_a_choice_outside_the_list_names_what_may_be_chosen() -> None:
    workbook = await one(..., ..., ..., ..., ..., ..., "品牌")

    assert only(workbook.errors) == (2, "类别", "not-a-choice")
    assert "技术、管理" in workbook.errors[0].zh
    assert (await one(..., ..., ..., ..., ..., ..., "Technique")).errors == []


async def test_every_fault_of_every_row_is_named_and_good_rows_are_kept() -> None:
    workbook = await read(book([HEADER, [None, 1, "x" * 201, "?", "?", "?", "?"], GOOD]))

    assert [(error.row, error.column, error.rule) for error in workbook.errors] == [
        (2, "编号", "missing"), (2, "统一社会信用代码", "numeric-code"), (2, "问题描述", "too-long"),
        (2, "整改期限", "not-a-date"), (2, "投入", "not-a-number"), (2, "次数", "not-a-number"),
        (2, "类别", "not-a-choice"),
    ]  # fmt: skip
    assert len(workbook.errors[2].value or "") <= 100
    assert [row.number for row in workbook.rows["质量问题清单"]] == [3]
    with pytest.raises(InvalidInput) as refusal:
        workbook.check()
    assert refusal.value.errors[0].field == "质量问题清单!2.编号"


async def test_a_missing_required_column_is_named_and_so_is_one_that_stands_twice() -> None:
    missing = await read(book([HEADER[:2] + HEADER[3:], GOOD[:2] + GOOD[3:]]))
    twice = await read(book([[*HEADER, "编号"], [*GOOD, "2"]]))

    assert only(missing.errors) == (1, "问题描述", "column-missing")
    assert only(twice.errors) == (1, "编号", "column-twice")
    assert missing.rows["质量问题清单"] == twice.rows["质量问题清单"] == []


async def test_a_sheet_without_a_header_and_a_missing_sheet_are_named() -> None:
    no_header = await read(book([["甲", "乙"], ["丙", "丁"]]))
    late = await read(book([[]] * 10 + [HEADER, GOOD]))
    two = await read_workbook(book([HEADER, GOOD]), [ISSUES, Sheet("重点攻关项目清单", ISSUES.columns)])
    optional = await read_workbook(book([HEADER, GOOD]), [ISSUES, Sheet("其他", ISSUES.columns, required=False)])

    assert no_header.errors[0].rule == late.errors[0].rule == "header-missing"
    assert [(error.sheet, error.rule) for error in two.errors] == [("重点攻关项目清单", "sheet-missing")]
    assert (optional.errors, optional.rows["其他"]) == ([], [])


async def test_sheet_names_with_blanks_annex_numbers_or_any_name_at_all_are_found() -> None:
    annex = await read(book([HEADER, GOOD], sheet=" 质量问题清单(附件1)"))
    only_one = await read(book([HEADER, GOOD], sheet="Sheet1"))

    assert annex.rows["质量问题清单"][0].values == only_one.rows["质量问题清单"][0].values == READ
    assert annex.warnings == []
    assert only_one.warnings[0].rule == "sheet-renamed"


async def test_an_unknown_sheet_is_named_in_a_warning() -> None:
    def extra(made: xlsxwriter.Workbook, _page: xlsxwriter.worksheet.Worksheet) -> None:
        made.add_worksheet("草稿").write_string(0, 0, "x")
        made.add_worksheet("填写说明").write_string(0, 0, "x")
        made.add_worksheet("空的")

    workbook = await read(book([HEADER, GOOD], more=extra))

    assert [(warning.sheet, warning.rule) for warning in workbook.warnings] == [("草稿", "sheet-unknown")]


async def test_cells_merged_downwards_give_their_value_to_each_of_their_rows() -> None:
    def merge(made: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet) -> None:
        page.merge_range(1, 1, 3, 1, USCC, made.add_format({"num_format": "@"}))

    rows = [HEADER, *([str(n), None, *GOOD[2:]] for n in (1, 2, 3))]
    workbook = await read(book(rows, more=merge))

    assert workbook.errors == []
    assert [row.values["uscc"] for row in workbook.rows["质量问题清单"]] == [USCC] * 3


async def test_a_formula_gives_its_last_value_and_an_error_value_is_a_fault_not_a_blank() -> None:
    def formulas(_made: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet) -> None:
        page.write_formula(1, 4, "=10+2.5", None, 12.5)
        page.write_formula(2, 4, "=1/0", None, "#DIV/0!")

    workbook = await read(book([HEADER, [*GOOD[:4], None, *GOOD[5:]], [*GOOD[:4], None, *GOOD[5:]]], more=formulas))

    assert workbook.rows["质量问题清单"][0].values["money"] == Decimal("12.5")
    assert only(workbook.errors) == (3, "投入", "formula-error")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
async def test_a_csv_of_any_chinese_office_reads_like_a_sheet(encoding: str, delimiter: str) -> None:
    cells = [HEADER, ["1", USCC, '"密封件早期失效"', "2025年3月5日", "12.5", "3", "技术"]]
    text = "\r\n".join(delimiter.join(row) for row in cells)

    workbook = await read(text.encode(encoding))

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values == READ


async def test_the_old_xls_format_is_read() -> None:
    workbook = await read(xls([HEADER, ["1", USCC, "密封件早期失效", "2025.3.5", 12.5, 3, "技术"]]))

    assert workbook.errors == []
    assert workbook.rows["质量问题清单"][0].values == READ


async def test_what_a_sender_sees_in_a_huge_sheet_with_formats_only_is_read() -> None:
    def formats(made: xlsxwriter.Workbook, page: xlsxwriter.worksheet.Worksheet) -> None:
        style = made.add_format({"border": 1})
        for row in range(1000, 30_000, 7):
            page.write_blank(row, 0, None, style)

    workbook = await read(book([HEADER, GOOD], more=formats))

    assert (workbook.errors, len(workbook.rows["质量问题清单"])) == ([], 1)


async def test_more_than_a_thousand_faults_are_cut_off_with_their_number() -> None:
    workbook = await read(book([HEADER, *([None] * 6 + ["?"] for _ in range(300))]))

    assert len(workbook.errors) == 1001
    assert workbook.errors[-1].rule == "more-errors"
    assert "500" in workbook.errors[-1].zh


# --- hostile ---


def zipped(entries: dict[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def changed(**new: bytes) -> bytes:
    """A good workbook with parts replaced; `xl_workbook_xml` stands for xl/workbook.xml."""
    names = {"sheet": "xl/worksheets/sheet1.xml", "strings": "xl/sharedStrings.xml", "book": "xl/workbook.xml"}
    return zipped(parts(book([HEADER, GOOD])) | {names.get(name, name): content for name, content in new.items()})


def laughing(element: bytes) -> bytes:
    entities = b'<!ENTITY a "' + b"ha" * 50 + b'">'
    for before, name in zip(b"abcdefghi", b"bcdefghij", strict=True):
        entities += b"<!ENTITY %c '%s'>" % (name, b"&%c;" % before * 10)
    return b"<?xml version='1.0'?><!DOCTYPE x [" + entities + b"]>" + element


SHEET_XML = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>%s</sheetData></worksheet>'


def wide(cell: str) -> bytes:
    inner = b'<row r="1"><c r="A1" t="inlineStr"><is><t>x</t></is></c></row>'
    inner += b'<row><c r="%s" t="inlineStr"><is><t>y</t></is></c></row>' % cell.encode()
    return changed(sheet=SHEET_XML % inner)


def strings_bomb() -> bytes:
    """One shared text of 2 MB, used 60 000 times: 120 GB when copied out."""
    text = (
        b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>'
        + os.urandom(1_000_000).hex().encode()
    )
    cells = b"".join(b'<row r="%d"><c r="A%d" t="s"><v>0</v></c></row>' % (n, n) for n in range(1, 20_000))
    return changed(strings=text + b"</t></si></sst>", sheet=SHEET_XML % cells)


def flagged(data: bytes, offset: int, value: int) -> bytes:
    """Sets a flag of the first entry in both its headers."""
    out = bytearray(data)
    out[6 + offset] |= value
    out[out.index(b"PK\x01\x02") + 8 + offset] |= value
    return bytes(out)


def overlapping() -> bytes:
    """Two directory entries that point at the same bytes, as a recursive bomb does."""
    data = bytearray(changed())
    first = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", first + 4)
    data[second + 42 : second + 46] = data[first + 42 : first + 46]
    return bytes(data)


def duplicated() -> bytes:
    out = io.BytesIO(changed())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "a") as archive:
        archive.writestr("xl/workbook.xml", b"<x/>")
    return out.getvalue()


def cfb(stream: str, content: bytes) -> bytes:
    """A compound file (MS-CFB) with one stream: the box of .xls and of password-protected workbooks."""
    free, end, fat_mark = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
    content = content.ljust(max(4096, -(-len(content) // 512) * 512), b"\0")
    count = len(content) // 512
    fat_sectors = -(-(count + 2) // 127)
    fat = [fat_mark] * fat_sectors + [end]
    fat += [fat_sectors + 2 + n for n in range(count - 1)] + [end]
    fat += [free] * (fat_sectors * 128 - len(fat))
    header = bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 16
    header += struct.pack(
        "<HHHHH6xIIIIIIIII", 0x3E, 3, 0xFFFE, 9, 6, 0, fat_sectors, fat_sectors, 0, 4096, end, 0, end, 0
    )
    header += struct.pack("<109I", *range(fat_sectors), *[free] * (109 - fat_sectors))

    def entry(name: str, kind: int, child: int, start: int, size: int) -> bytes:
        encoded = name.encode("utf-16-le") + b"\0\0" if name else b""
        head = encoded.ljust(64, b"\0") + struct.pack("<HBBIII", len(encoded), kind, 1, free, free, child)
        return head + b"\0" * 36 + struct.pack("<IQ", start, size)

    directory = entry("Root Entry", 5, 1, end, 0) + entry(stream, 2, free, fat_sectors + 1, len(content))
    directory += entry("", 0, free, 0, 0) * 2
    return header + struct.pack(f"<{len(fat)}I", *fat) + directory + content


def xls(rows: list[list[object]]) -> bytes:
    """A workbook as Excel 97 to 2003 wrote it (BIFF8), with the records that matter."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HH", kind, len(body)) + body

    name = "质量问题清单".encode("utf-16-le")
    bof = struct.pack("<HHHHII", 0x600, 5, 0x0DBB, 0x07CC, 0, 6)
    head = record(0x809, bof) + record(0x42, struct.pack("<H", 1200))
    size = len(head) + 4 + 6 + 2 + len(name) + 4
    head += record(0x85, struct.pack("<IBBBB", size, 0, 0, len(name) // 2, 1) + name) + record(0x0A, b"")
    body = record(0x809, struct.pack("<HHHHII", 0x600, 0x10, 0x0DBB, 0x07CC, 0, 6))
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            if isinstance(cell, str):
                text = cell.encode("utf-16-le")
                body += record(0x204, struct.pack("<HHHHB", row, column, 0, len(text) // 2, 1) + text)
            else:
                body += record(0x203, struct.pack("<HHHd", row, column, 0, float(cell)))  # type: ignore[arg-type]
    return cfb("Workbook", head + body + record(0x0A, b""))


ZEROS = b" " * (64 * 1024 * 1024)
HOSTILE: dict[str, tuple[Callable[[], bytes], type[DomainError], str]] = {
    "nothing": (lambda: b"", WorkbookUnreadable, "空"),
    "blanks only": (lambda: b" \r\n\t ", WorkbookUnreadable, "空"),
    "a zip bomb by ratio": (lambda: changed(sheet=SHEET_XML % ZEROS[: 48 * 1024 * 1024]), WorkbookTooLarge, "展开"),
    "a zip bomb by total": (
        lambda: zipped(parts(changed()) | {f"xl/media/{n}.bin": os.urandom(64) * 60_000 for n in range(30)}),
        WorkbookTooLarge, "展开",
    ),
    "a bomb in a part nobody reads": (lambda: changed(**{"xl/media/a.xml": ZEROS}), WorkbookTooLarge, "展开"),
    "ten thousand entries": (
        lambda: zipped(parts(changed()) | {f"x/{n}": b"" for n in range(10_000)}), WorkbookTooLarge, "展开",
    ),
    "billion laughs in a sheet": (lambda: changed(sheet=laughing(SHEET_XML % b"&j;")), WorkbookUnreadable, "损坏"),
    "billion laughs in the texts": (lambda: changed(strings=laughing(b"<sst>&j;</sst>")), WorkbookUnreadable, "损坏"),
    "an external entity": (
        lambda: changed(sheet=b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + SHEET_XML % b"&e;"),
        WorkbookUnreadable, "损坏",
    ),
    "one cell at the far end": (lambda: wide("XFD1048576"), WorkbookTooLarge, "展开"),
    "one cell in the last row": (lambda: wide("A1048576"), WorkbookTooLarge, "20000 行"),
    "two hundred thousand rows": (
        lambda: changed(sheet=SHEET_XML % b"".join(b'<row r="%d"><c r="A%d"><v>1</v></c></row>' % (n, n)
                                                   for n in range(1, 200_001))),
        WorkbookTooLarge, "20000 行",
    ),
    "one text copied to a hundred gigabytes": (strings_bomb, WorkbookTooLarge, "展开"),
    "six megabytes": (lambda: os.urandom(6 * 1024 * 1024), WorkbookTooLarge, "5 MB"),
    "truncated": (lambda: changed()[:2000], WorkbookUnreadable, "损坏"),
    "the tail cut off": (lambda: changed()[:-40], WorkbookUnreadable, "损坏"),
    "damaged inside": (
        lambda: changed().replace(changed()[60:90], b"\xff" * 30, 1), WorkbookUnreadable, "损坏",
    ),
    "a sheet that is no XML": (lambda: changed(sheet=os.urandom(5000)), WorkbookUnreadable, "损坏"),
    "a part that climbs out": (lambda: changed(**{"../../etc/cron.d/x": b"x"}), WorkbookUnreadable, "损坏"),
    "an absolute part": (lambda: changed(**{"/etc/passwd": b"x"}), WorkbookUnreadable, "损坏"),
    "overlapping entries": (overlapping, WorkbookUnreadable, "损坏"),
    "an entry twice": (duplicated, WorkbookUnreadable, "损坏"),
    "encrypted entries": (lambda: flagged(changed(), 0, 1), WorkbookEncrypted, "密码"),
    "a password": (lambda: cfb("EncryptedPackage", os.urandom(9000)), WorkbookEncrypted, "密码"),
    "macros": (lambda: changed(**{"xl/vbaProject.bin": b"x"}), WorkbookRefused, "宏"),
    "a Word document": (
        lambda: zipped({"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), WorkbookUnreadable, "另存为",
    ),
    "a PDF": (lambda: b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj", WorkbookUnreadable, "另存为"),
    "a picture named xlsx": (lambda: b"\x89PNG\r\n\x1a\n" + os.urandom(3000), WorkbookUnreadable, "另存为"),
    "a web page named xls": (
        "<html><table><tr><td>编号</td></tr></table>".encode, WorkbookUnreadable, "另存为",
    ),
    "an old Word document": (lambda: cfb("WordDocument", os.urandom(5000)), WorkbookUnreadable, "损坏"),
    "a compound file cut off": (lambda: xls([HEADER])[:700], WorkbookUnreadable, "损坏"),
    "a csv of one endless cell": (lambda: b'"' + b"x" * 200_000, WorkbookUnreadable, "损坏"),
    "a csv with a thousand columns": (lambda: b"a," * 1000, WorkbookTooLarge, "列数"),
    "a csv with a hundred thousand rows": (lambda: b"a,b\n" * 100_000, WorkbookTooLarge, "20000 行"),
    "zeros": (lambda: bytes(4096), WorkbookUnreadable, "另存为"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_file_is_refused_in_both_languages_and_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, refusal, says = HOSTILE[name]
    data = make()
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a folder that nobody else writes to, also for the worker
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with pytest.raises(refusal) as refused:
        await read(data)

    assert refused.value.status in (413, 422)
    assert says in refused.value.sentence("zh")
    assert refused.value.sentence("en").isascii()
    assert children() == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("length", range(0, 7000, 500))
async def test_a_workbook_cut_at_any_length_is_refused_or_empty_never_a_crash(length: int) -> None:
    with pytest.raises(WorkbookUnreadable):
        await read(book([HEADER, GOOD])[:-60][:length])


async def test_a_worker_that_takes_too_long_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WALL_SECONDS", 0.0)

    with pytest.raises(WorkbookTooLarge) as refused:
        await read(book([HEADER, GOOD]))

    assert "时间" in refused.value.sentence("zh")
    assert children() == []


async def test_a_reader_that_hangs_up_takes_the_worker_with_it() -> None:
    reading_ = asyncio.create_task(read(book([HEADER, *[GOOD] * 5000])))
    deadline = asyncio.get_running_loop().time() + 20
    while not children():
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.001)

    reading_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading_

    assert children() == []


async def test_many_uploads_at_once_are_all_read_two_at_a_time_and_a_flood_is_told_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = book([HEADER, GOOD])
    workbooks = await asyncio.gather(*(read(data) for _ in range(8)))
    assert all(workbook.rows["质量问题清单"][0].values == READ for workbook in workbooks)

    monkeypatch.setattr(reading, "_WAITING_MAX", 0)
    with pytest.raises(SheetsBusy):
        await read(data)


async def test_the_limits_can_be_raised_by_who_needs_it() -> None:
    data = book([HEADER, *[GOOD] * 3000])

    with pytest.raises(WorkbookTooLarge):
        await read_workbook(data, [ISSUES], rows_max=2000)
    with pytest.raises(WorkbookTooLarge):
        await read_workbook(data, [ISSUES], bytes_max=len(data) - 1)
    workbook = await read_workbook(data, [ISSUES], rows_max=3000, bytes_max=len(data))

    assert len(workbook.rows["质量问题清单"]) == 3000


async def test_an_upload_with_a_declared_size_that_lies_is_refused() -> None:
    data = bytearray(changed(sheet=SHEET_XML % ZEROS[: 32 * 1024 * 1024]))
    at = data.index(b"xl/worksheets/sheet1.xml", data.index(b"PK\x01\x02")) - 46
    data[at + 24 : at + 28] = struct.pack("<I", 1000)

    with pytest.raises((WorkbookUnreadable, WorkbookTooLarge)):
        await read(bytes(data))


def children() -> list[int]:
    """Processes that this one has started and not yet buried."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and b"sheets/worker.py" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


async def test_what_is_written_for_a_template_without_rows_reads_as_empty() -> None:
    workbook = await read(write_workbook([(ISSUES, [])], title="申报书"))

    assert (workbook.rows["质量问题清单"], workbook.errors) == ([], [])
