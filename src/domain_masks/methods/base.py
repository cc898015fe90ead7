"""The base class of all algorithms: parameters, loss, prediction and training hooks.

Most methods define ``training_loss`` and ``predict`` alone. The other hooks have defaults; some methods need them:

- several optimisers, alternating updates (CrossGrad, DANN without gradient reversal): ``optimizers`` and ``step``, in which
  ``engine.backward(loss, batch, only=...)`` names the optimisers whose parameters get gradients
- inner loops (MLDG, MetaReg): ``step``, with ``network.call`` for other weights
- episodes over domain-specific copies of F and T (Epi-FCR): more parameter groups, ``step``
- stages (MetaReg learns its regulariser, then the final network): ``phases`` and ``engine.phase``
- a weight that grows over training (DANN): ``weight_at``, of ``engine.progress``
- no gradient at all (DICA): ``needs = "features"`` and ``fit_closed_form``
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.errors import InputError
from domain_masks.methods.averaging import How, average, weighted_average
from domain_masks.methods.context import Context
from domain_masks.methods.description import Description, Paper, Settings
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.methods.engine import Engine, Optimizer, Phase
from domain_masks.networks import Network, find_head
from domain_masks.randomness import BatchRandomness
from domain_masks.records.ensemble_names import KNOWN_DOMAIN, MASK_ENSEMBLE, PREDICTION_ENSEMBLE, WEIGHTED_ENSEMBLE

PREDICTIONS = PREDICTION_ENSEMBLE
"""Ensemble that every method has: its prediction for an unknown domain."""
MASKS = MASK_ENSEMBLE
"""Mask ensemble: one forward pass with the average of the masks."""
WEIGHTED = WEIGHTED_ENSEMBLE
"""Weighted ensemble: the domains' predictions, weighted by the domain classifier's probabilities."""
WEIGHTED_BY_CLASS = "weighted by class"
"""Metadata key by which the training loop recognises the autograd nodes of :meth:`Method.classification_loss`."""


def known(domain: str) -> str:
    """Return the name of the prediction with one source domain's own mask or head."""
    return f"{KNOWN_DOMAIN}{domain}"


