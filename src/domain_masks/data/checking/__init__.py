"""Everything that is wrong or odd about a dataset, found at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.data.checking.examination import check
    from domain_masks.data.checking.findings import Example, Finding
    from domain_masks.data.checking.index import CheckedImage, Index
    from domain_masks.data.checking.report import Report

__all__ = ["CheckedImage", "Example", "Finding", "Index", "Report", "check"]

attach(
    __name__,
    {
        "examination": ("check",),
        "findings": (
            "Example",
            "Finding",
        ),
        "index": (
            "Index",
            "CheckedImage",
        ),
        "report": ("Report",),
    },
)
