"""Which rows make up each batch of an epoch: see :mod:`domain_masks.sampling`, whose names settings know without torch."""

from domain_masks.sampling import SAMPLING, balanced_batches, keyed_permutation, pooled_batches

__all__ = ["SAMPLING", "balanced_batches", "keyed_permutation", "pooled_batches"]
