"""Accuracy per domain and ensemble, calibration, intervals and tests: pure functions over predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.evaluation.accuracy import (
        balanced_accuracy,
        known_domain_logits,
        mean_over_domains,
        per_domain_accuracy,
        top1,
        worst_domain,
    )
    from domain_masks.evaluation.by_mask import (
        NEAREST_RULES,
        NearestOnDomain,
        mask_by_domain,
        nearest_accuracy,
        nearest_by_rule,
        nearest_logits,
        nearest_of,
        nearest_on_domain,
        nearest_source,
        nearness,
        source_logits,
    )
    from domain_masks.evaluation.calibration import (
        calibrated_logits,
        expected_calibration_error,
        fit_temperature,
        fitted_temperatures,
        reliability,
    )
    from domain_masks.evaluation.confusion import (
        classes_with_most_errors,
        confusion_matrix,
        most_confused,
        per_class_accuracy,
    )
    from domain_masks.evaluation.ensembles import (
        average_logits,
        average_probabilities,
        can_be_weighted,
        check_ensemble,
        recombine,
    )
    from domain_masks.evaluation.intervals import (
        accuracy_interval,
        bootstrap_interval,
        compare,
        exact_mcnemar,
        mean_and_standard_deviation,
    )
    from domain_masks.evaluation.measured_samples import reporting_splits, samples_by_domain, samples_by_measure
    from domain_masks.evaluation.metrics import (
        domain_metrics,
        macro_f1,
        metrics,
        one_vs_rest_auroc,
        top_k_accuracy,
        worst_group,
    )
    from domain_masks.evaluation.selection import SelectedResult, VariantChoice, choose, selected
    from domain_masks.evaluation.selection_rules import SELECTION_RULES
    from domain_masks.evaluation.summary import accuracies, accuracies_under, summarize
    from domain_masks.evaluation.variants import Variant, variants

__all__ = [
    "NEAREST_RULES",
    "SELECTION_RULES",
    "NearestOnDomain",
    "SelectedResult",
    "Variant",
    "VariantChoice",
    "accuracies",
    "accuracies_under",
    "accuracy_interval",
    "average_logits",
    "average_probabilities",
    "balanced_accuracy",
    "bootstrap_interval",
    "calibrated_logits",
    "can_be_weighted",
    "check_ensemble",
    "choose",
    "classes_with_most_errors",
    "compare",
    "confusion_matrix",
    "domain_metrics",
    "exact_mcnemar",
    "expected_calibration_error",
    "fit_temperature",
    "fitted_temperatures",
    "known_domain_logits",
    "macro_f1",
    "mask_by_domain",
    "mean_and_standard_deviation",
    "mean_over_domains",
    "metrics",
    "most_confused",
    "nearest_accuracy",
    "nearest_by_rule",
    "nearest_logits",
    "nearest_of",
    "nearest_on_domain",
    "nearest_source",
    "nearness",
    "one_vs_rest_auroc",
    "per_class_accuracy",
    "per_domain_accuracy",
    "recombine",
    "reliability",
    "reporting_splits",
    "samples_by_domain",
    "samples_by_measure",
    "selected",
    "source_logits",
    "summarize",
    "top1",
    "top_k_accuracy",
    "variants",
    "worst_domain",
    "worst_group",
]

attach(__name__)
