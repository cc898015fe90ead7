"""The samples of each reported number of a run: one choice for results, tables, tests and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from domain_masks.evaluation.accuracy import known_domain_logits
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, PREDICTION_ENSEMBLE
from domain_masks.records.predictions import Predictions

_OF_SOURCES = ("test", "validation")
"""Splits of the sources that are measured: the first one with samples."""


def samples_by_measure(predictions: Predictions) -> dict[str, Predictions]:
    """Return "out_of_domain", "in_domain" and "known_domain" -> the samples of each, without those that have none.

    Out of domain is the split "held_out". In domain is the sources' split "test" where there is one, otherwise "validation".
    Known domain uses the same samples, if every source among them has its own mask or head: its prediction ensemble, the
    only ensemble, is the prediction of each sample's own domain.
    """
    by_measure: dict[str, Predictions] = {}
    held_out = predictions.select(split="held_out")
    if len(held_out):
        by_measure["out_of_domain"] = held_out
    sources = [index for index, name in enumerate(predictions.domain_names) if name in predictions.sources]
    of_sources = predictions.rows(np.isin(predictions.domains, sources))
    split = _first_split(of_sources.splits)
    if split is None:
        return by_measure
    by_measure["in_domain"] = measured = of_sources.select(split=split)
    own = {KNOWN_DOMAIN + measured.domain_names[index] for index in np.unique(measured.domains)}
    if own <= set(measured.ensembles):
        by_measure["known_domain"] = replace(measured, logits={PREDICTION_ENSEMBLE: known_domain_logits(measured)})
    return by_measure


def reporting_splits(predictions: Predictions) -> dict[str, str]:
    """Return domain -> its reported split: "test" or else "validation" of a source, "held_out" of another domain.

    Sources come first, in the order of the masks' rows; domains without images are left out.
    """
    held_out = [name for name in predictions.domain_names if name not in predictions.sources]
    by_domain = {}
    for domain in (*predictions.sources, *held_out):
        own = predictions.splits[predictions.domains == predictions.domain_names.index(domain)]
        split = _first_split(own, _OF_SOURCES if domain in predictions.sources else ("held_out",))
        if split is not None:
            by_domain[domain] = split
    return by_domain


def samples_by_domain(predictions: Predictions) -> dict[str, Predictions]:
    """Return domain -> its samples in the split that :func:`reporting_splits` names."""
    return {
        domain: predictions.select(split=split, domain=domain)
        for domain, split in reporting_splits(predictions).items()
    }


def _first_split(splits: NDArray[np.str_], order: Sequence[str] = _OF_SOURCES) -> str | None:
    return next((name for name in order if (splits == name).any()), None)
