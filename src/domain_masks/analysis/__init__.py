"""Analysis of what the masks of a run learned, written to ``analysis.json``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.analysis.analyzing import IMAGES, analyze
    from domain_masks.analysis.site_analysis import histogram, site_analysis

__all__ = ["IMAGES", "analyze", "histogram", "site_analysis"]

attach(__name__)
