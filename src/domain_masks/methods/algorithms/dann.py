"""DANN: features from which a domain classifier cannot tell the source domains (Ganin et al., JMLR 2016).

The paper adapts to a target domain whose images it sees; here the domains to be told apart are the sources, as in DomainBed.
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
    """What the last layer is given tells nothing of the domain: a domain net learns to tell it, through reversed gradients.

    The domain net minimises its cross entropy with weight 1, whatever λ is; the layers before the last one maximise λ times it.
    The paper lets λ grow from 0 to 1. A constant λ of 1 is DomainBed's, which also alternates between steps of the domain net
    and steps of the network, where here both learn in each step, as in the paper.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: DANNSettings) -> None:
        super().__init__(backbone, context, settings)
        self.domain_net = perceptron(self.network.width, settings.width, len(context.sources), settings.layers)
        self.strength = settings.weight
        """λ of the running step; a pure function of how much of the training is done."""

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return those of the network and ``domain_net``."""
        groups = super().parameter_groups()
        refuse_nothing_to_learn(self, groups["body"])
        return {**groups, ADVERSARY: list(self.domain_net.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one for the network, one for the domain net, with a learning rate of its own where it is set."""
        return {CLASSIFIER: ("body", "head"), ADVERSARY: Optimizer((ADVERSARY,), lr=self.settings.domain_lr)}

    def training_only(self) -> tuple[str, ...]:
        """Return the domain net: it predicts nothing."""
        return ("domain_net",)

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Set λ, and learn from one batch."""
        grown = (
            growing_strength(engine.progress, self.settings.sharpness) if self.settings.schedule == "growing" else 1.0
        )
        self.strength = self.settings.weight * grown
        engine.log("adversary_weight", self.strength)
        return super().step(batch, engine)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropies of the classes and of the domains, means over the batch."""
        representation = self.network.represent(self.boundary_features(batch))
        classification = self.classification_loss(self.network.classify(representation), labels_of(batch))
        reversed_ = reverse_gradient(self.network.channels(representation), self.strength)
        return {
            "classification": classification,
            "domain": functional.cross_entropy(self.domain_net(reversed_), domains_of(batch)),
        }
