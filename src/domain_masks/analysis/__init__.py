"""What the masks of a run learned: tables, figures and galleries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.analysis.analyzing import IMAGES, analyze
    from domain_masks.analysis.sites import histogram, site_analysis, site_epochs
    from domain_masks.analysis.summary import summary_lines

__all__ = ["IMAGES", "analyze", "histogram", "site_analysis", "site_epochs", "summary_lines"]

attach(
    __name__,
    {
        "analyzing": (
            "IMAGES",
            "analyze",
        ),
        "sites": (
            "histogram",
            "site_analysis",
            "site_epochs",
        ),
        "summary": ("summary_lines",),
    },
)
