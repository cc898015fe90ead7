"""Predictions that are averaged over several views of each image (test-time augmentation)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods.averaging import average
from domain_masks.methods.base import Method
from domain_masks.methods.prediction import BatchOutput, output_of

CROP = 7 / 8
"""The side of a crop, as a fraction of the image's."""


def views_of(images: Tensor, tta: str) -> Iterator[Tensor]:
    """Yield the views of prepared images (N, 3, S, S), of the same shape, the images themselves first.

    - ``tta``: "flips" is the image and its mirror image, "flips+crops" also four corner crops, resized to S, and theirs
    """
    side = images.shape[-1]
    cropped = max(1, round(CROP * side))
    yield images
    yield images.flip(-1)
    if tta != "flips+crops":
        return
    for top in (0, side - cropped):
        for left in (0, side - cropped):
            crop = images[..., top : top + cropped, left : left + cropped]
            resized = functional.interpolate(crop.float(), (side, side), mode="bilinear", align_corners=False)
            yield resized.to(images.dtype)
            yield resized.to(images.dtype).flip(-1)


def output_over_views(method: Method, batch: DomainBatch, tta: str) -> BatchOutput:
    """Return the output of a method for the mean over all views of its images.

    Probabilities are averaged, those of each ensemble by themselves; the logits are their logarithm. Raises ValueError for a
    batch without images.
    """
    if batch.images is None:
        raise ValueError("expected a batch with images to look at in several views, got features")
    outputs = [
        output_of(method, DomainBatch(view.contiguous(), None, None, batch.ids)) for view in views_of(batch.images, tta)
    ]
    logits = {
        name: average(torch.stack([output.logits[name] for output in outputs]).double(), "probabilities").float()
        for name in outputs[0].logits
    }
    domains = [output.domains for output in outputs if output.domains is not None]
    return BatchOutput(logits, torch.stack(domains).mean(0) if domains else None)
