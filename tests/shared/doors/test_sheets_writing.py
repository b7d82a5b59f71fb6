"""What we hand out: workbooks that read back as they were written and never run anything."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.doors.sheets import Column, RowError, Sheet, download, error_workbook, read_workbook, write_workbook
from shared.doors.sheets.cells import tidy

CHOICES = {"技术": "technique", "管理": "management", "质量基础设施": "nqi"}
ALL_KINDS = Sheet(
    "清单",
    (
        Column("编号", "number", "text", required=False, max_length=4000),
        Column("代码", "code", "code", required=False, max_length=40),
        Column("数量", "count", "integer", required=False),
        Column("份额", "share", "decimal", required=False, help="各地区份额之和为 1"),
        Column("日期", "day", "date", required=False),
        Column("类别", "kind", "choice", required=False, choices=CHOICES),
        Column("行", "row", "integer"),
    ),
)

texts = st.text(max_size=60).map(tidy)
codes = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z.:_-]{0,30}", fullmatch=True).filter(
    lambda code: not re.fullmatch(r"\d(?:\.\d+)?E\+?\d+", code, re.IGNORECASE)
)
rows = st.lists(
    st.fixed_dictionaries(
        {
            "number": st.none() | texts.map(lambda text: text or None),
            "code": st.none() | codes,
            "count": st.none() | st.integers(-(10**24), 10**24),
            "share": st.none() | st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**12),
                                             max_value=10**12),
            "day": st.none() | st.dates(date(1900, 3, 1), date(2100, 12, 31)),
            "kind": st.none() | st.sampled_from(list(CHOICES.values())),
        }
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(rows, st.none() | st.text(min_size=1, max_size=30))
async def test_what_is_written_reads_back_equal(made: list[dict[str, object]], title: str | None) -> None:
    numbered = [row | {"row": place} for place, row in enumerate(made)]

    workbook = await read_workbook(write_workbook([(ALL_KINDS, numbered)], title=title), [ALL_KINDS])

    assert (workbook.errors, workbook.warnings) == ([], [])
    assert [row.values for row in workbook.rows["清单"]] == numbered


@pytest.mark.parametrize(
    "hostile",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "=HYPERLINK(\"http://x\")", "\uff1d1+1", "\uff20x",
     "{=1}", "0x0D=1",
     "http://example.org", "mailto:a@b", "_x0041_", "'quoted", "&amp;<b>", "1E5"],
)  # fmt: skip
async def test_no_text_ever_becomes_a_formula_or_a_link(hostile: str) -> None:
    data = write_workbook([(ALL_KINDS, [{"number": hostile, "row": 1}])])

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        everything = b"".join(archive.read(name) for name in archive.namelist())
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<f>" not in sheet
    assert "<hyperlink" not in sheet
    cell = re.search(r'<c r="A2"[^>]*s="(\d+)"', sheet)
    assert cell is not None
    assert (cell[1] in quoted_styles(everything)) == hostile.startswith(("=", "+", "-", "@", "\uff1d", "\uff20"))
    workbook = await read_workbook(data, [ALL_KINDS])
    assert workbook.rows["清单"][0].values["number"] == hostile


def quoted_styles(everything: bytes) -> set[str]:
    styles = re.search(rb"<cellXfs.*?</cellXfs>", everything, re.DOTALL)
    assert styles is not None
    return {str(place) for place, xf in enumerate(re.findall(rb"<xf [^>]*", styles[0])) if b"quotePrefix" in xf}


async def test_a_template_helps_who_fills_it_in() -> None:
    many = {f"选项{n:03}": f"option-{n}" for n in range(120)}
    sheet = Sheet("申报", (*ALL_KINDS.columns, Column("长列表", "long", "choice", choices=many, required=False)))

    data = write_workbook([(sheet, [])], title="申报书")

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        page = archive.read("xl/worksheets/sheet1.xml").decode()
        book = archive.read("xl/workbook.xml").decode()
        shared = archive.read("xl/sharedStrings.xml").decode()
    assert 'topLeftCell="A3"' in page  # frozen below title and header
    assert '<mergeCell ref="A1:H1"/>' in page
    assert '"技术,管理,质量基础设施"' in page
    assert "选项!$A$1:$A$120" in page
    assert 'name="选项" sheetId="2" state="hidden"' in book
    assert "各地区份额之和为 1" in page
    assert "行 *" in shared
    assert page.count("<col ") == 8


async def test_a_code_typed_into_a_template_stays_text_because_the_whole_column_is() -> None:
    data = write_workbook([(ALL_KINDS, [])])

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        page = archive.read("xl/worksheets/sheet1.xml").decode()
        styles = archive.read("xl/styles.xml").decode()
    style = re.search(r'<col min="2" max="2" [^>]*style="(\d+)"', page)
    assert style is not None
    formats = re.findall(r"<xf [^>]*>", styles[styles.index("<cellXfs") :])
    assert 'numFmtId="49"' in formats[int(style[1])]  # 49 is the built-in text format (ECMA-376 18.8.30)


async def test_equal_content_gives_equal_bytes() -> None:
    content = [(ALL_KINDS, [{"row": 1, "share": Decimal("0.6")}])]

    assert write_workbook(content) == write_workbook(content)


async def test_faults_come_back_as_a_sheet_that_can_be_opened_and_read() -> None:
    faults = [
        RowError("质量问题清单", 12, "责任单位", "missing", "必填", "Required", None),
        RowError("质量问题清单", 0, "", "sheet-missing", "缺少", "Missing", "=cmd|'/C calc'!A0"),
    ]
    headers = ("工作表", "行号", "列", "原值", "规则", "说明", "explanation")
    sheet = Sheet("错误明细", tuple(Column(header, header, "text", required=False) for header in headers))

    workbook = await read_workbook(error_workbook(faults), [sheet])

    assert workbook.errors == []
    assert [tuple(row.values.values()) for row in workbook.rows["错误明细"]] == [
        ("质量问题清单", "12", "责任单位", None, "missing", "必填", "Required"),
        ("质量问题清单", None, None, "=cmd|'/C calc'!A0", "sheet-missing", "缺少", "Missing"),
    ]


def test_a_text_longer_than_a_cell_holds_is_not_cut_off_in_silence() -> None:
    with pytest.raises(ValueError, match="32767"):
        write_workbook([(ALL_KINDS, [{"number": "x" * 32768, "row": 1}])])


def test_a_download_has_a_chinese_name_and_cannot_smuggle_a_header() -> None:
    answer = download(b"x", '合肥"清单\r\nSet-Cookie: a=b/../\\x.xlsx')

    value = answer.headers["content-disposition"]
    assert value.startswith('attachment; filename="__')
    assert "\r" not in value
    assert "filename*=UTF-8''%E5%90%88%E8%82%A5" in value
    assert value.count('"') == 2
