"""Reports of runs from their records: tables, figures and one HTML page. Never loads a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.report.document import Report
    from domain_masks.report.report_builder import build_report
    from domain_masks.report.runs.paper_protocol import Difference, protocol_match
    from domain_masks.report.write.page import render_page
    from domain_masks.report.write.report_files import Written, write_report
    from domain_masks.report.write.run_figures import draw_analysis
    from domain_masks.report.write.terminal import summary_lines

__all__ = [
    "Difference",
    "Report",
    "Written",
    "build_report",
    "draw_analysis",
    "protocol_match",
    "render_page",
    "summary_lines",
    "write_report",
]

attach(__name__, called="domain_masks.calls.report:report")
