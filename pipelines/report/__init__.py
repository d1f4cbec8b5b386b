"""The report: one self-contained HTML page, and pictures side by side."""

from __future__ import annotations

from phosphene.pipelines.report.page import render_report
from phosphene.pipelines.report.sheet import contact_sheet

__all__ = ["contact_sheet", "render_report"]
