"""DANN: features from which a domain classifier cannot predict the source domain (Ganin et al., JMLR 2016).

The paper adapts to an unlabelled target domain; here the domain classifier distinguishes the sources, as in DomainBed.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.methods.adversary import growing_strength, perceptron, refuse_nothing_to_learn, reverse_gradient
from domain_masks.methods.base import Context, Engine, Optimizer, domains_of, labels_of
from domain_masks.methods.descriptions.adversarial import DANNSettings, DescribedDANN
from domain_masks.methods.one_network import OneRepresentedNetwork

CLASSIFIER, ADVERSARY = "classifier", "domain_net"


class DANN(DescribedDANN, OneRepresentedNetwork):
    """Trains a domain net on the last layer's input, and the layers before it against the domain net by gradient reversal.

    The domain net minimises its cross entropy with weight 1 for every λ; the layers before the last one maximise λ times that
    loss. In the paper λ grows from 0 to 1. DomainBed uses a constant λ of 1 and alternates between steps of the domain net and
    of the network; here both are updated in each step, as in the paper.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: DANNSettings) -> None:
        super().__init__(backbone, context, settings)
        self.domain_net = perceptron(self.network.width, settings.width, len(context.sources), settings.layers)
        self.strength = settings.weight
        """λ of the current step; a pure function of the training progress."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the network's groups, and ``domain_net``; raises InputError if the body is frozen."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        return {**groups, ADVERSARY: list(self.domain_net.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser for the network and one for the domain net, with the learning rate ``domain_lr`` if set."""
        return {CLASSIFIER: ("body", "head"), ADVERSARY: Optimizer((ADVERSARY,), lr=self.settings.domain_lr)}

    def training_only(self) -> tuple[str, ...]:
        """Return the domain net, which is not used for prediction."""
        return ("domain_net",)

    def weight_at(self, progress: float) -> float:
        """Return λ at ``progress`` in [0, 1]."""
        grown = growing_strength(progress, self.settings.sharpness) if self.settings.schedule == "growing" else 1.0
        return float(self.settings.weight * grown)

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Set λ and train on one batch."""
        self.strength = self.weight_at(engine.progress)
        engine.log("adversary_weight", self.strength)
        return super().step(batch, engine)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropies of classes and of domains, averaged over the batch."""
        representation = self.network.represent(self.boundary_features(batch))
        classification = self.classification_loss(self.network.classify(representation), labels_of(batch))
        reversed_ = reverse_gradient(self.network.channels(representation), self.strength)
        return {
            "classification": classification,
            "domain": functional.cross_entropy(self.domain_net(reversed_), domains_of(batch)),
        }
