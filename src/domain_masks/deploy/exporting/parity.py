"""Compare the logits of an exported file with those of its model on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from domain_masks.data import Preprocessing
from domain_masks.deploy.exporting.formats import Run
from domain_masks.deploy.exporting.parity_images import ParityImage, ParityImages
from domain_masks.deploy.exporting.preprocessing_module import LEVELS, PreprocessingInside, level_difference
from domain_masks.errors import ParityError

TOLERANCE = 1e-4
HALF_TOLERANCE = 2e-2
"""Relative to the largest logit, or to 1 if all are smaller."""
_SINGLE = 3


@dataclass(frozen=True)
class Parity:
    """The result of comparing a file with its model.

    - ``images``, ``origin``: number of images and their source
    - ``batch_sizes``: the batch sizes that the file was run with
    - ``largest``: the largest absolute difference of a logit
    - ``allowed``: its tolerance
    - ``agreeing``: number of images with the same predicted class
    - ``levels``: the largest difference of the file's preprocessing from Pillow's, in levels of 255, or None
    - ``allowed_levels``: its tolerance
    """

    images: int
    origin: str
    batch_sizes: tuple[int, ...]
    largest: float
    allowed: float
    agreeing: int
    levels: float | None = None
    allowed_levels: float = LEVELS["bilinear"]

    @property
    def holds(self) -> bool:
        """Whether all differences are within tolerance; NaN never is."""
        return self.largest <= self.allowed and (self.levels is None or self.levels <= self.allowed_levels)

    def __str__(self) -> str:
        sizes = " and ".join(map(str, self.batch_sizes))
        line = (
            f"logits differ by at most {self.largest:.2g} (allowed {self.allowed:.2g}), the same class for {self.agreeing} "
            f"of {self.images} images ({self.origin}; batches of {sizes})"
        )
        return (
            line
            if self.levels is None
            else f"{line}; pixels differ from Pillow's by at most {self.levels:.2g} of 255 levels"
        )


def compare(
    run: Run, reference: nn.Module, images: ParityImages, preprocessing: Preprocessing, inside: bool, half: bool
) -> Parity:
    """Run a file on images one by one and as a batch, and compare its logits with those of ``reference``.

    - ``reference``: normalised images -> logits, float32
    - ``inside``: whether the file takes uint8 images and includes the preprocessing
    - ``half``: whether it computes in float16
    """
    prepare = PreprocessingInside(preprocessing)
    largest = scale = 0.0
    agreeing = count = 0
    sizes = []
    with torch.inference_mode():
        for batch in _batches(images.images, inside):
            normalised = prepare(batch) if inside else preprocessing.normalize(batch)
            got = run((batch if inside else normalised).clone()).float()
            expected = reference(normalised).float()
            difference = float((got - expected).abs().max())
            # Not max(), which would ignore NaN.
            largest = difference if not difference <= largest else largest
            scale = max(scale, float(expected.abs().max()))
            sizes.append(len(batch))
            if len(batch) > 1 or len(images.images) == 1:
                agreeing += int((got.argmax(1) == expected.argmax(1)).sum())
                count += len(batch)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    levels = max(level_difference(preprocessing, i.raw, i.prepared) for i in images.images) if inside else None
    return Parity(
        count,
        images.origin,
        tuple(sorted(set(sizes))),
        largest,
        tolerance * max(1.0, scale),
        agreeing,
        levels,
        LEVELS[preprocessing.interpolation],
    )


def _batches(images: tuple[ParityImage, ...], inside: bool) -> Iterator[Tensor]:
    """Yield single images, in their own sizes if the file takes any size, then one batch of all images."""
    for image in images[: len(images) if inside else _SINGLE]:
        yield image.raw if inside else image.prepared.unsqueeze(0)
    if len(images) > 1:
        yield torch.stack([image.prepared for image in images])


def require(parity: Parity, path: Path, runtime: str) -> None:
    """Raise ParityError if the file's logits differ from the model's."""
    if not parity.holds:
        raise ParityError(
            f"{path} was not kept: run with {runtime}, its logits differ from the model's: {parity}. Try another --opset or "
            "--format, or leave out --half"
        )
