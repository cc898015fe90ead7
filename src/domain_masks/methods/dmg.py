"""DMG: domain-specific masks for generalization (Chattopadhyay, Balaji, Hoffman, ECCV 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.errors import InputError
from domain_masks.methods.base import (
    MASKS,
    PREDICTIONS,
    Context,
    Method,
    average,
    known,
    labels_of,
)
from domain_masks.methods.descriptions.masks import DescribedDMG, DMGSettings
from domain_masks.networks import MaskedNetwork, layout


class DMG(DescribedDMG, Method):
    """One network with a learned mask per source domain on the inputs of its upper layers.

    The setting ``masks`` takes one thing away, everything else (sites, noise, soft scaling in prediction, selection) unchanged:

    - ``shared``: one mask, learned on all domains: what is left without specificity. There are no pairs to keep apart
    - ``fixed``: the initial probabilities stay: dropout at the same sites, with a rate per unit and domain; with a number as
      ``initialisation``, the same rate for all, which is Aggregate with plain dropout there (0.49: a mean of U(0, 1)'s masks)
    - ``binary``: a hard mask per domain, drawn once from its initial probabilities: sub-networks that nothing has chosen

    In none of them is there an overlap loss: it has no pairs, or nothing to learn from it.
    """

    predicts_by_domain = True
    network: MaskedNetwork

    def __init__(self, backbone: nn.Module, context: Context, settings: DMGSettings) -> None:
        super().__init__(context, settings)
        chosen = layout(backbone, context.sites, context.boundary)
        self.network = MaskedNetwork(
            backbone,
            len(context.sources),
            chosen.sites,
            chosen.boundary,
            context.image_size,
            settings.initialisation,
            dropout_in_task=settings.dropout,
        )
        if settings.masks == "shared":
            self.network.masks.share()
        if settings.masks == "binary":
            self.network.masks.draw_once()
        self.network.masks.requires_grad_(settings.masks in ("learned", "shared"))
        if settings.batch_norm == "fixed":
            self.network.keep_statistics()

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head``, and the mask logits as ``masks``."""
        return {**super().parameter_groups(), "masks": list(self.network.masks.parameters())}

    def equal_rows(self) -> dict[nn.Parameter, int]:
        """Return the mask logits where all domains share one mask."""
        masks = self.network.masks
        return dict.fromkeys(masks.parameters(), masks.domains) if masks.is_shared else {}

    def domain_tensors(self) -> frozenset[str]:
        """Return the names of the mask logits."""
        return frozenset(name for name in self.state_dict() if name.startswith("network.masks."))

    def learn_masks(self, sources: Sequence[str]) -> None:
        """Freeze the network, which stays in evaluation mode, and the masks of all domains except ``sources``.

        The gradient of the other rows of the mask logits is zero; without weight decay they do not change. Raises InputError in
        the ablations, where no domain learns a mask of its own.
        """
        if self.settings.masks != "learned":
            raise InputError(
                f"learn: 'masks' needs a mask per domain that is learned, and method.masks is {self.settings.masks!r}: use "
                "method.masks learned"
            )
        self.network.freeze()
        learned = torch.tensor([source in sources for source in self.context.sources])
        for logits in self.network.masks.parameters():
            logits.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradient * moved(learned, gradient.device)[:, None]
            )

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the terms of Equation 2: cross entropy with one sampled mask per image, and the weighted overlap loss."""
        noise = None
        if batch.random is not None:
            noise = {
                site.name: batch.random.uniform(f"masks/{site.name}", site.size, device=batch.device)
                for site in self.network.sites
            }
        logits = self.network.task(self.boundary_features(batch), batch.domains, noise)
        settings = self.settings
        classification = self.classification_loss(logits, labels_of(batch))
        if settings.classification_reduction == "sum":
            # The loop averages over the images of all processes: this is their sum.
            classification = classification * (len(batch) if batch.random is None else batch.random.total)
        terms = {"classification": classification}
        if settings.overlap_weight and settings.masks == "learned":
            overlap = self.network.overlap_loss(settings.overlap_reduction, settings.overlap_epsilon)
            terms["overlap"] = settings.overlap_weight * overlap
        if settings.sparsity_weight and self.learns_masks({"masks": settings.masks}):
            copies = len(self.context.sources) if settings.masks == "shared" else 1
            terms["sparsity"] = settings.sparsity_weight * self.network.masks.sparsity_loss() / copies
        return terms

    def predict(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return prediction, mask (Section 7.3) and weighted (footnote §) ensembles, and each mask's logits; (N, C) each."""
        soft = self.network.masks.probabilities()
        # The mean mask is appended to the domains' masks, so that F and T run once.
        sets = {site: torch.cat([masks, masks.mean(0, keepdim=True)]) for site, masks in soft.items()}
        features = self.boundary_features(batch)
        logits = self.network.soft_logits(features, sets)
        single, mean_mask = logits[:-1], logits[-1]
        ensembles = {PREDICTIONS: average(single, self.settings.average), MASKS: mean_mask}
        ensembles |= self.weighted(single, features, self.settings.average)
        return ensembles | {known(source): single[index] for index, source in enumerate(self.context.sources)}

    def validation_logits(self, batch: DomainBatch) -> Tensor:
        """Return the logits (N, C) that select the best epoch, as the setting ``validation`` says."""
        features = self.boundary_features(batch)
        if self.settings.validation == "predictions" or batch.domains is None:
            return average(self.network.task_domain_logits(features), self.settings.average)
        if self.settings.validation == "known":
            return self.network.task(features, batch.domains)
        hard = {site: mask.to(features.dtype) for site, mask in self.network.masks.hard().items()}
        return self.network.soft_logits(features, hard)[batch.domains, torch.arange(len(batch), device=batch.device)]

    def mask_logits(self) -> dict[str, Tensor]:
        """Return site -> mask logits (D, K)."""
        return dict(self.network.masks.items())
