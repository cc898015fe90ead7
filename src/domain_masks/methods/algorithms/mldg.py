"""MLDG (Li et al., AAAI 2018): a step on some sources must lower the loss of the others as well."""

from __future__ import annotations

from torch import Tensor

from domain_masks.methods.descriptions.meta_learning import DescribedMLDG, MLDGSettings
from domain_masks.methods.episodes import Episodic, Part, stepped


class MLDG(DescribedMLDG, Episodic):
    """F(θ) + β G(θ - α ∇F(θ)) (Algorithm 1), over weights θ of the whole network.

    F and G are the mean risks of the meta-train and the meta-test sources. The default is the paper's, the authors' code and
    TLlib's: the gradient goes through ∇F. DomainBed's is ``order`` first with ``inner_step`` adam; it takes one meta-test
    source for each meta-train source by itself and divides by the number of sources. The authors' code adds up risks that are
    averaged here, and steps at α = 0.5 on an MLP on features of a ResNet-18; TLlib steps as its outer optimiser, at 5e-4.
    """

    settings: MLDGSettings

    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return F and βG."""
        settings, weights = self.settings, self.weights()
        before = self.risk(train, self.logits(train, {}, own=True))
        after = stepped(weights, before, settings.inner_lr, settings.order == "second", settings.inner_step)
        ahead = self.risk(test, self.logits(test, after))
        self.refuse_diverged(ahead, settings.inner_lr)
        return {"meta_train": before, "meta_test": settings.beta * ahead}
