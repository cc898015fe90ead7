"""Batch norm over the rows of all processes, also on a CPU, for which PyTorch has no synchronised one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from domain_masks.processes import sum_over_processes
from domain_masks.randomness import BatchRandomness

_FUNCTIONAL = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
_PLAIN = ("input", "weight", "bias", "running_mean", "running_var", "training", "momentum", "eps", "cudnn_enabled")


class GlobalBatchNorm(TorchFunctionMode):
    """Computes the statistics of batch norm, within the block, over the rows of all processes.

    Every call of batch norm is replaced, whatever module makes it, except on tensors without rows of the batch, such as
    weights. All processes have to call the same layers in the same order.
    """

    def __init__(self, random: BatchRandomness, processes: int) -> None:
        super().__init__()
        # Decided alike on all processes, however many rows each has: all have to take part in the same reductions.
        self._alone = random.total // processes > 1

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function; replace batch norm in training mode by the one over all processes."""
        names = {nn.functional.batch_norm: _FUNCTIONAL, torch.batch_norm: _PLAIN}.get(func)
        keywords = dict(kwargs or {})
        if names is not None:
            values = dict(zip(names, args, strict=False)) | keywords
            values.pop("cudnn_enabled", None)
            tracked = values.get("running_mean") is not None
            if values.get("training") and (tracked or (self._alone and values["input"].shape[0] > 1)):
                return normalised(
                    values["input"],
                    (values.get("running_mean"), values.get("running_var")),
                    (values.get("weight"), values.get("bias")),
                    values.get("momentum", 0.1),
                    values.get("eps", 1e-5),
                )
        return func(*args, **keywords)


def normalised(
    images: Tensor,
    running: tuple[Tensor | None, Tensor | None],
    affine: tuple[Tensor | None, Tensor | None],
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return batch norm of activations (N, C, ...) in training mode, with the statistics of the rows of all processes.

    - ``running``: mean and variance (C,), which are updated; ``affine``: weight and bias (C,)

    It can be differentiated to any order; gradients are those of the sum of the losses of all processes. Raises ValueError
    where there is only one value per channel.
    """
    (running_mean, running_var), (weight, bias) = running, affine
    places = [axis for axis in range(images.dim()) if axis != 1]
    shape = [1, -1] + [1] * (images.dim() - 2)
    # Sums in double precision, as PyTorch's own on a CPU.
    sums = images.sum(places, dtype=torch.float64)
    own = sums.new_tensor([images.numel() / max(1, images.shape[1])])
    totals = sum_over_processes(torch.cat([sums, own]))
    count = totals[-1].detach()
    if float(count) <= 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(images.shape)}")
    mean = totals[:-1] / count
    precision = torch.promote_types(images.dtype, torch.float32)
    centred = images.to(precision) - mean.to(precision).reshape(shape)
    variance = sum_over_processes(centred.square().sum(places, dtype=torch.float64)) / count
    with torch.no_grad():
        if running_mean is not None:
            running_mean.mul_(1 - momentum).add_(mean.to(running_mean.dtype), alpha=momentum)
        if running_var is not None:
            unbiased = variance * count / (count - 1)
            running_var.mul_(1 - momentum).add_(unbiased.to(running_var.dtype), alpha=momentum)
    scale = (variance + eps).rsqrt().to(precision)
    if weight is not None:
        scale = scale * weight
    result = centred * scale.reshape(shape)
    if bias is not None:
        result = result + bias.reshape(shape)
    converted: Tensor = result.to(images.dtype)
    return converted
