"""Compare a written file with its model: the logits of both on the same images."""

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
"""Of the largest logit, or of 1 where all are smaller."""
_SINGLE = 3


@dataclass(frozen=True)
class Parity:
    """What the comparison of a file with its model gave.

    - ``images``, ``origin``: how many, and from where
    - ``batch_sizes``: with which the file was run
    - ``largest``: the largest difference of a logit
    - ``allowed``: how large it may be
    - ``agreeing``: images that get the same class
    - ``levels``: by how many of 255 levels the file's own preprocessing differs from Pillow's at most, or None
    - ``allowed_levels``: by how many it may
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
        """Whether the logits are equal within what is allowed; NaN never is."""
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
    """Run a file on images one by one and together, and compare its logits with those of ``reference``.

    - ``reference``: normalised images -> logits, float32
    - ``inside``: whether the file takes bytes and does the preprocessing itself
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
            # Not max(): it would pass over NaN.
            largest = difference if not difference <= largest else largest
            scale = max(scale, float(expected.abs().max()))
            sizes.append(len(batch))
            if len(batch) > 1 or len(images.images) == 1:
                agreeing += int((got.argmax(1) == expected.argmax(1)).sum())
                count += len(batch)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    levels = max(level_difference(preprocessing, one.raw, one.prepared) for one in images.images) if inside else None
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
    """Yield a few images alone, in their own sizes where the file takes any, then all together."""
    for one in images[: len(images) if inside else _SINGLE]:
        yield one.raw if inside else one.prepared.unsqueeze(0)
    if len(images) > 1:
        yield torch.stack([one.prepared for one in images])


def require(parity: Parity, path: Path, runtime: str) -> None:
    """Raise ParityError where the file's logits are not the model's."""
    if not parity.holds:
        raise ParityError(
            f"{path} is not kept: run by {runtime}, its logits are not the model's: {parity}. Try another --opset or "
            "--format, or leave out --half"
        )
