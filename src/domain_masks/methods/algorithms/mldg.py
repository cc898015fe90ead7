"""MLDG (Li et al., AAAI 2018): minimise the loss on held-out sources after a step on the others."""

from __future__ import annotations

from torch import Tensor

from domain_masks.methods.descriptions.meta_learning import DescribedMLDG, MLDGSettings
from domain_masks.methods.episodes import Episodic, Part, stepped


class MLDG(DescribedMLDG, Episodic):
    """Minimises F(θ) + β G(θ - α ∇F(θ)) over the weights θ of the whole network (Algorithm 1).

    F and G are the mean risks of the meta-train and the meta-test sources. By default the gradient is taken through ∇F, as in
    the paper, the authors' code and TLlib. DomainBed's version is ``order=first`` with ``inner_step=adam``; it pairs each
    meta-train source with one meta-test source and divides by the number of sources. The authors' code sums the risks that are
    averaged here, and uses α = 0.5 for an MLP on features of a ResNet-18; TLlib's inner rate is that of its outer optimiser,
    5e-4.
    """

    settings: MLDGSettings

    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return F and βG."""
        settings, weights = self.settings, self.weights()
        before = self.risk(train, self.logits(train, {}, own=True))
        after = stepped(weights, before, settings.inner_lr, self.twice, settings.inner_step)
        ahead = self.risk(test, self.logits(test, after))
        self.refuse_diverged(ahead, settings.inner_lr)
        return {"meta_train": before, "meta_test": settings.beta * ahead}
