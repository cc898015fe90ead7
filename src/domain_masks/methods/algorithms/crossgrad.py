"""CrossGrad: train a label net and a domain net on each other's perturbed images (Shankar et al., ICLR 2018)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.devices import moved
from domain_masks.methods.base import Context, Optimizer, domains_of, labels_of
from domain_masks.methods.descriptions.adversarial import CrossGradSettings, DescribedCrossGrad
from domain_masks.methods.one_network import OneNetwork
from domain_masks.networks import with_new_head

LABEL, DOMAIN = "label_net", "domain_net"


def perturbed(images: Tensor, gradients: Tensor, epsilon: float, clip: float | None, scale: Tensor) -> Tensor:
    """Return x + ε clip(∇J) for a space whose unit is ``scale`` in the images' space (Algorithm 1; clip: authors' code).

    - ``images``, ``gradients``: (N, 3, H, W); ``clip``: maximum absolute value of a gradient, or None
    - ``scale``: (3, 1, 1), size of a unit step of that space in the images' space
    - returns: (N, 3, H, W), detached
    """
    steps = gradients * scale
    if clip is not None:
        steps = steps.clamp(-clip, clip)
    return (images + epsilon * scale * steps).detach()


class CrossGrad(DescribedCrossGrad, OneNetwork):
    """Trains label net (the backbone) and domain net (a second one) on the images and on images that the other net perturbs.

    J is the mean loss over the batch, as in the authors' code and Dassl: with larger batches the gradient of each image is
    smaller, and so is its perturbation unless the gradient is clipped. Both perturbations use the weights before the step. In
    the space ``pixels`` images are in [-1, 1], as in the authors' preprocessing (Dassl perturbs normalised images); if the
    normalisation is unknown, the inputs are perturbed directly.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: CrossGradSettings) -> None:
        super().__init__(backbone, context, settings)
        self.domain_net = with_new_head(context.build_backbone(), len(context.sources))
        pixels = context.preprocessing if settings.space == "pixels" else None
        # A unit step in [-1, 1] is a step of 1/2 in [0, 1], and of 1/2 / std in the normalised images.
        self.scale = (1.0, 1.0, 1.0) if pixels is None else tuple(0.5 / deviation for deviation in pixels.std)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the label net's groups, and ``domain_net``."""
        return {**super().parameter_groups(), DOMAIN: list(self.domain_net.parameters())}

    def optimizers(self) -> Mapping[str, tuple[str, ...] | Optimizer]:
        """Return one optimiser per net."""
        return {LABEL: ("body", "head"), DOMAIN: Optimizer((DOMAIN,), lr=self.settings.domain_lr)}

    def training_only(self) -> tuple[str, ...]:
        """Return the domain net, which is not used for prediction."""
        return ("domain_net",)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return (1 - α) J(x) + α J(x perturbed) for both nets, which share no parameters."""
        labels, domains, settings = labels_of(batch), domains_of(batch), self.settings
        if batch.images is None:
            raise ValueError("expected a batch with images to perturb, got one without")
        images = batch.images.detach().requires_grad_()
        label_loss = self.classification_loss(self._labels(images), labels)
        domain_loss = functional.cross_entropy(self.domain_net(images), domains)
        for_domains, for_labels = (self._perturbed(batch, images, loss) for loss in (label_loss, domain_loss))
        perturbed_label_loss = self.classification_loss(self._labels(for_labels), labels)
        perturbed_domain_loss = functional.cross_entropy(self.domain_net(for_domains), domains)
        return {
            "classification": torch.lerp(label_loss, perturbed_label_loss, settings.label_weight),
            "domain": torch.lerp(domain_loss, perturbed_domain_loss, settings.domain_weight),
        }

    def _labels(self, images: Tensor) -> Tensor:
        # Eager: a compiled graph cannot be differentiated twice, first for the images and then for the weights.
        return self.network.call("network", {}, images, update_statistics=True)

    def _perturbed(self, batch: DomainBatch, images: Tensor, loss: Tensor) -> Tensor:
        # J is the mean over the global batch, and synchronised batch norm passes gradients on to the other processes.
        share = 1.0 if batch.random is None else len(batch) / batch.random.total
        (gradients,) = torch.autograd.grad(share * loss, images, retain_graph=True)
        scale = moved(torch.tensor(self.scale, dtype=images.dtype), images.device).view(-1, 1, 1)
        clip = None if self.settings.clip == "none" else self.settings.clip
        return perturbed(images, gradients, self.settings.epsilon, clip, scale)
