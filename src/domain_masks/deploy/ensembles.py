"""From a method and the name of an ensemble to the factors of one mask."""

from __future__ import annotations

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import unknown
from domain_masks.methods import Method
from domain_masks.methods.base import MASKS, known
from domain_masks.networks import MaskedNetwork


def ensembles_of(method: Method) -> tuple[str, ...]:
    """Return the names of the predictions that a method has, by asking for those of one empty picture."""
    size = method.network.image_size
    first = next(method.parameters())
    images = torch.zeros(1, 3, size, size, dtype=first.dtype, device=first.device)
    with torch.inference_mode():
        return tuple(method.predict(DomainBatch(images, None, None, torch.zeros(1, dtype=torch.int64))))


def check_ensemble(method: Method, ensemble: str) -> None:
    """Raise InputError unless ``method`` has the ensemble: lists those that it has."""
    there = ensembles_of(method)
    if ensemble not in there:
        raise unknown("ensemble", ensemble, there)


def mask_factors(method: Method, ensemble: str) -> dict[str, Tensor] | None:
    """Return site -> factors (K,) where an ensemble is one pass under one mask; None where it is not.

    ``masks`` is the mean over the source domains' probabilities (Section 7.3), ``known:DOMAIN`` those of one of them.
    """
    if not isinstance(method.network, MaskedNetwork):
        return None
    soft = {site: mask.detach() for site, mask in method.network.masks.probabilities().items()}
    if ensemble == MASKS:
        return {site: mask.mean(0) for site, mask in soft.items()}
    names = [known(source) for source in method.context.sources]
    if ensemble not in names:
        return None
    return {site: mask[names.index(ensemble)] for site, mask in soft.items()}
