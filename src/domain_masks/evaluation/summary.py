"""The accuracies of ``results.json``, computed from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domain_masks.evaluation.accuracy import (
    balanced_accuracy,
    by_domain,
    known_domain_logits,
    mean_over_domains,
    per_domain_accuracy,
    top1,
    worst_domain,
)
from domain_masks.evaluation.ensembles import check_ensemble
from domain_masks.records.predictions import KNOWN_DOMAIN, PREDICTION_ENSEMBLE, Predictions
from domain_masks.records.results import Accuracies


def summarize(predictions: Predictions, split: str, split_shown: str) -> Accuracies:
    """Return the accuracies of all ensembles on one split; those of the prediction ensemble also domain by domain.

    ``split`` selects the samples, ``split_shown`` is what the result calls them. All are fractions in [0, 1] and
    unweighted means over domains (the paper's "Overall"). Raises InputError if the split has no samples.
    """
    chosen = predictions.select(split=split)
    by_ensemble = {name: mean_over_domains(per_domain_accuracy(chosen, name)) for name in chosen.ensembles}
    return _summary(chosen, chosen.of(PREDICTION_ENSEMBLE), split_shown, by_ensemble)


def accuracies(predictions: Predictions, held_out_shown: str = "held_out") -> dict[str, Accuracies]:
    """Return "out_of_domain", "in_domain" and "known_domain", without those that cannot be computed.

    Out of domain is the split "held_out", shown as ``held_out_shown`` (which of the domain's lists it is). In domain is
    the sources' split "test" where there is one; otherwise it is "validation" and says so. Known domain is measured on
    the same samples, if every source among them has a mask or head of its own.
    """
    found: dict[str, Accuracies] = {}
    if (predictions.splits == "held_out").any():
        found["out_of_domain"] = summarize(predictions, "held_out", held_out_shown)
    sources = [index for index, name in enumerate(predictions.domain_names) if name in predictions.sources]
    inside = predictions.rows(np.isin(predictions.domains, sources))
    split = next((name for name in ("test", "validation") if (inside.splits == name).any()), None)
    if split is None:
        return found
    found["in_domain"] = summarize(inside, split, split)
    chosen = inside.select(split=split)
    own = {KNOWN_DOMAIN + chosen.domain_names[index] for index in np.unique(chosen.domains)}
    if own <= set(chosen.ensembles):
        found["known_domain"] = _summary(chosen, known_domain_logits(chosen), split)
    return found


def accuracies_under(
    predictions: Predictions, ensemble: str, held_out_shown: str = "held_out"
) -> dict[str, Accuracies]:
    """Return "out_of_domain" and "in_domain" with ``ensemble`` in the place of the prediction ensemble.

    See :func:`accuracies` for the samples. Raises InputError for an ensemble that does not exist.
    """
    check_ensemble(predictions, ensemble)
    chosen = replace(predictions, logits={PREDICTION_ENSEMBLE: predictions.of(ensemble)})
    return accuracies(chosen, held_out_shown)


def _summary(
    predictions: Predictions, logits: NDArray[Any], split_shown: str, by_ensemble: Mapping[str, float] = {}
) -> Accuracies:
    """Return the accuracies of ``logits`` (N, C) on the samples of ``predictions``."""
    parts = by_domain(predictions, logits)
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
