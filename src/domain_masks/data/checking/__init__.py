"""Checks of a dataset that report all errors and oddities at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.data.checking.check_report import CheckReport, check_extension
    from domain_masks.data.checking.examination import check

__all__ = ["CheckReport", "check", "check_extension"]

attach(__name__)