class Method(Description, nn.Module, ABC):
    """A domain generalization algorithm: settings, loss and prediction together.

    A subclass defines ``predict`` and one of ``training_loss``, ``step`` and ``fit_closed_form``.

    - ``backbone``: a classifier with a head for the context's classes
    - ``context``: sources, classes, sites
    - ``settings``: an instance of the class's ``Settings``
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    summary: ClassVar[str]
    needs: ClassVar[Literal["images", "features", "either"]] = "either"
    """With ``features`` F is not trained: the loop runs it in evaluation mode and passes batches of features alone."""
    predicts_by_domain: ClassVar[bool] = False
    """Whether there is a prediction per source for a domain classifier to weight; ``predict`` then adds :meth:`weighted`."""

    network: Network
    domain_classifier: DomainClassifier | None

    def __init__(self, context: Context, settings: Any) -> None:
        super().__init__()
        kind = type(self)
        if (kind.training_loss, kind.step) == (Method.training_loss, Method.step) and not kind.is_closed_form():
            raise InputError(
                f"method {kind.name!r} cannot be trained: expected {kind.__name__} to define training_loss, step or "
                "fit_closed_form"
            )
        self.register_module("domain_classifier", None)
        self.context = context
        self.settings = settings
        self.class_weights_used = False
        """Set by :meth:`classification_loss` where it applies class weights or smoothing; the loop reads and resets it."""

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the named terms of the loss, scalars that are summed.

        Use :meth:`classification_loss` for the cross entropy of the classes: it applies class weights if they are set.
        """
        raise NotImplementedError(f"method {self.name!r} has no training_loss: it defines step or fit_closed_form")

    @abstractmethod
    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return ensemble -> logits (N, C); always ``predictions``, and others if the method has them.

        ``masks`` is the mask ensemble, ``weighted`` that of :meth:`weighted`, ``known:DOMAIN`` the prediction with one source's
        mask or head. The batch's labels and domains must not be used.
        """

    def validation_logits(self, batch: DomainBatch) -> Tensor:
        """Return the logits (N, C) that select the best epoch; the batch's domains are known."""
        return self.predict(batch)[PREDICTIONS]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the named parameter groups; each can have its own learning rate."""
        head = self.network.network.get_submodule(find_head_or(self.network))
        in_head = {id(parameter) for parameter in head.parameters()}
        return {
            "body": [parameter for parameter in self.network.network.parameters() if id(parameter) not in in_head],
            "head": list(head.parameters()),
        }

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return optimiser -> the names of its parameter groups, or an :class:`Optimizer`; by default one for all groups."""
        return {"main": tuple(self.parameter_groups())}

    def phases(self) -> Sequence[Phase]:
        """Return the phases of training; by default a single one."""
        return (Phase(),)

    def weight_at(self, progress: float) -> float:
        """Return the weight of a loss that changes over the training, at ``progress`` in [0, 1]; by default none does.

        A run that is resumed for another number of epochs says by it whether this would have been another one so far.
        """
        return 1.0

    # A resumed run does not call these four again: state that they change must be in ``state_dict`` (not ``requires_grad``).
    def begin_phase(self, name: str) -> None:
        """Prepare a phase, before its first epoch; torch's generator is seeded with the run's seed and the phase."""

    def begin_epoch(self, engine: Engine) -> None:
        """Prepare an epoch, before its first step."""

    def end_epoch(self, engine: Engine) -> None:
        """Finish an epoch, after its last step and before its validation."""

    def after_update(self, engine: Engine) -> None:
        """Run after each ``engine.update`` in which an optimiser took a step.

        It is not called while batches are accumulated, or if the gradient scaler skips the step.
        """

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Train on one batch; returns the named terms of its loss, whose sum is logged as the loss.

        Use ``engine.log`` for other values.
        """
        terms = self.training_loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum(), batch)
        engine.update()
        return {name: term.detach() for name, term in terms.items()}

    def fit_closed_form(self, features: DomainBatch) -> None:
        """Fit without gradients on the features of all training images; called in evaluation mode.

        The result must be stored in buffers (or parameters) that the constructor registers with their final shape, because
        checkpoints and model files hold those. Register an axis whose length depends on the data with length 0. Raises
        InputError unless the method overrides it.
        """
        raise InputError(f"method {self.name!r} is trained by gradient: it has no closed form")

    @classmethod
    def is_closed_form(cls) -> bool:
        """Return whether the method is fitted in closed form: it overrides ``fit_closed_form``."""
        return cls.fit_closed_form is not Method.fit_closed_form

    def classification_loss(
        self, logits: Tensor, labels: Tensor, reduction: Literal["mean", "none"] = "mean"
    ) -> Tensor:
        """Return the cross entropy of the batch, with the context's class weights and label smoothing if there are any.

        Compute every cross entropy of the classes with it: with ``--class_weights`` or ``--label_smoothing`` the loop refuses a
        loss that does not. Both are combined as in :func:`torch.nn.functional.cross_entropy`, but the
        mean divides by N, not by the sum of the weights as in PyTorch, so that it does not depend on how rows are distributed
        over processes, and λ_O keeps its meaning.

        - ``logits``: (N, C)
        - ``labels``: (N,)
        - ``reduction``: ``none`` returns the loss per image, for methods that weight images
        - returns: scalar, or (N,)

        Raises ValueError for a sum: the loop averages over the images of all processes.
        """
        if reduction not in ("mean", "none"):
            raise ValueError(
                f"reduction: expected 'mean' or 'none', got {reduction!r}; the sum over the images of a batch is the "
                "mean times batch.random.total"
            )
        weights, smoothing = self.context.class_weights, self.context.label_smoothing
        if weights is None and not smoothing:
            return functional.cross_entropy(logits, labels, reduction=reduction)
        scores = logits.log_softmax(-1) if smoothing else logits
        loss = functional.nll_loss if smoothing else functional.cross_entropy
        losses = loss(scores, labels, reduction="none")
        self.class_weights_used = True
        if losses.grad_fn is not None:
            metadata: Any = losses.grad_fn.metadata
            metadata[WEIGHTED_BY_CLASS] = True
        of_classes = None
        if weights is not None:
            of_classes = moved(torch.tensor(weights, dtype=logits.dtype), logits.device)
            losses = of_classes[labels] * losses
        if smoothing:
            spread = -(scores if of_classes is None else of_classes * scores).mean(-1)
            losses = (1 - smoothing) * losses + smoothing * spread
        return losses if reduction == "none" else losses.mean()

    def training_only(self) -> tuple[str, ...]:
        """Return the prefixes in ``state_dict`` of modules and tensors that only training needs.

        They are saved in checkpoints, but not in model files or exports; a run that starts from another run's model initialises
        them anew. In a method that is loaded from a model file they are None.
        """
        return ()

    def domain_tensors(self) -> frozenset[str]:
        """Return the names in ``state_dict`` of tensors whose first axis is the source domain, such as masks and heads."""
        return frozenset()

    def equal_rows(self) -> dict[nn.Parameter, int]:
        """Return parameters whose rows stand for a single one, with the number of rows: a norm counts their gradient once.

        Each row of the gradient is that of the single one.
        """
        return {}

    def shared_beginnings(self) -> frozenset[str]:
        """Return those of :meth:`domain_tensors` that a model with a single shared tensor initialises for every domain."""
        return frozenset()

    def learn_masks(self, sources: Sequence[str]) -> None:
        """Freeze everything but the masks of ``sources``; raises InputError unless the method has masks."""
        raise InputError(
            f"method {self.name!r} has no masks: expected --learn all, or a method with masks, such as dmg"
        )

    def weight_classes(self, weights: Sequence[float]) -> None:
        """Set the class weights of :meth:`classification_loss`; ``weights``: (C,)."""
        self.context = replace(self.context, class_weights=tuple(weights))

    def smooth_labels(self, share: float) -> None:
        """Set the label smoothing of :meth:`classification_loss`, in [0, 1)."""
        self.context = replace(self.context, label_smoothing=share)

    def use_domain_classifier(self, classifier: DomainClassifier) -> None:
        """Set the domain classifier that weights the sources' predictions; see :meth:`weighted`."""
        self.domain_classifier = classifier

    def boundary_features(self, batch: DomainBatch) -> Tensor:
        """Return F(images), or the features of a batch that has them; (N, ...)."""
        if batch.features is not None:
            return batch.features
        if batch.images is None:
            raise ValueError("expected a batch with images or features, got neither")
        return self.network.features(batch.images)

    def weighted(self, logits: Tensor, features: Tensor, how: How) -> dict[str, Tensor]:
        """Return the ensemble ``weighted`` (footnote §), or an empty dictionary if there is no domain classifier.

        - ``logits``: (D, N, C), of each source; ``features``: (N, ...), the boundary's input
        """
        if self.domain_classifier is None:
            return {}
        return {WEIGHTED: weighted_average(logits, self.domain_classifier(self.network.pooled(features)), how)}

    @classmethod
    def has_masks(cls) -> bool:
        """Return whether the method learns masks: it overrides ``mask_logits``."""
        return cls.mask_logits is not Method.mask_logits

    def mask_logits(self) -> dict[str, Tensor]:
        """Return site -> mask logits (D, K); empty for a method without masks."""
        return {}


def find_head_or(network: Network) -> str:
    """Return the name of the network's head, also if it has been replaced by several heads."""
    head = getattr(network, "head", None)
    return head if isinstance(head, str) else find_head(network.network)


def labels_of(batch: DomainBatch) -> Tensor:
    """Return the batch's labels (N,); raises ValueError if it has none."""
    if batch.labels is None:
        raise ValueError("expected a batch with labels to train on, got one without")
    return batch.labels


def domains_of(batch: DomainBatch) -> Tensor:
    """Return the batch's domains (N,); raises ValueError if they are unknown."""
    if batch.domains is None:
        raise ValueError("expected the domain of every training instance, got None")
    return batch.domains


def random_of(batch: DomainBatch) -> BatchRandomness:
    """Return the batch's random numbers; raises ValueError if it has none, as outside training."""
    if batch.random is None:
        raise ValueError("expected a training batch with random numbers of its own, got one without")
    return batch.random


__all__ = [
    "MASKS",
    "PREDICTIONS",
    "WEIGHTED",
    "Context",
    "Engine",
    "Method",
    "Optimizer",
    "Paper",
    "Phase",
    "Settings",
    "average",
    "domains_of",
    "find_head_or",
    "known",
    "labels_of",
    "random_of",
]
