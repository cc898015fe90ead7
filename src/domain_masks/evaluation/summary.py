"""The accuracies of ``results.json``, computed from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from domain_masks.evaluation.accuracy import (
    balanced_accuracy,
    by_domain,
    mean_over_domains,
    per_domain_accuracy,
    top1,
    worst_domain,
)
from domain_masks.evaluation.ensembles import check_ensemble
from domain_masks.evaluation.measured_samples import samples_by_measure
from domain_masks.records.ensemble_names import PREDICTION_ENSEMBLE
from domain_masks.records.predictions import Predictions
from domain_masks.records.results import Accuracies


def summarize(predictions: Predictions, split: str, split_shown: str) -> Accuracies:
    """Return the accuracies of all ensembles on one split; those of the prediction ensemble also domain by domain.

    ``split`` selects the samples, ``split_shown`` is its name in the result. All are fractions in [0, 1] and
    unweighted means over domains (the paper's "Overall"). Raises InputError if the split has no samples.
    """
    return _with_ensembles(predictions.select(split=split), split_shown)


def accuracies(predictions: Predictions, held_out_shown: str = "held_out") -> dict[str, Accuracies]:
    """Return "out_of_domain", "in_domain" and "known_domain", without those that cannot be computed.

    See :func:`samples_by_measure` for the samples; the split "held_out" gets the name ``held_out_shown`` (the official list
    that it is).
    """
    by_measure = {}
    for measure, samples in samples_by_measure(predictions).items():
        shown = held_out_shown if measure == "out_of_domain" else str(samples.splits[0])
        summarised = _summary if measure == "known_domain" else _with_ensembles
        by_measure[measure] = summarised(samples, shown)
    return by_measure


def accuracies_under(
    predictions: Predictions, ensemble: str, held_out_shown: str = "held_out"
) -> dict[str, Accuracies]:
    """Return "out_of_domain" and "in_domain" with ``ensemble`` in place of the prediction ensemble, and of no other one.

    See :func:`accuracies` for the samples. Raises InputError for an ensemble that does not exist.
    """
    check_ensemble(predictions, ensemble)
    chosen = replace(predictions, logits={PREDICTION_ENSEMBLE: predictions.of(ensemble)})
    shown = accuracies(chosen, held_out_shown)
    return {name: part.model_copy(update={"by_ensemble": {ensemble: part.accuracy}}) for name, part in shown.items()}


def _with_ensembles(samples: Predictions, split_shown: str) -> Accuracies:
    by_ensemble = {name: mean_over_domains(per_domain_accuracy(samples, name)) for name in samples.ensembles}
    return _summary(samples, split_shown, by_ensemble)


def _summary(predictions: Predictions, split_shown: str, by_ensemble: Mapping[str, float] = {}) -> Accuracies:
    """Return the accuracies of the prediction ensemble."""
    parts = by_domain(predictions, predictions.of(PREDICTION_ENSEMBLE))
    per_domain = {name: top1(*part) for name, part in parts.items()}
    return Accuracies(
        split=split_shown,
        accuracy=mean_over_domains(per_domain),
        count=len(predictions),
        per_domain=per_domain,
        count_per_domain={name: len(labels) for name, (_, labels) in parts.items()},
        by_ensemble=dict(by_ensemble),
        balanced_accuracy=mean_over_domains({name: balanced_accuracy(*part) for name, part in parts.items()}),
        worst_domain=worst_domain(per_domain),
    )
