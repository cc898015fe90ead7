"""Everything that is wrong or odd about a dataset, found at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.data.checking.check_report import CheckReport, check_extension
    from domain_masks.data.checking.examination import check

__all__ = ["CheckReport", "check", "check_extension"]

attach(__name__)
