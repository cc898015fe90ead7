"""The architecture and backbones of a run that is new, resumed, or initialised from another run's model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods.saving import network_of
from domain_masks.methods.tensor_files import load_tensors, read_tensors
from domain_masks.networks import Architecture, architecture_of, build_backbone
from domain_masks.progress import Reporter
from domain_masks.randomness import seeded
from domain_masks.records.config import RunConfig
from domain_masks.training.initial_model import InitialModel
from domain_masks.training.provenance import Provenance


def architecture_for(config: RunConfig, provenance: Provenance | None) -> Architecture:
    """Return the architecture of a run's network.

    - ``provenance``: of the checkpoint that the run is resumed from; older versions did not record the architecture, and
      built the one of ``imagenet`` weights only where these were asked for

    Raises InputError for an unknown backbone, RunFolderError for a checkpoint or model without an architecture.
    """
    backbone = str(config.backbone)
    if provenance is not None:
        if provenance.network is None:
            return architecture_of(backbone, "imagenet" if str(config.weights) == "imagenet" else "none")
        try:
            return Architecture.from_dict(provenance.network)
        except InputError as error:
            raise RunFolderError(f"the checkpoint does not say what its network was made from: {error}") from error
    if config.init_from is not None:
        origin = InitialModel.read(config.init_from)
        if origin.card.backbone == backbone:
            return network_of(origin.card)
    return architecture_of(backbone, str(config.weights))


def synchronised(network: nn.Module) -> nn.Module:
    """Return a network or method whose batch norm is synchronised over processes, also timm's with an activation."""
    if any(type(module).__module__.partition(".")[0] == "timm" for module in network.modules()):
        from timm.layers.norm_act import convert_sync_batchnorm  # noqa: PLC0415

        # PyTorch's own conversion would lose the activation that timm puts into its batch norm.
        convert: Callable[[nn.Module], nn.Module] = convert_sync_batchnorm
    else:
        convert = nn.SyncBatchNorm.convert_sync_batchnorm
    return convert(network)


class BackboneBuilder:
    """Builds the backbones of a run's method: the main one and any further ones; each gets a newly initialised head.

    All start from the same weights: those of the settings, or of the run that this one is initialised from.
    """

    def __init__(self, config: RunConfig, classes: int, architecture: Architecture) -> None:
        self._config, self._classes, self._architecture = config, classes, architecture
        self._reads_weights = True

    @contextmanager
    def without_weights(self) -> Iterator[None]:
        """Load no pretrained weights within the block, as a checkpoint overwrites them."""
        self._reads_weights = False
        try:
            yield
        finally:
            self._reads_weights = True

    def own(self, reporter: Reporter) -> nn.Module:
        """Build the method's main backbone; weights of another run are loaded later, together with the rest of the method."""
        with seeded(self._config.seed, "initialisation/backbone"):
            return self._build(lambda line: reporter.say(f"note: {line}"))

    def further(self) -> nn.Module:
        """Build another backbone like the method's main one; its random numbers come from torch's global generator."""
        network = self._build(_nothing)
        if self._config.init_from is not None and self._reads_weights:
            tensors, own = read_tensors(self._config.init_from / "model.safetensors"), network.state_dict()
            fitting = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
            load_tensors(network, fitting, strict=False)
        return network

    def _build(self, say: Callable[[str], None]) -> nn.Module:
        config = self._config
        return build_backbone(
            str(config.backbone),
            self._classes,
            str(config.weights) if self._reads_weights and config.init_from is None else "none",
            config.head_initialisation or "default",
            architecture=self._architecture,
            say=say,
        )


def _nothing(_line: str) -> None:
    """Print nothing: building the main backbone printed the same notes."""
