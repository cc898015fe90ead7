"""Batch norm that keeps the statistics that its weights came with."""

from __future__ import annotations

from torch import nn


def keep_statistics(network: nn.Module) -> None:
    """Put the batch norm of ``network`` into evaluation mode, until its next ``train()``; weight and bias still learn."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
