"""Workbooks for people: templates, exports and error lists that read back exactly as they were written."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from urllib.parse import quote

import xlsxwriter
from fastapi.responses import Response

from shared.doors.sheets.columns import Column, Sheet
from shared.kernel import RowError

MEDIA_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_CELL_CHARACTERS_MAX = 32_767
_LIST_CHARACTERS_MAX = 255
_PROMPT_CHARACTERS_MAX = 255
_TEMPLATE_ROWS = 2_000
_DIGITS_EXCEL = 15
_OPTIONS = "选项"
_TEXT_FORMAT = 49  # built in (ECMA-376 part 1, 18.8.30): what is typed later stays text
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four full-width
# Equal content gives equal bytes, so that an export can be compared and cached.
_MADE_AT = datetime(2000, 1, 1)  # noqa: DTZ001 - a file property without a zone
_WIDTHS = {"text": 28, "code": 22, "integer": 10, "decimal": 14, "date": 12, "choice": 16}


def write_workbook(
    sheets: Sequence[tuple[Sheet, Iterable[Mapping[str, object]]]], *, title: str | None = None
) -> bytes:
    """An `.xlsx` with a frozen header, widths, list and date validation, and an optional title row.

    Codes are text, and their columns stay text for what is typed later; a text that looks like a formula is marked as
    quoted, so that no spreadsheet ever evaluates it. `read_workbook` gives the same values back. Without rows it is a
    template. Large exports belong into `asyncio.to_thread`.
    """
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out, _OPTIONS_OF_BOOK)
    book.set_properties({"created": _MADE_AT})
    styles = _Styles(book)
    options = _LongLists(book)
    for sheet, rows in sheets:
        _write_sheet(book.add_worksheet(sheet.name), styles, options, sheet, rows, title)
    options.write()
    book.close()
    return out.getvalue()


def error_workbook(errors: Iterable[RowError]) -> bytes:
    """The faults of an upload as a sheet 错误明细, one per row, in the order of the upload."""
    columns = tuple(
        Column(header, field, "text", required=False, max_length=_CELL_CHARACTERS_MAX)
        for header, field in (
            ("工作表", "sheet"), ("行号", "row"), ("列", "column"), ("原值", "value"), ("规则", "rule"), ("说明", "zh"),
            ("explanation", "en"),
        )
    )  # fmt: skip
    rows = [
        {"sheet": error.sheet, "row": error.row or "", "column": error.column, "value": error.value or "",
         "rule": error.rule, "zh": error.zh, "en": error.en}
        for error in errors
    ]  # fmt: skip
    return write_workbook([(Sheet("错误明细", columns), rows)])


def download(data: bytes, filename: str, *, media_type: str = MEDIA_TYPE) -> Response:
    """A file to save, under a name that may be Chinese (RFC 6266, RFC 8187)."""
    return Response(data, media_type=media_type, headers={"Content-Disposition": disposition(filename)})


def disposition(filename: str) -> str:
    """`Content-Disposition` of a download; the ASCII name is for clients that know no other."""
    safe = "".join(character for character in filename if character.isprintable() and character not in '/\\"')[:200]
    ascii_only = "".join(character if character.isascii() else "_" for character in safe) or "download"
    return f"attachment; filename=\"{ascii_only}\"; filename*=UTF-8''{quote(safe or 'download', safe='')}"


_OPTIONS_OF_BOOK = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
    "nan_inf_to_errors": False,
}


class _Styles:
    def __init__(self, book: xlsxwriter.Workbook) -> None:
        base = {"font_name": "等线", "valign": "top"}
        self.title = book.add_format(base | {"bold": True, "font_size": 14, "valign": "vcenter"})
        self.header = book.add_format(
            base | {"bold": True, "bg_color": "#DDEBF7", "border": 1, "text_wrap": True, "valign": "vcenter"}
        )
        self.text = book.add_format(base | {"num_format": _TEXT_FORMAT, "text_wrap": True})
        self.quoted = book.add_format(base | {"num_format": _TEXT_FORMAT, "text_wrap": True, "quote_prefix": True})
        self.date = book.add_format(base | {"num_format": "yyyy-mm-dd"})
        self.number = book.add_format(base)


class _LongLists:
    """Choices longer than a validation list may be stand on a hidden sheet."""

    def __init__(self, book: xlsxwriter.Workbook) -> None:
        self.book = book
        self.lists: list[list[str]] = []

    def source(self, labels: list[str]) -> list[str] | str:
        if len(",".join(labels)) <= _LIST_CHARACTERS_MAX and not any("," in label for label in labels):
            return labels
        if labels not in self.lists:
            self.lists.append(labels)
        letter = xlsxwriter.utility.xl_col_to_name(self.lists.index(labels), col_abs=True)
        return f"={_OPTIONS}!{letter}$1:{letter}${len(labels)}"

    def write(self) -> None:
        if not self.lists:
            return
        hidden = self.book.add_worksheet(_OPTIONS)
        hidden.hide()
        for column, labels in enumerate(self.lists):
            for row, label in enumerate(labels):
                hidden.write_string(row, column, label)


def _write_sheet(  # noqa: PLR0917 - one sheet with what it is written with
    page: xlsxwriter.worksheet.Worksheet,
    styles: _Styles,
    options: _LongLists,
    sheet: Sheet,
    rows: Iterable[Mapping[str, object]],
    title: str | None,
) -> None:
    top = 0
    if title is not None:
        if len(sheet.columns) > 1:
            page.merge_range(0, 0, 0, len(sheet.columns) - 1, _clean(title), styles.title)
        else:
            page.write_string(0, 0, _clean(title), styles.title)
        page.set_row(0, 26)
        top = 1
    for place, column in enumerate(sheet.columns):
        style = {"text": styles.text, "code": styles.text, "date": styles.date}.get(column.kind, styles.number)
        page.set_column(place, place, max(_WIDTHS[column.kind], 2 * len(column.header) + 4), style)
        page.write_string(top, place, column.header + (" *" if column.required else ""), styles.header)
    page.freeze_panes(top + 1, 0)
    last = top
    for last, row in enumerate(rows, start=top + 1):
        for place, column in enumerate(sheet.columns):
            _write_cell(page, styles, last, place, column, row.get(column.field))
    page.autofilter(top, 0, max(last, top + 1), len(sheet.columns) - 1)
    for place, column in enumerate(sheet.columns):
        _validate(page, options, column, (top + 1, place, max(last, top) + _TEMPLATE_ROWS, place))


def _write_cell(  # noqa: PLR0917 - a place and what goes there
    page: xlsxwriter.worksheet.Worksheet, styles: _Styles, row: int, place: int, column: Column, value: object
) -> None:
    if value is None or value == "":
        return
    if column.kind == "choice":
        value = next((label for label, known in column.choices.items() if known == value), value)
    if column.kind == "date" and isinstance(value, date):
        page.write_datetime(row, place, datetime(value.year, value.month, value.day), styles.date)  # noqa: DTZ001 - a day
        return
    if column.kind in {"integer", "decimal"} and isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and _significant(number) <= _DIGITS_EXCEL:
            page.write_number(
                row, place, int(number) if number == number.to_integral_value() else number, styles.number
            )
            return
        value = format(number, "f")  # more than a spreadsheet keeps: as text nothing is lost
    text = _clean(value.isoformat() if isinstance(value, date) else str(value))
    if len(text) > _CELL_CHARACTERS_MAX:
        raise ValueError(f"{column.field} has {len(text)} characters; a cell holds {_CELL_CHARACTERS_MAX}")
    page.write_string(row, place, text, styles.quoted if text.startswith(_DANGEROUS) else styles.text)


def _validate(
    page: xlsxwriter.worksheet.Worksheet, options: _LongLists, column: Column, area: tuple[int, int, int, int]
) -> None:
    rule: dict[str, object] = {"validate": "any"}
    if column.kind == "choice" and column.choices:
        rule = {"validate": "list", "source": options.source(list(column.choices)), "error_title": "取值不对"}
        rule["error_message"] = "请从下拉列表中选择。 Choose from the list."
    elif column.kind == "date":
        rule = {"validate": "date", "criteria": "between", "minimum": date(1900, 1, 1), "maximum": date(2100, 12, 31)}
        rule |= {"error_type": "warning", "error_title": "日期", "error_message": "例如 2025-03-05"}
    if column.help:
        rule |= {"input_title": column.header[:32], "input_message": column.help[:_PROMPT_CHARACTERS_MAX]}
    if rule != {"validate": "any"}:
        page.data_validation(*area, rule | {"ignore_blank": True})


def _significant(number: Decimal) -> int:
    """Digits a spreadsheet must keep for this number: from the first one that is not zero to the last."""
    return len(number.normalize().as_tuple().digits)


def _clean(text: str) -> str:
    return (
        text.encode("utf-16-le", "replace").decode("utf-16-le", "replace") if text.isprintable() else _encodable(text)
    )


def _encodable(text: str) -> str:
    return "".join(character if not "\ud800" <= character <= "\udfff" else "\ufffd" for character in text)
