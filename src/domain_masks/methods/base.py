"""The base class of all algorithms: parameters, a loss, a prediction, and hooks of training.

Most methods write ``training_loss`` and ``predict`` alone. The rest has defaults, there for the methods that need more:

- several optimisers, alternating updates (CrossGrad, DANN without gradient reversal): ``optimizers`` and ``step``, in which
  ``engine.backward(loss, batch, only=...)`` says whose gradients a loss gives
- inner loops (MLDG, MetaReg): ``step``, with ``network.call`` on other weights
- episodes over domain-specific copies of F and T (Epi-FCR): more parameter groups, ``step``
- stages (MetaReg learns its regulariser, then the final network): ``phases`` and ``engine.phase``
- a weight that grows over training (DANN): ``engine.progress``
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
"""Ensemble that every method has: its prediction where the domain is unknown."""
MASKS = MASK_ENSEMBLE
"""Ensemble of one pass under the average of the masks."""
WEIGHTED = WEIGHTED_ENSEMBLE
"""Ensemble of the domains' own predictions, each weighted by how likely a domain classifier finds its domain."""
WEIGHTED_BY_CLASS = "weighted by class"
"""Key in the metadata of the autograd nodes of :meth:`Method.classification_loss`, by which the loop knows them."""


def known(domain: str) -> str:
    """Return the name of the prediction under one source domain's own mask or head."""
    return f"{KNOWN_DOMAIN}{domain}"


