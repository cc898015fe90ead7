"""D-MTAE: features of every source, reconstructed from those of the others by one encoder (Ghifary et al., ICCV 2015)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import PREDICTIONS, Context, Engine, Method, Phase, domains_of, labels_of, random_of
from domain_masks.methods.descriptions.decomposition import DescribedDMTAE, DMTAESettings
from domain_masks.networks import RepresentedNetwork, find_head
from domain_masks.networks.tracing import training_mode

_RECONSTRUCTION, _CLASSES = "reconstruction", "classes"


def reconstruction_loss(reconstructed: Tensor, targets: Tensor, known: Tensor) -> Tensor:
    """Return the mean squared error over the images, the domains that they are reconstructed in, and the entries.

    - ``reconstructed``, ``targets``: (D, N, K); ``known``: (D, N), whether there is a target
    """
    errors = (reconstructed - targets).square().mean(-1)
    return torch.where(known, errors, 0.0).mean()


class DMTAE(DescribedDMTAE, Method):
    """A sigmoid encoder, shared by all, and a decoder per source: from an image of any source to one of its class in each.

    Where the paper encodes pixels of digits (and features of a network for objects), this encodes what T makes of F's features
    for its last layer; the encoder stands before that layer. In the first phase the network stays as it is, in evaluation
    mode, and encoder and decoders learn the mean over domains l of ‖V_l σ(W x̃ + b) + c_l - x_l‖²/K: x̃ is x with some entries
    set to 0, x_l is x itself in its own domain and elsewhere the last image of its class that was seen of l, in the paper one
    that was paired with it before. Decoders are linear, as features have no range. In the second phase the classes are
    learned on the encoding, from x as it is.
    """

    network: RepresentedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DMTAESettings) -> None:
        super().__init__(context, settings)
        name = find_head(backbone)
        above, _, last = name.rpartition(".")
        head = backbone.get_submodule(name)
        if not isinstance(head, nn.Linear):
            raise InputError(
                f"method {self.name!r} puts an encoder before the last layer: expected a network that ends in a linear one, "
                f"got {type(head).__name__} {name!r}"
            )
        boundary, size, classes = context.boundary_of(backbone), context.image_size, len(context.classes)
        width = RepresentedNetwork(backbone, boundary, size).width
        device = next(head.parameters()).device
        encoder = nn.Linear(width, settings.hidden, device=device)
        parts = OrderedDict(
            encoder=encoder, sigmoid=nn.Sigmoid(), classifier=nn.Linear(settings.hidden, classes, device=device)
        )
        setattr(backbone.get_submodule(above), last, nn.Sequential(parts))
        self.network = RepresentedNetwork(backbone, boundary, size, name)
        domains = len(context.sources)
        self.decoders = nn.ModuleList(nn.Linear(settings.hidden, width, device=device) for _ in range(domains))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(domains, classes, width, device=device))
        self.are_seen: Tensor
        self.register_buffer("are_seen", torch.zeros(domains, classes, dtype=torch.bool, device=device))
        self._encoder = f"{name}.encoder"

    @property
    def encoder(self) -> nn.Module:
        """The linear layer of the shared encoder."""
        return self.network.network.get_submodule(self._encoder)

    def training_only(self) -> tuple[str, ...]:
        """Return the decoders, and the images that were seen last."""
        return ("decoders", "seen", "are_seen")

    def phases(self) -> Sequence[Phase]:
        """Return that of the reconstruction, and that of the classes."""
        share = self.settings.pretraining
        return (Phase(_RECONSTRUCTION, share, selects=False), Phase(_CLASSES, 1 - share, fresh_optimizers=True))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return those of the network, ``encoder`` and ``decoders``."""
        groups = super().parameter_groups()
        inside = {id(parameter) for parameter in self.encoder.parameters()}
        body = [parameter for parameter in groups["body"] if id(parameter) not in inside]
        decoders = list(self.decoders.parameters())
        return {**groups, "body": body, "encoder": list(self.encoder.parameters()), "decoders": decoders}

    def optimizers(self) -> Mapping[str, tuple[str, ...]]:
        """Return one for each group: phases and settings say which of them step."""
        return {name: (name,) for name in self.parameter_groups()}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Learn to reconstruct, or learn the classes, from one batch."""
        if engine.phase == _RECONSTRUCTION:
            learned: tuple[str, ...] = ("encoder", "decoders")
            terms = {"reconstruction": self.reconstruction(batch)}
        else:
            learned = {"all": ("body", "encoder", "head"), "encoder": ("encoder", "head"), "classifier": ("head",)}[
                self.settings.learned
            ]
            whole = self.settings.learned == "all"
            logits = (
                self.network.task(self.boundary_features(batch)) if whole else self.network.classify(self.inputs(batch))
            )
            terms = {"classification": self.classification_loss(logits, labels_of(batch))}
        engine.backward(torch.stack(list(terms.values())).sum(), batch, only=learned)
        engine.update(*learned)
        return {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def inputs(self, batch: DomainBatch) -> Tensor:
        """Return what the encoder is given of a network that stays as it is, (N, K)."""
        with training_mode(self.network, False):
            return self.network.channels(self.network.represent(self.boundary_features(batch))).float()

    def reconstruction(self, batch: DomainBatch) -> Tensor:
        """Return the reconstruction's loss, the mean over the batch."""
        inputs, labels, domains = self.inputs(batch), labels_of(batch), domains_of(batch)
        self._remember(batch.gather(inputs), batch.gather(domains * len(self.context.classes) + labels))
        own = domains == torch.arange(len(self.context.sources), device=domains.device)[:, None]
        targets = torch.where(own[..., None], inputs, self.seen[:, labels])
        kept = random_of(batch).uniform("d_mtae/corruption", inputs.shape[1], device=inputs.device)
        codes = self.encoder(inputs * (kept >= self.settings.corruption)).sigmoid()
        reconstructed = torch.stack([decoder(codes) for decoder in self.decoders])
        return reconstruction_loss(reconstructed, targets, own | self.are_seen[:, labels])

    def _remember(self, inputs: Tensor, cells: Tensor) -> None:
        """Keep the last one of the inputs of each domain and class; ``cells`` says of which they are."""
        last = torch.full((self.are_seen.numel(),), -1, device=cells.device)
        last = last.scatter_reduce(0, cells, torch.arange(len(cells), device=cells.device), "amax").view(
            self.are_seen.shape
        )
        self.seen = torch.where(last[..., None] >= 0, inputs[last.clamp(min=0)], self.seen)
        self.are_seen = self.are_seen | (last >= 0)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the classifier's logits on the encoding."""
        return {PREDICTIONS: self.network.task(self.boundary_features(batch))}
