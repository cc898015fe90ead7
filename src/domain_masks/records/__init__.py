"""What a run leaves behind: the files of a run folder, their schemas, reading and writing them whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.records.analysis import Analysis
    from domain_masks.records.files import read_json, write_json, write_whole, writing
    from domain_masks.records.metrics_log import MetricsLog
    from domain_masks.records.predictions import Predictions
    from domain_masks.records.results import Accuracies, Results, SelectionProtocol, SiteMasks
    from domain_masks.records.run_folder import RunFolder

__all__ = [
    "Accuracies",
    "Analysis",
    "MetricsLog",
    "Predictions",
    "Results",
    "RunFolder",
    "SelectionProtocol",
    "SiteMasks",
    "read_json",
    "write_json",
    "write_whole",
    "writing",
]

attach(__name__)
