"""The report: one self-contained HTML page."""

from __future__ import annotations

from phosphene.pipelines.report.page import render_report

__all__ = ["render_report"]
