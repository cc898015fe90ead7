"""Whether two methods answer alike: the one that was trained, and the one that its files give back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import ParityError
from domain_masks.methods.base import Method
from domain_masks.randomness import generator


@torch.inference_mode()
def require_same_answers(method: Method, again: Method, folder: Path) -> None:
    """Raise ParityError unless both methods answer alike about a few images of noise."""
    size = method.context.image_size
    noise = torch.randn(2, 3, size, size, generator=generator(0, "saved-model"))
    batch = DomainBatch(noise.to(device_of(method)), None, None, torch.arange(2, device=device_of(method)))
    training = method.training
    try:
        expected, got = method.eval().predict(batch), again.eval().predict(batch)
    finally:
        method.train(training)
    difference = largest_difference(expected, got)
    if not difference <= tolerance(device_of(method)):
        raise ParityError(
            f"the model written to {folder} is not kept: read back, it does not answer as the one that was trained (its logits "
            f"differ by {difference:.2g} of the largest). What its network was made from is not known well enough: use "
            "--weights none, or another backbone"
        )


def tolerance(device: torch.device) -> float:
    """Return by what part of the largest logit two equal models may differ on ``device``, which may add up in any order."""
    return 1e-3 if device.type == "cpu" else 1e-2


def largest_difference(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> float:
    """Return the largest difference of logits, as part of the largest of their ensemble; infinite where one has none.

    - ``expected``, ``got``: ensemble -> logits (N, C)
    """
    if set(expected) != set(got):
        return math.inf
    largest = 0.0
    for name, logits in expected.items():
        scale = float(logits.float().abs().nan_to_num().max())
        difference = float((logits.float() - got[name].float()).abs().max())
        part = difference if difference == 0 else difference / max(scale, 1e-12)
        # Not max(): it would pass over NaN.
        largest = largest if part <= largest else part
    return largest


def device_of(method: Method) -> torch.device:
    """Return where a method computes."""
    return next((tensor.device for tensor in (*method.parameters(), *method.buffers())), torch.device("cpu"))
