"""Batch norm with fixed running statistics."""

from __future__ import annotations

from torch import nn


def keep_statistics(network: nn.Module) -> None:
    """Set the batch norm of ``network`` to evaluation mode, until its next ``train()``; weight and bias are still trained."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
