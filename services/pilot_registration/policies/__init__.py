"""Decisions over plain values: who sees what, what comes next, what a workbook changes."""