class Method(Description, nn.Module, ABC):
    """An algorithm of domain generalization: config, loss and prediction together.

    How it learns is one of ``training_loss``, ``step``, or ``fit_closed_form``; one of them has to be written.

    - ``backbone``: a classifier with a head for the context's classes
    - ``context``: sources, classes, sites
    - ``settings``: an instance of the class's ``Settings``
    """

    name: ClassVar[str]
    paper: ClassVar[Paper]
    summary: ClassVar[str]
    needs: ClassVar[Literal["images", "features", "either"]] = "either"
    """With ``features`` the loop keeps F as it is, runs it in evaluation mode, and hands over batches of features alone."""
    predicts_by_domain: ClassVar[bool] = False
    """Whether there is a prediction per source, which a domain classifier can weigh; ``predict`` then adds :meth:`weighted`."""

    network: Network
    domain_classifier: DomainClassifier | None

    def __init__(self, context: Context, settings: Any) -> None:
        super().__init__()
        kind = type(self)
        if (kind.training_loss, kind.step) == (Method.training_loss, Method.step) and not kind.is_closed_form():
            raise InputError(
                f"method {kind.name!r} does not say how it learns: expected {kind.__name__} to have training_loss, a step of "
                "its own, or fit_closed_form"
            )
        self.register_module("domain_classifier", None)
        self.context = context
        self.settings = settings
        self.class_weights_used = False
        """Set by :meth:`classification_loss` where it weights; the loop looks at it and takes it back."""

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the named terms of the loss, scalars that are added up.

        The cross entropy of the classes is :meth:`classification_loss`, which applies class weights if they are set.
        """
        raise NotImplementedError(f"method {self.name!r} has no training_loss: it learns in another way")

    @abstractmethod
    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return ensemble -> logits (N, C); ``predictions`` always, others where the method has them.

        ``masks`` is the mask ensemble, ``weighted`` that of :meth:`weighted`, ``known:DOMAIN`` the prediction of one source's
        mask or head. Labels and domains of the batch are not looked at.
        """

    def validation_logits(self, batch: DomainBatch) -> Tensor:
        """Return the logits (N, C) by which the best epoch is chosen; the batch's domains are known."""
        return self.predict(batch)[PREDICTIONS]

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the named groups of parameters; each can have its own learning rate."""
        head = self.network.network.get_submodule(find_head_or(self.network))
        in_head = {id(parameter) for parameter in head.parameters()}
        return {
            "body": [parameter for parameter in self.network.network.parameters() if id(parameter) not in in_head],
            "head": list(head.parameters()),
        }

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return optimiser -> the names of its parameter groups, or more of it; one optimiser for all by default."""
        return {"main": tuple(self.parameter_groups())}

    def phases(self) -> Sequence[Phase]:
        """Return the stages of training; one by default."""
        return (Phase(),)

    # What these four change has to be in ``state_dict`` (``requires_grad`` is not): a resumed run calls none again.
    def begin_phase(self, name: str) -> None:
        """Prepare for a phase, before its first epoch; torch's generator is seeded by the run's seed and the phase."""

    def begin_epoch(self, engine: Engine) -> None:
        """Prepare for an epoch, before its first step."""

    def end_epoch(self, engine: Engine) -> None:
        """Finish an epoch, after its last step and before its validation."""

    def after_update(self, engine: Engine) -> None:
        """Called after each ``engine.update`` in which an optimiser took a step.

        Not while batches are accumulated, nor where a gradient scaler leaves the step out.
        """

    def step(self, batch: DomainBatch, engine: Engine) -> dict[str, Tensor]:
        """Learn from one batch; returns the named terms of its loss, whose sum the log calls the loss.

        Other numbers for the log are given to ``engine.log``.
        """
        terms = self.training_loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum(), batch)
        engine.update()
        return {name: term.detach() for name, term in terms.items()}

    def fit_closed_form(self, features: DomainBatch) -> None:
        """Fit without gradients from the features of all training images at once; called in evaluation mode.

        What it learns belongs into buffers (or parameters) that the constructor has registered with their final shape: they
        are what checkpoints and model files hold. An axis whose length the data decide is registered with length 0.
        Raises InputError unless the method says that it can.
        """
        raise InputError(f"method {self.name!r} learns by gradient: it has no closed form")

    @classmethod
    def is_closed_form(cls) -> bool:
        """Whether the method is fitted at once, without gradients and epochs: it says how."""
        return cls.fit_closed_form is not Method.fit_closed_form

    def classification_loss(
        self, logits: Tensor, labels: Tensor, reduction: Literal["mean", "sum", "none"] = "mean"
    ) -> Tensor:
        """Return the cross entropy over the batch, every instance weighted by its class where the context says so.

        Every cross entropy of the classes has to come from here: with ``--class_weights`` a loss that does not is refused.
        The mean divides by N, not by the weights of the batch as PyTorch's does: so a batch is worth the same however its
        rows are divided over processes, and λ_O keeps its meaning.

        - ``logits``: (N, C)
        - ``labels``: (N,)
        - ``reduction``: ``none`` gives the instances' own losses, for methods that weight them further
        - returns: scalar, or (N,)
        """
        if self.context.class_weights is None:
            return functional.cross_entropy(logits, labels, reduction=reduction)
        losses = functional.cross_entropy(logits, labels, reduction="none")
        self.class_weights_used = True
        if losses.grad_fn is not None:
            notes: Any = losses.grad_fn.metadata
            notes[WEIGHTED_BY_CLASS] = True
        losses = logits.new_tensor(self.context.class_weights)[labels] * losses
        return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()

    def training_only(self) -> tuple[str, ...]:
        """Return the parts of the method that training alone needs, by the beginnings of their names in ``state_dict``.

        Modules such as ``decoders``, or single tensors. They are in checkpoints, and in no model file or export; a run that
        starts from another one's model begins with new ones. A method whose model is loaded has None in their places.
        """
        return ()

    def domain_tensors(self) -> frozenset[str]:
        """Return the names in ``state_dict`` of tensors whose first axis is the source domain: those of masks and heads."""
        return frozenset()

    def shared_beginnings(self) -> frozenset[str]:
        """Return those of :meth:`domain_tensors` of which a model that has one for all domains begins every domain's."""
        return frozenset()

    def learn_masks(self, sources: Sequence[str]) -> None:
        """Freeze everything but the masks of ``sources``; raises InputError unless the method has masks."""
        raise InputError(
            f"method {self.name!r} has no masks: expected --learn all, or a method with masks, such as dmg"
        )

    def weight_classes(self, weights: Sequence[float]) -> None:
        """Weight the loss of every instance by its class from now on, see :meth:`classification_loss`; ``weights``: (C,)."""
        self.context = replace(self.context, class_weights=tuple(weights))

    def use_domain_classifier(self, classifier: DomainClassifier) -> None:
        """Weight the sources' predictions by ``classifier`` from now on, see :meth:`weighted`."""
        self.domain_classifier = classifier

    def boundary_features(self, batch: DomainBatch) -> Tensor:
        """Return F(images), or the features that the batch brings; (N, ...)."""
        if batch.features is not None:
            return batch.features
        if batch.images is None:
            raise ValueError("expected a batch with images or features, got neither")
        return self.network.features(batch.images)

    def weighted(self, logits: Tensor, features: Tensor, how: How) -> dict[str, Tensor]:
        """Return the ensemble ``weighted`` (footnote §) where there is a domain classifier, else nothing.

        - ``logits``: (D, N, C), the sources' own; ``features``: (N, ...), the boundary's input
        """
        if self.domain_classifier is None:
            return {}
        return {WEIGHTED: weighted_average(logits, self.domain_classifier(self.network.pooled(features)), how)}

    @classmethod
    def has_masks(cls) -> bool:
        """Whether the method learns masks, so that mask sites mean something: it says what they are."""
        return cls.mask_logits is not Method.mask_logits

    def mask_logits(self) -> dict[str, Tensor]:
        """Return site -> mask logits (D, K), for the record; empty for a method without masks."""
        return {}


def find_head_or(network: Network) -> str:
    """Return the name of the network's head, also where it has been replaced by several."""
    head = getattr(network, "head", None)
    return head if isinstance(head, str) else find_head(network.network)


def labels_of(batch: DomainBatch) -> Tensor:
    """Return the batch's labels (N,); raises ValueError where it has none."""
    if batch.labels is None:
        raise ValueError("expected a batch with labels to learn from, got one without")
    return batch.labels


def domains_of(batch: DomainBatch) -> Tensor:
    """Return the batch's domains (N,); raises ValueError where they are unknown."""
    if batch.domains is None:
        raise ValueError("expected the domain of every training instance, got None")
    return batch.domains


def random_of(batch: DomainBatch) -> BatchRandomness:
    """Return the batch's random numbers; raises ValueError where it has none, outside training."""
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
