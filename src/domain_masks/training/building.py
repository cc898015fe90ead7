"""What a run's network is made from, whether it begins, goes on, or starts from another run's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods.saving import network_of
from domain_masks.methods.tensor_files import load_tensors, read_tensors
from domain_masks.networks import Architecture, architecture_of, build_backbone
from domain_masks.progress import Reporter
from domain_masks.randomness import seeded
from domain_masks.records.config import RunConfig
from domain_masks.training.initial_model import InitialModel

FACT = "network"
"""Under this name a checkpoint's facts say what the network was made from."""


def architecture_for(config: RunConfig, facts: Mapping[str, Any] | None) -> Architecture:
    """Return what the network of a run is made from.

    - ``facts``: those of the checkpoint that it goes on from; older versions did not note it, and built what ``imagenet`` asks
      for with these weights alone

    Raises InputError for an unknown backbone, RunFolderError for a checkpoint or a model that says none.
    """
    backbone = str(config.backbone)
    if facts is not None:
        if FACT not in facts:
            return architecture_of(backbone, "imagenet" if str(config.weights) == "imagenet" else "none")
        try:
            return Architecture.from_dict(facts[FACT])
        except InputError as error:
            raise RunFolderError(f"the checkpoint does not say what its network was made from: {error}") from error
    if config.init_from is not None:
        origin = InitialModel.read(config.init_from)
        if origin.card["backbone"] == backbone:
            return network_of(origin.card)
    return architecture_of(backbone, str(config.weights))


def synchronised(network: nn.Module) -> nn.Module:
    """Let all batch norm in a network or method share its statistics with other processes, also timm's with an activation."""
    if any(type(module).__module__.partition(".")[0] == "timm" for module in network.modules()):
        from timm.layers.norm_act import convert_sync_batchnorm  # noqa: PLC0415

        # PyTorch's own conversion would lose the activation that timm puts into its batch norm.
        convert: Callable[[nn.Module], nn.Module] = convert_sync_batchnorm
    else:
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
    return convert(network)


def backbone_for(
    config: RunConfig, classes: int, architecture: Architecture, begins: bool, reporter: Reporter
) -> nn.Module:
    """Build the network of a run, with its weights where it begins from them.

    - ``begins``: False where weights come from a checkpoint or another run's model afterwards
    """
    weights = str(config.weights) if begins else "none"
    with seeded(config.seed, "initialisation/backbone"):
        return build_backbone(
            str(config.backbone),
            classes,
            weights,
            config.head_initialisation or "default",
            architecture=architecture,
            say=lambda line: reporter.say(f"note: {line}"),
        )


@dataclass(frozen=True)
class FurtherBackbones:
    """Builds what a method has besides its network, as that was built: from the same weights, heads drawn anew.

    - ``restored``: whether a checkpoint's weights take the place of all that is built, so that none have to be read
    """

    config: RunConfig
    classes: int
    architecture: Architecture
    restored: bool = False

    def __call__(self) -> nn.Module:
        """Build one; what it draws comes from torch's generator."""
        config = self.config
        begins = not self.restored and config.init_from is None
        network = build_backbone(
            str(config.backbone),
            self.classes,
            str(config.weights) if begins else "none",
            config.head_initialisation or "default",
            architecture=self.architecture,
            say=_nothing,
        )
        if config.init_from is not None and not self.restored:
            tensors, own = read_tensors(config.init_from / "model.safetensors"), network.state_dict()
            fitting = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
            load_tensors(network, fitting, strict=False)
        return network


def _nothing(_line: str) -> None:
    """Pass over what has been said of the weights when the method's own network was built."""
