"""One ensemble of a trained method as a plain module from images to logits, for export."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.data import Preprocessing
from domain_masks.deploy.exporting.fold import FoldedSite, fold, mask_factors
from domain_masks.deploy.exporting.preprocessing_module import PreprocessingInside
from domain_masks.deploy.exporting.prune import Pruned, prune
from domain_masks.deploy.predicting.computation import ensembles_of
from domain_masks.deploy.predicting.model import check_ensemble
from domain_masks.errors import InputError
from domain_masks.methods import Method
from domain_masks.methods.base import MASKS, PREDICTIONS, average
from domain_masks.networks import MaskedNetwork


class PredictionEnsemble(nn.Module):
    """The average of the predictions under every domain's mask (Section 3.2): F once, T once on all domains together.

    - ``network``: its current masks are copied
    - ``how``: what is averaged, ``logits`` or ``probabilities``
    """

    def __init__(self, network: MaskedNetwork, how: Literal["logits", "probabilities"]) -> None:
        super().__init__()
        self.network = network
        self.how = how
        self.sites = tuple(site.name for site in network.sites)
        for index, masks in enumerate(network.masks.probabilities().values()):
            self.register_buffer(f"masks_{index}", masks.detach().clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C) of images (N, 3, H, W)."""
        masks = {site: getattr(self, f"masks_{index}") for index, site in enumerate(self.sites)}
        return average(self.network.soft_logits(self.network.features(images), masks), self.how)


class OneEnsemble(nn.Module):
    """Wraps any method to return the logits of one ensemble."""

    def __init__(self, method: Method, ensemble: str) -> None:
        super().__init__()
        self.method = method
        self.ensemble = ensemble

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C) of images (N, 3, H, W)."""
        ids = torch.zeros(1, dtype=torch.int64, device=images.device)
        return self.method.predict(DomainBatch(images, None, None, ids))[self.ensemble]


@dataclass(frozen=True)
class Classifier:
    """One ensemble of a method, ready for export.

    - ``network``: images (N, 3, H, W), normalised -> logits (N, C)
    - ``reference``: the module to compare with: the method itself, or the folded network before pruning
    - ``folded``: how each site's mask was folded; empty if the ensemble uses more than one mask
    - ``pruned``: what was removed, or None
    """

    network: nn.Module
    reference: nn.Module
    folded: tuple[FoldedSite, ...] = ()
    pruned: Pruned | None = None


def classifier(method: Method, ensemble: str, threshold: float | None = None) -> Classifier:
    """Return one ensemble of ``method`` as a separate module; a single mask is folded into the weights.

    - ``threshold``: remove neurons with a mask probability below it; None removes none

    Raises InputError for an unknown ensemble, and for a threshold with an ensemble that uses more than one mask.
    """
    check_ensemble(method, ensemble, ensembles_of(method))
    method = deepcopy(method).cpu().eval()
    reference = OneEnsemble(method, ensemble).eval()
    factors = mask_factors(method, ensemble)
    if threshold is not None:
        if factors is None:
            raise InputError(
                f"cannot prune the ensemble {ensemble!r}, since its masks need different neurons. Expected a single mask, "
                f"--ensemble {MASKS} or known:DOMAIN, of a method that has masks; got method {method.name!r}"
            )
        pruned = prune(_masked(method), factors, threshold)
        return Classifier(pruned.network, pruned.folded, pruned=pruned)
    if factors is not None:
        folded = fold(_masked(method), factors)
        return Classifier(folded.network, reference, folded.sites)
    if ensemble == PREDICTIONS and isinstance(method.network, MaskedNetwork):
        how: Literal["logits", "probabilities"] = getattr(method.settings, "average", "logits")
        return Classifier(PredictionEnsemble(method.network, how).eval(), reference)
    return Classifier(reference, reference)


def _masked(method: Method) -> MaskedNetwork:
    if not isinstance(method.network, MaskedNetwork):
        raise TypeError(f"expected a network with masks, got {type(method.network).__name__}")
    return method.network


class Calibrated(nn.Module):
    """Divides the logits of a module by a temperature, so that their softmax is a calibrated model's probabilities."""

    def __init__(self, network: nn.Module, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C) divided by the temperature."""
        logits: Tensor = self.network(images)
        return logits / self.temperature


class Deployable(nn.Module):
    """The module that is exported: optional preprocessing, and the classifier in its precision; logits are float32.

    - ``network``: images (N, 3, H, W), normalised -> logits (N, C)
    - ``preprocessing``: None if the file takes normalised images
    - ``half``: compute in float16
    """

    def __init__(self, network: nn.Module, preprocessing: Preprocessing | None = None, half: bool = False) -> None:
        super().__init__()
        self.prepare = None if preprocessing is None else PreprocessingInside(preprocessing)
        self.half_precision = half
        # A copy, since the caller may still use the network in its own precision.
        self.network = deepcopy(network).half() if half else network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, C), float32, of normalised float32 images (N, 3, size, size), or of uint8 images (N, 3, H, W)."""
        inputs = images if self.prepare is None else self.prepare(images)
        logits: Tensor = self.network(inputs.half() if self.half_precision else inputs)
        return logits.float()
