"""How a dataset is divided for a run."""

from __future__ import annotations

from domain_masks.data import DomainSplits, ImageDataset, split_domains
from domain_masks.methods.table import method_class
from domain_masks.records.config import RunConfig


def splits_of(config: RunConfig, dataset: ImageDataset) -> DomainSplits:
    """Return the dataset divided as ``config`` says; raises InputError as :func:`split_domains` does.

    A method says how many source domains it needs (``fewest_sources``).
    """
    fewest = method_class(config.method_name).fewest_sources
    return split_domains(dataset, config.target or (), config.split_seed, fewest)
