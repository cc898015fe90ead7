"""What prediction does at test time beside one pass over each image, and how numbers say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TTA = ("flips", "flips+crops")
BATCH_NORM, TENT = "batch-norm", "tent"
ADAPTATIONS = (BATCH_NORM, TENT)
TENT_RATE = 1e-3
"""The rate of the published code."""
BATCH = 64


@dataclass(frozen=True)
class AtTestTime:
    """One named option of predicting, which is never the default; its numbers are of a protocol of their own.

    - ``tta``: the views of each image whose probabilities are averaged
    - ``adapt``: how the network is adapted to the unlabelled images that are predicted, one domain at a time
    - ``rate``: of tent; ``batch``: images per batch of an adaptation
    """

    tta: Literal["flips", "flips+crops"] | None = None
    adapt: Literal["batch-norm", "tent"] | None = None
    rate: float = TENT_RATE
    batch: int = BATCH

    @property
    def name(self) -> str:
        """A short name, beside each number."""
        return self.adapt or f"tta {self.tta}"

    def in_words(self) -> str:
        """Return what it does and what it looks at, for the protocol of its numbers."""
        if self.adapt == TENT:
            return (
                "tent: entropy minimisation of the affine parameters of normalisation layers (Adam, "
                f"rate {self.rate:g}, one step per batch of {self.batch}); uses the unlabelled images of the measured domain, "
                "order and batch size matter"
            )
        if self.adapt == BATCH_NORM:
            return f"batch-norm: statistics of all unlabelled images of the measured domain, in batches of {self.batch}"
        views = "the image and its mirror image"
        if self.tta == "flips+crops":
            views = "the image and its four corner crops of 7/8 of the side, each and its mirror image"
        return f"tta {self.tta}: mean probabilities of {views}; uses no other image"
