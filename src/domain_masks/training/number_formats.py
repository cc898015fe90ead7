"""Precision and memory layout: the context of steps, and what ``--precision auto`` and ``--channels_last auto`` choose."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from lightning_fabric import Fabric
from torch import nn

from domain_masks.devices import choose_device
from domain_masks.methods.method_registry import described
from domain_masks.networks.backbones import build_architecture
from domain_masks.networks.convolutions import FastStridedGradients
from domain_masks.records.config import AUTO, RunConfig
from domain_masks.training.backbone_builder import architecture_for

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SMALL = "small"
_SMALL_WHY = "the network is small"
_FEW_PIXELS = 64


def is_convolutional(network: nn.Module) -> bool:
    """Whether at least half of a network's layers with weights are convolutions, as in CNNs and unlike in transformers."""
    modules = list(network.modules())
    linear = sum(isinstance(module, nn.Linear) for module in modules)
    return sum(isinstance(module, _CONVOLUTIONS) for module in modules) > linear


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device multiplies in bf16 by instructions of its own, and not by way of single precision."""
    if device.type == "mps":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def formats_for(network: nn.Module, device: torch.device) -> tuple[str, bool]:
    """Return the fastest safe precision and whether channels come last, for training ``network`` on ``device``.

    Single precision where bf16 would be emulated. Half precision (fp16) is never chosen, as its gradients have to be scaled.
    """
    return "bf16" if computes_in_bf16(device) else "32", is_convolutional(network)


@contextmanager
def autocast(fabric: Fabric, config: RunConfig) -> Iterator[None]:
    """Compute within the block in a run's precision, on a CPU with gradients that are fast in bf16.

    With ``--compile`` the gradients are PyTorch's, as its compiler does not take others.
    """
    with ExitStack() as stack:
        stack.enter_context(fabric.autocast())
        if fabric.device.type == "cpu" and config.precision == "bf16" and not config.compile:
            stack.enter_context(FastStridedGradients())
        yield


def resolve_formats(config: RunConfig) -> RunConfig:
    """Return the configuration with values in the place of ``auto`` for precision and channels_last; any other as it is.

    They follow from the network and the device alone, and are the same wherever these are. The network ``small`` keeps single
    precision and channels-first: it gains little, and bf16 costs it accuracy (docs/performance.md).
    """
    if AUTO not in (config.precision, config.channels_last):
        return config
    if config.backbone == _SMALL:
        precision, channels_last = "32", False
    else:
        network = build_architecture(architecture_for(config, None), classes=2)
        precision, channels_last = formats_for(network, choose_device(config.device))
    if described(config.method_name).is_closed_form():
        precision = "32"
    chosen = {"precision": precision, "channels_last": channels_last}
    return config.model_copy(
        update={name: value for name, value in chosen.items() if getattr(config, name) == AUTO},
    )


def chosen_formats(asked: RunConfig, resolved: RunConfig) -> Iterator[str]:
    """Yield a line for each of the two that was left to the machine."""
    device = choose_device(resolved.device)
    does = "computes" if computes_in_bf16(device) else "does not compute"
    is_small = resolved.backbone == _SMALL
    if asked.precision == AUTO:
        yield f"precision: {resolved.precision} (auto: {_SMALL_WHY if is_small else f'the {_named(device)} {does} in bf16'})"
    if asked.channels_last == AUTO:
        why = _SMALL_WHY if is_small else f"by the layers of {resolved.backbone}"
        yield f"channels_last: {str(resolved.channels_last).lower()} (auto: {why})"


def faster_formats(config: RunConfig, network: nn.Module, device: torch.device) -> str | None:
    """Return a line that names ``auto`` where a run by the defaults would be faster with it; None elsewhere."""
    default = (config.precision, config.channels_last) == ("32", False)
    if not default or config.backbone == _SMALL or (config.size or 0) < _FEW_PIXELS:
        return None
    precision, channels_last = formats_for(network, device)
    if (precision, channels_last) == ("32", False):
        return None
    return (
        f"note: --precision auto --channels_last auto would be faster here (precision {precision}, channels_last "
        f"{str(channels_last).lower()}), with other numbers: bf16 rounds to three digits"
    )


def _named(device: torch.device) -> str:
    return "CPU" if device.type == "cpu" else "GPU"
