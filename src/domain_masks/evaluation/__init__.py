"""Accuracy per domain and ensemble, calibration, intervals and tests: pure functions over predictions."""

from domain_masks.evaluation.accuracy import (
    balanced_accuracy,
    known_domain_logits,
    mean_over_domains,
    per_domain_accuracy,
    top1,
    worst_domain,
)
from domain_masks.evaluation.calibration import expected_calibration_error, reliability
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
from domain_masks.evaluation.selection import SELECTION_RULES, Choice, SelectedResult, choose, selected
from domain_masks.evaluation.summary import accuracies, accuracies_under, summarize
from domain_masks.evaluation.variants import Variant, variants

__all__ = [
    "SELECTION_RULES",
    "Choice",
    "SelectedResult",
    "Variant",
    "accuracies",
    "accuracies_under",
    "accuracy_interval",
    "average_logits",
    "average_probabilities",
    "balanced_accuracy",
    "bootstrap_interval",
    "can_be_weighted",
    "check_ensemble",
    "choose",
    "compare",
    "exact_mcnemar",
    "expected_calibration_error",
    "known_domain_logits",
    "mean_and_standard_deviation",
    "mean_over_domains",
    "per_domain_accuracy",
    "recombine",
    "reliability",
    "selected",
    "summarize",
    "top1",
    "variants",
    "worst_domain",
]
