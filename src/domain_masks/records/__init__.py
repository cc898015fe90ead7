"""What a run leaves behind: the files of a run folder, their schemas, reading and writing them whole."""

from domain_masks.records.analysis import Analysis
from domain_masks.records.files import read_json, write_json, write_whole, writing
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.predictions import Predictions
from domain_masks.records.results import Accuracies, Protocol, Results, SiteMasks
from domain_masks.records.run_folder import RunFolder

__all__ = [
    "Accuracies",
    "Analysis",
    "MetricsLog",
    "Predictions",
    "Protocol",
    "Results",
    "RunFolder",
    "SiteMasks",
    "read_json",
    "write_json",
    "write_whole",
    "writing",
]
