"""Domain-specific masks as tensors: sampling, overlap, sparsity, and the module that holds the logits."""

from domain_masks.masks.functional import (
    hard_masks,
    mask_probabilities,
    overlap_loss,
    pairwise_soft_iou,
    sample_masks,
    soft_iou,
    sparsity_loss,
)
from domain_masks.masks.module import DomainMasks
from domain_masks.masks.statistics import NeuronCounts, mask_statistics, neuron_counts, neuron_kinds

__all__ = [
    "DomainMasks",
    "NeuronCounts",
    "hard_masks",
    "mask_probabilities",
    "mask_statistics",
    "neuron_counts",
    "neuron_kinds",
    "overlap_loss",
    "pairwise_soft_iou",
    "sample_masks",
    "soft_iou",
    "sparsity_loss",
]
