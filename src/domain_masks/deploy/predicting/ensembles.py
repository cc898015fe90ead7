"""From a method and the name of an ensemble to the factors of one mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.evaluation.ensembles import require_ensemble
from domain_masks.methods import Method
from domain_masks.methods.base import MASKS, known
from domain_masks.networks import MaskedNetwork


def ensembles_of(method: Method) -> tuple[str, ...]:
    """Return the names of the predictions that a method has, by asking for those of one empty image."""
    size = method.network.image_size
    first = next(method.parameters())
    images = torch.zeros(1, 3, size, size, dtype=first.dtype, device=first.device)
    with torch.inference_mode():
        return tuple(method.predict(DomainBatch(images, None, None, torch.zeros(1, dtype=torch.int64))))


def check_ensemble(method: Method, ensemble: str, there: Sequence[str], targets: Sequence[str] = ()) -> None:
    """Raise InputError, which says what there is and why, unless ``ensemble`` is among those that are ``there``.

    ``targets`` are the domains that were held out, as far as they are known.
    """
    advice = "`dmg evaluate RUN` on the run of a method with masks writes a model that has one"
    sources, described = method.context.sources, f"method {method.name!r}"
    require_ensemble(ensemble, there, sources, targets, advice if method.predicts_by_domain else None, described)


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
