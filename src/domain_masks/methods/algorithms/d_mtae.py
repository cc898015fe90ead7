"""D-MTAE: reconstruct features of each source from those of the others with one encoder (Ghifary et al., ICCV 2015)."""

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
    """Return the squared error, averaged over target domains, images and entries.

    - ``reconstructed``, ``targets``: (D, N, K); ``known``: (D, N) bool, whether there is a target; others count as 0
    - returns: scalar, 0 or more
    """
    errors = (reconstructed - targets).square().mean(-1)
    return torch.where(known, errors, 0.0).mean()


class DMTAE(DescribedDMTAE, Method):
    """Trains a shared sigmoid encoder and a decoder per source that reconstructs an image of the same class in that source.

    The paper encodes pixels of digits (and network features of objects); here x is the input of the last layer, and the encoder
    is inserted before that layer. In the first phase the network is frozen in evaluation mode, and encoder and decoders
    minimise the mean over domains l of ‖V_l σ(W x̃ + b) + c_l - x_l‖²/K. x̃ is x with some entries set to 0. x_l is x in its own
    domain; in another domain it is the most recent image of the same class (in the paper one that was paired with x
    beforehand). Decoders are linear because features are unbounded. The second phase trains the classifier on the encoding of
    the uncorrupted x.
    """

    network: RepresentedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DMTAESettings) -> None:
        super().__init__(context, settings)
        name = find_head(backbone)
        above, _, last = name.rpartition(".")
        head = backbone.get_submodule(name)
        if not isinstance(head, nn.Linear):
            raise InputError(
                f"method {self.name!r} inserts an encoder before the last layer: expected a network that ends in a linear "
                f"layer, got {type(head).__name__} {name!r}"
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
        """Return the decoders, and the inputs of the most recent images."""
        return ("decoders", "seen", "are_seen")

    def phases(self) -> Sequence[Phase]:
        """Return the phase of the reconstruction, and that of the classification."""
        share = self.settings.pretraining
        return (Phase(_RECONSTRUCTION, share, selects=False), Phase(_CLASSES, 1 - share, fresh_optimizers=True))

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the network's groups, ``encoder`` and ``decoders``."""
        groups = super().parameter_groups()
        inside = {id(parameter) for parameter in self.encoder.parameters()}
        body = [parameter for parameter in groups["body"] if id(parameter) not in inside]
        decoders = list(self.decoders.parameters())
        return {**groups, "body": body, "encoder": list(self.encoder.parameters()), "decoders": decoders}

    def optimizers(self) -> Mapping[str, tuple[str, ...]]:
        """Return one optimiser per group, as phase and settings decide which of them step."""
        return {name: (name,) for name in self.parameter_groups()}

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch: reconstruction in the first phase, classification in the second."""
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
        """Return the encoder's inputs from the frozen network, (N, K)."""
        with training_mode(self.network, False):
            return self.network.channels(self.network.represent(self.boundary_features(batch))).float()

    def reconstruction(self, batch: DomainBatch) -> Tensor:
        """Return the reconstruction loss, averaged over the batch; a scalar."""
        inputs, labels, domains = self.inputs(batch), labels_of(batch), domains_of(batch)
        self._remember(batch.gather(inputs), batch.gather(domains * len(self.context.classes) + labels))
        own = domains == torch.arange(len(self.context.sources), device=domains.device)[:, None]
        targets = torch.where(own[..., None], inputs, self.seen[:, labels])
        kept = random_of(batch).uniform("d_mtae/corruption", inputs.shape[1], device=inputs.device)
        codes = self.encoder(inputs * (kept >= self.settings.corruption)).sigmoid()
        reconstructed = torch.stack([decoder(codes) for decoder in self.decoders])
        return reconstruction_loss(reconstructed, targets, own | self.are_seen[:, labels])

    def _remember(self, inputs: Tensor, cells: Tensor) -> None:
        """Keep the last of the inputs (N, K) per domain and class; ``cells``: (N,), domain index · C + class index."""
        last = torch.full((self.are_seen.numel(),), -1, device=cells.device)
        last = last.scatter_reduce(0, cells, torch.arange(len(cells), device=cells.device), "amax").view(
            self.are_seen.shape
        )
        self.seen = torch.where(last[..., None] >= 0, inputs[last.clamp(min=0)], self.seen)
        self.are_seen = self.are_seen | (last >= 0)

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the classifier's logits on the encoding."""
        return {PREDICTIONS: self.network.task(self.boundary_features(batch))}
