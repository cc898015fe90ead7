"""MetaReg (Balaji et al., NeurIPS 2018): a meta-learned regulariser of the task network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import Context, Engine, Optimizer, Phase, labels_of
from domain_masks.methods.descriptions.meta_learning import DescribedMetaReg, MetaRegSettings
from domain_masks.methods.episodes import InParts, Part, stepped

LEARNING_PHI, LEARNING_T = "regulariser", "classifier"


class MetaReg(DescribedMetaReg, InParts):
    """R_φ(θ) = Σ φ_i |θ_i| over the weights θ of T; φ is trained first (Algorithm 1), then fixed while T is trained.

    In the first phase every source has its own task network, all on one F. Each step updates them and F with the cross
    entropies of their sources. Then it draws sources a and b, takes ``inner_steps`` steps from the task network of a on its
    cross entropy and R_φ, and updates φ with the gradient, through all these steps, of the resulting cross entropy of b. In
    the second phase T, from its initial weights, and F are trained on all sources with R_φ added.

    The authors published no code, and the paper does not state l, the learning rates or the length of each phase: inner steps,
    rates, ``share`` and the initial φ are ours, and the images of a are the same in all inner steps. φ is learned from what
    it does in l steps, but then acts through the whole second phase, in which weights of T with negative φ grow without
    bound: with ``nonnegative`` φ is projected onto φ >= 0 after each update. One public version detaches φ from the inner
    steps, so that it never changes; another takes 10 steps at rate 1e-4; a third bounds the penalty by a sigmoid, not φ.
    """

    settings: MetaRegSettings

    def __init__(self, backbone: nn.Module, context: Context, settings: MetaRegSettings) -> None:
        super().__init__(backbone, context, settings)
        if settings.nonnegative and settings.initial < 0:
            raise InputError(
                f"method.initial: expected 0 or more, got {settings.initial:g}; weights of the penalty may be negative"
                " with --method.nonnegative false"
            )
        inside, own = self.network.task_state(), dict(self.network.named_parameters())
        self.regularised = [name for name in own if name.removeprefix("network.") in inside]
        """Names of T's weights in the network; ``phi`` and ``tasks`` are in this order."""
        values = [own[name].detach() for name in self.regularised]
        self.phi = nn.ParameterList(torch.full_like(value, settings.initial) for value in values)
        self.tasks = nn.ModuleList(nn.ParameterList(value.clone() for value in values) for _ in context.sources)

    def phases(self) -> Sequence[Phase]:
        """Return the phase of the regulariser, from which no epoch is selected, and that of the network."""
        share = self.settings.share
        return Phase(LEARNING_PHI, share, selects=False), Phase(LEARNING_T, 1 - share, fresh_optimizers=True)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the network's groups, ``tasks`` and ``regulariser``."""
        return {**super().parameter_groups(), "tasks": list(self.tasks.parameters()), LEARNING_PHI: list(self.phi)}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser for the network and the sources' task networks, and plain gradient descent for φ."""
        meta = Optimizer((LEARNING_PHI,), kind="sgd", lr=self.settings.meta_lr, momentum=0.0, weight_decay=0.0)
        return {"networks": ("body", "head", "tasks"), LEARNING_PHI: meta}

    def training_only(self) -> tuple[str, ...]:
        """Return φ and the sources' task networks."""
        return "phi", "tasks"

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Take one training step of the current phase."""
        if engine.phase == LEARNING_T:
            loss = self.classification_loss(self.network.task(self.boundary_features(batch)), labels_of(batch))
            penalty = self.regulariser(dict(self.network.named_parameters()))
            engine.backward(loss + penalty, batch, only=("networks",))
            engine.update("networks")
            return {"classification": loss.detach(), "regularisation": penalty.detach()}
        self.refuse_synchronised()
        loss = self.sources_loss(batch)
        engine.backward(loss, batch)
        engine.update("networks")
        ahead = self.meta_loss(batch, *self.order(batch)[:2])
        self.hand_over(batch, engine)
        engine.backward(ahead, batch, only=(LEARNING_PHI,))
        engine.update(LEARNING_PHI)
        if self.settings.nonnegative:
            self.project()
        engine.log("meta_test", ahead)
        return {"classification": loss.detach()}

    @torch.no_grad()
    def project(self) -> None:
        """Set negative φ to zero."""
        for phi in self.phi:
            phi.clamp_(min=0)

    def regulariser(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Return R_φ, a scalar, of T's ``weights``, by their names in the network."""
        terms = [(phi * weights[name].abs()).sum() for name, phi in zip(self.regularised, self.phi, strict=True)]
        return torch.stack(terms).sum()

    def task_of(self, source: int) -> dict[str, Tensor]:
        """Return the weights of a source's task network, by their names in the network."""
        return dict(zip(self.regularised, self.tasks[source].parameters(), strict=True))

    def sources_loss(self, batch: DomainBatch) -> Tensor:
        """Return the cross entropy of each source's task network on its images, averaged over sources."""
        features = self.boundary_features(batch)
        parts = [Part(batch, (source,)) for source in range(len(self.context.sources))]
        logits = [self.logits(part, self.task_of(part.domains[0]), features=features) for part in parts]
        return torch.stack([self.risk(part, own) for part, own in zip(parts, logits, strict=True)]).mean()

    def meta_loss(self, batch: DomainBatch, meta_train: int, meta_test: int) -> Tensor:
        """Return the cross entropy on ``meta_test`` after inner steps on ``meta_train`` with R_φ; only φ has a gradient."""
        settings = self.settings
        with torch.no_grad():
            features = (
                self.network.call("features", {}, self.images_of(batch)) if batch.features is None else batch.features
            )
        train, test = Part(batch, (meta_train,)), Part(batch, (meta_test,))
        weights = {name: value.detach().requires_grad_() for name, value in self.task_of(meta_train).items()}
        for index in range(settings.inner_steps):
            risk = self.risk(train, self.logits(train, weights, features=features))
            if index:
                self.refuse_diverged(risk, settings.inner_lr)
            weights = stepped(weights, risk + self.regulariser(weights), settings.inner_lr, second_order=True)
        ahead = self.risk(test, self.logits(test, weights, features=features))
        self.refuse_diverged(ahead, settings.inner_lr)
        return ahead
