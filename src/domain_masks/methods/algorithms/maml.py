"""MAML (Finn et al., ICML 2017) with episodes over source domains: learn weights that adapt in a few gradient steps."""

from __future__ import annotations

from torch import Tensor

from domain_masks.methods.descriptions.meta_learning import DescribedMAML, MAMLSettings
from domain_masks.methods.episodes import Episodic, Part, stepped


class MAML(DescribedMAML, Episodic):
    """Minimises G(θ_k) after k steps θ_i = θ_{i-1} - α ∇F(θ_{i-1}) from the weights θ of the whole network (Algorithm 1).

    F and G are the mean risks of the meta-train and the meta-test sources; the meta-train images are the same in all steps. The
    gradient is taken through all steps; ``order=first`` is the paper's first-order approximation. The authors published no code
    for domain generalization; a public version for PACS uses ``inner_steps=3`` and both learning rates 5e-4. Predictions use
    the weights before the inner steps, because there are no labelled images of a new domain.
    """

    settings: MAMLSettings

    def losses(self, train: Part, test: Part) -> dict[str, Tensor]:
        """Return G after the inner steps."""
        settings, weights = self.settings, self.weights()
        for index in range(settings.inner_steps):
            risk = self.risk(train, self.logits(train, weights, own=index == 0))
            if index:
                self.refuse_diverged(risk, settings.inner_lr)
            weights = stepped(weights, risk, settings.inner_lr, self.twice)
        ahead = self.risk(test, self.logits(test, weights))
        self.refuse_diverged(ahead, settings.inner_lr)
        return {"meta_test": ahead}
