"""The report: one self-contained HTML page, a figure, a table, and pictures side by side."""

from __future__ import annotations

from phosphene.pipelines.report.content import Content, Retrieved
from phosphene.pipelines.report.figure import check_figure_path, render_figure, write_figure
from phosphene.pipelines.report.page import render_content, render_report
from phosphene.pipelines.report.saved import read_content
from phosphene.pipelines.report.sheet import contact_sheet
from phosphene.pipelines.report.table import markdown_table

__all__ = [
    "Content",
    "Retrieved",
    "check_figure_path",
    "contact_sheet",
    "markdown_table",
    "read_content",
    "render_content",
    "render_figure",
    "render_report",
    "write_figure",
]
