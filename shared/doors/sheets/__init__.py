"""Workbooks in and out: what an office sends becomes typed rows or faults that name sheet, row, column and rule."""

from shared.doors.sheets.columns import Column, Row, Sheet, Workbook
from shared.doors.sheets.reading import (
    SheetsBusy,
    WorkbookEncrypted,
    WorkbookRefused,
    WorkbookTooLarge,
    WorkbookUnreadable,
    read_workbook,
)
from shared.doors.sheets.writing import download, error_workbook, write_workbook
from shared.kernel import RowError

__all__ = [
    "Column",
    "Row",
    "RowError",
    "Sheet",
    "SheetsBusy",
    "Workbook",
    "WorkbookEncrypted",
    "WorkbookRefused",
    "WorkbookTooLarge",
    "WorkbookUnreadable",
    "download",
    "error_workbook",
    "read_workbook",
    "write_workbook",
]
