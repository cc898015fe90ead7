"""Mixup between domains: train on blends of images of two source domains (Zhang et al. 2018; DomainBed's version)."""

from __future__ import annotations

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import Context, domains_of, labels_of, random_of
from domain_masks.methods.descriptions.augmentation import DescribedMixup, MixupSettings
from domain_masks.methods.one_network import OneNetwork
from domain_masks.methods.partners import partners_in_next_domain


class Mixup(DescribedMixup, OneNetwork):
    """Trains on λ x_i + (1 - λ) x_j with λ ~ Beta(α, α) and both labels.

    As in DomainBed the domains are in a random cyclic order, the images of each domain are mixed with those of the next, and
    all pairs of two domains have the same λ. ``partners=any`` is the version of Zhang et al.: partners from the whole batch,
    and one λ per batch.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: MixupSettings) -> None:
        super().__init__(backbone, context, settings)
        if settings.partners == "next-domain" and len(context.sources) < 2:
            raise InputError(
                "method 'mixup' blends images of different source domains, got one source: name more, or use "
                "--method.partners any"
            )

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return λ and 1 - λ times the cross entropy with either label, averaged over the batch."""
        labels = labels_of(batch)
        if batch.images is None:
            raise ValueError("expected a batch with images to blend, got none")
        partner, share = self.blending(batch)
        images = batch.images
        partner_images = batch.gather(images)[partner]
        weight = share.to(images.dtype).view(-1, *[1] * (images.dim() - 1))
        logits = self.network(weight * images + (1 - weight) * partner_images)
        own = self.classification_loss(logits, labels, reduction="none")
        others = self.classification_loss(logits, batch.gather(labels)[partner], reduction="none")
        return {"classification": (share * own + (1 - share) * others).mean()}

    def blending(self, batch: DomainBatch) -> tuple[Tensor, Tensor]:
        """Return, for each row of this process, its partner's row in the global batch, and λ in [0, 1]; both (n,)."""
        random, alpha, device = random_of(batch), self.settings.alpha, batch.device
        # One λ is drawn per row; rows with a common λ use that of the first row of their domain, or of the batch.
        shares = batch.gather(random.beta("mixup/share", alpha, alpha, device=device))
        if self.settings.partners == "any":
            return random.permutation("mixup/partner", device=device), shares[:1].expand(random.count)
        partner = partners_in_next_domain(batch, "mixup/partner", len(self.context.sources))
        first = (batch.gather(domains_of(batch)) == domains_of(batch)[:, None]).int().argmax(1)
        return partner, shares[first]
