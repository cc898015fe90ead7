"""What ``dmg analyze`` has left in run folders."""

from __future__ import annotations

from dataclasses import dataclass

from domain_masks.errors import DomainMasksError
from domain_masks.records import Analysis
from domain_masks.records.collection import RunRecord
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.results import Accuracies

_SAME = 1e-9


@dataclass(frozen=True, eq=False)
class StoredAnalysis:
    """The analysis of one run, None where there is none; ``problem`` says why one that is there is not used."""

    analysis: Analysis | None
    problem: str = ""


def stored_analysis(record: RunRecord) -> StoredAnalysis:
    """Read a run's analysis; one that cannot be read, or is of other predictions than the run's results, is not used."""
    path = record.folder.analysis
    if not path.is_file():
        return StoredAnalysis(None)
    try:
        analysis = Analysis.read(path)
    except DomainMasksError as error:
        return StoredAnalysis(None, str(error))
    results = record.results
    if not (_agree(analysis, results.out_of_domain, "held_out") and _agree(analysis, results.in_domain)):
        again = f"`dmg analyze {record.folder.path}` writes it anew"
        return StoredAnalysis(None, f"{path} is older than the run's results, whose accuracies are others: {again}")
    return StoredAnalysis(analysis)


def _agree(analysis: Analysis, measured: Accuracies | None, split: str = "") -> bool:
    """Whether the accuracies of the same images are the same."""
    if measured is None:
        return True
    accuracies = analysis.mask_by_domain.get(PREDICTION_ENSEMBLE, {})
    return all(
        abs(accuracies[domain] - accuracy) < _SAME
        for domain, accuracy in measured.per_domain.items()
        if domain in accuracies and analysis.mask_by_domain_splits.get(domain) == (split or measured.split)
    )
