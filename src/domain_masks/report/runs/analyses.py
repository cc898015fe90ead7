"""Read the analyses that ``dmg analyze`` wrote into run folders."""

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
    """The analysis of one run, or None; ``problem`` says why an existing one is not used."""

    analysis: Analysis | None
    problem: str = ""


def stored_analysis(record: RunRecord) -> StoredAnalysis:
    """Read a run's analysis; one that cannot be read or does not match the run's results is not used."""
    path = record.folder.analysis
    if not path.is_file():
        return StoredAnalysis(None)
    try:
        analysis = Analysis.read(path)
    except DomainMasksError as error:
        return StoredAnalysis(None, str(error))
    results, command = record.results, f"`dmg analyze {record.folder.path}` updates it"
    if not (_agree(analysis, results.out_of_domain, "held_out") and _agree(analysis, results.in_domain)):
        return StoredAnalysis(None, f"{path} is older than the run's results and has other accuracies: {command}")
    fitted = (results.temperatures or {}).get(PREDICTION_ENSEMBLE)
    if any(part.temperature != (fitted and fitted.value) for part in analysis.calibration.values()):
        return StoredAnalysis(
            None, f"{path} has probabilities with another temperature than the run's results: {command}"
        )
    return StoredAnalysis(analysis)


def _agree(analysis: Analysis, measured: Accuracies | None, split: str = "") -> bool:
    """Whether the analysis has the same accuracies on the same images."""
    if measured is None:
        return True
    accuracies = analysis.mask_by_domain.get(PREDICTION_ENSEMBLE, {})
    return all(
        abs(accuracies[domain] - accuracy) < _SAME
        for domain, accuracy in measured.per_domain.items()
        if domain in accuracies and analysis.mask_by_domain_splits.get(domain) == (split or measured.split)
    )
