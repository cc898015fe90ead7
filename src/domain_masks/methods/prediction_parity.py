"""Check that a trained method and the one loaded from its files predict alike."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import ParityError
from domain_masks.methods.base import Method
from domain_masks.methods.training_only import leave_training, needed_to_predict
from domain_masks.randomness import generator


def require_parity(method: Method, again: Method, folder: Path) -> None:
    """Raise ParityError unless both methods predict alike on a few images of noise.

    ``again`` is without what training alone needs: raises InputError where it cannot predict so.
    """
    difference = _difference(method, again)
    if not difference <= tolerance(device_of(method)):
        raise ParityError(
            f"the model written to {folder} is not kept: read back, it does not predict as the one that was trained (its "
            f"logits differ by {difference:.2g} of the largest). What its network was made from is not known well enough: use "
            "--weights none, or another backbone"
        )


def require_prediction_without_training(method: Method) -> None:
    """Raise InputError where ``method`` predicts otherwise, or not at all, without what it says that training alone needs."""
    if not method.training_only():
        return
    without = copy.deepcopy(method)
    leave_training(without)
    difference = _difference(method, without)
    if not difference <= tolerance(device_of(method)):
        reason = f"its logits differ by {difference:.2g} of the largest"
        raise needed_to_predict(method, reason)


@torch.inference_mode()
def _difference(method: Method, again: Method) -> float:
    """Return the largest difference of logits about a few images of noise, as part of the largest."""
    size, device, training = method.context.image_size, device_of(method), method.training
    noise = torch.randn(2, 3, size, size, generator=generator(0, "saved-model"))
    batch = DomainBatch(noise.to(device), None, None, torch.arange(2, device=device))
    try:
        expected = method.eval().predict(batch)
    finally:
        method.train(training)
    try:
        return largest_difference(expected, again.eval().predict(batch))
    except Exception as error:
        if not method.training_only():
            raise
        raise needed_to_predict(method, f"{type(error).__name__}: {error}") from error


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
    """Return the device of a method."""
    return next((tensor.device for tensor in (*method.parameters(), *method.buffers())), torch.device("cpu"))
