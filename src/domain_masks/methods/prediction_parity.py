"""Check that a trained method and the one loaded from its files have equal predictions."""

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
from domain_masks.methods.training_only import drop_training_only, used_for_prediction
from domain_masks.randomness import generator


def require_parity(method: Method, again: Method, folder: Path) -> None:
    """Raise ParityError unless both methods have equal predictions for a few images of noise.

    ``again`` has no tensors that only training needs; raises InputError if it cannot predict without them.
    """
    difference = _difference(method, again)
    if not difference <= tolerance(device_of(method)):
        raise ParityError(
            f"the model was not written to {folder}: after reloading, its predictions differ from those of the trained model "
            f"(by {difference:.2g} of the largest logit). Its network cannot be rebuilt reliably from the backbone's name: use "
            "--weights none, or another backbone"
        )


def require_prediction_without_training(method: Method) -> None:
    """Raise InputError if ``method`` has other predictions, or none, without the tensors that ``training_only`` names."""
    if not method.training_only():
        return
    without = copy.deepcopy(method)
    drop_training_only(without)
    difference = _difference(method, without)
    if not difference <= tolerance(device_of(method)):
        reason = f"its logits differ by {difference:.2g} of the largest"
        raise used_for_prediction(method, reason)


@torch.inference_mode()
def _difference(method: Method, again: Method) -> float:
    """Return the largest difference of logits for a few images of noise, relative to the largest logit."""
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
        raise used_for_prediction(method, f"{type(error).__name__}: {error}") from error


def tolerance(device: torch.device) -> float:
    """Return the tolerance relative to the largest logit for equal models on ``device``, where sums may change their order."""
    return 1e-3 if device.type == "cpu" else 1e-2


def largest_difference(expected: Mapping[str, Tensor], got: Mapping[str, Tensor]) -> float:
    """Return the largest difference of logits, relative to the largest of their ensemble; infinite if the ensembles differ.

    - ``expected``, ``got``: ensemble -> logits (N, C)
    """
    if set(expected) != set(got):
        return math.inf
    largest = 0.0
    for name, logits in expected.items():
        scale = float(logits.float().abs().nan_to_num().max())
        difference = float((logits.float() - got[name].float()).abs().max())
        relative = difference if difference == 0 else difference / max(scale, 1e-12)
        # Not max(), which would ignore NaN.
        largest = largest if relative <= largest else relative
    return largest


def device_of(method: Method) -> torch.device:
    """Return the device of a method's first tensor; the CPU if it has none."""
    return next((tensor.device for tensor in (*method.parameters(), *method.buffers())), torch.device("cpu"))
