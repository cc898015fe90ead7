"""The options of prediction at test time, which ``dmg predict`` and ``dmg evaluate`` share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from domain_masks.records.test_time import BATCH, TENT, TENT_RATE, AtTestTime

Views = Literal["flips", "flips+crops"]
Adaptation = Literal["batch-norm", "tent"]
TTA_HELP = "average the probabilities of an image and its mirror image, or also of four corner crops and theirs"
ADAPT_HELP = (
    "adapt a copy of the network to the unlabelled images that are predicted: batch-norm statistics of all of them, or tent, "
    "which minimises entropy batch by batch; numbers are marked"
)
RATE_HELP = "learning rate of tent"


def of_test_time(
    tta: Views | None, adapt: Adaptation | None, rate: float | None, batch: int | None
) -> AtTestTime | None:
    """Return the option, or None for ordinary predictions."""
    if tta is None and adapt is None:
        return None
    return AtTestTime(tta, adapt, TENT_RATE if rate is None else rate, BATCH if batch is None else batch)


def contradictions_of(tta: str | None, adapt: str | None, rate: float | None) -> Iterator[str]:
    """Yield a line for each contradiction between the options."""
    if tta is not None and adapt is not None:
        yield f"tta and adapt: expected one of them, got --tta {tta} and --adapt {adapt}"
    if rate is not None and adapt != TENT:
        yield "adapt_rate: belongs to --adapt tent: add that, or leave it out"
