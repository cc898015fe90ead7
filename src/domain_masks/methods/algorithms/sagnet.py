"""SagNet: Style-Agnostic Networks (Nam et al., CVPR 2021, Section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods.base import Context, labels_of, random_of
from domain_masks.methods.descriptions.augmentation import DescribedSagNet, SagNetSettings
from domain_masks.methods.one_network import OneNetwork
from domain_masks.networks.stages import places_of

_EPSILON = 1e-5
_NORMALISATION = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


def style_and_content(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, unbiased variance and normalised features, per image and channel, or per image for vectors (N, K)."""
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    places = places_of(tuple(features.shape)) or (1,)
    mean, variance = features.mean(places, keepdim=True), features.var(places, keepdim=True)
    return mean, variance, (features - mean) / (variance + _EPSILON).sqrt()


def with_style(content: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Return ``content``, (N, ...), with the style ``mean`` and ``variance`` (AdaIN)."""
    return content * (variance + _EPSILON).sqrt() + mean


class SagNet(DescribedSagNet, OneNetwork):
    """Trains T under randomised styles, a style network under randomised contents, and F against the style network.

    The style network is a second T with its own head, initialised with the same pretrained weights. The boundary's input is
    randomised: with ``--boundary layer3`` that of a ResNet's third stage, as in the authors' code; if it is the head's input
    (N, K), with one mean and variance per image, as in DomainBed. The three losses of a step share one forward pass of F, each
    has gradients in its own part alone, and all parts are updated together; public code takes one step after the other.
    """

    def __init__(self, backbone: nn.Module, context: Context, settings: SagNetSettings) -> None:
        super().__init__(backbone, context, settings)
        shape = (1, *self.network.feature_shape)
        if prod(shape[axis] for axis in places_of(shape) or (1,)) < 2:
            raise InputError(
                f"method 'sagnet' computes mean and variance over the positions of the boundary's input, got the shape "
                f"{shape[1:]} with a single position: use larger images, or an earlier --boundary"
            )
        inside = {name for name, _ in self.network.named_parameters() if self._is_of_features(name)}
        second_backbone = dict(context.build_backbone().named_parameters())
        self._style_names = [name for name, _ in self.network.named_parameters() if name not in inside]
        self.style = nn.ParameterList(
            nn.Parameter(second_backbone[name.removeprefix("network.")].detach()) for name in self._style_names
        )
        self._of_features = inside
        self._trained_by_adversary = inside if settings.adversary == "features" else inside & set(self._normalisation())
        if not self._trained_by_adversary:
            raise InputError(
                f"method.adversary: there is no normalisation layer before the boundary {self.network.boundary!r}: use "
                "features, or a later --boundary"
            )

    def _is_of_features(self, name: str) -> bool:
        return self.network.in_features(name.removeprefix("network."))

    def _normalisation(self) -> Iterator[str]:
        for path, module in self.network.named_modules():
            if isinstance(module, _NORMALISATION):
                yield from (f"{path}.{name}" for name, _ in module.named_parameters(recurse=False))

    def training_only(self) -> tuple[str, ...]:
        """Return the prefix of the style network."""
        return ("style.",)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return ``body``, ``head``, and the style network's parameters as ``style``."""
        return {**super().parameter_groups(), "style": list(self.style)}

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the losses of content (F and T), style (the style network) and adversary (F), Equations 2 to 4."""
        labels, random, features = labels_of(batch), random_of(batch), self.boundary_features(batch)
        content = self.network.task(self.random_style(features, batch))
        partner = random.permutation("sagnet/content", device=features.device)
        style = self.style_logits(self.random_content(features.detach(), partner, batch), learned=True)
        terms = {
            "content": self.classification_loss(content, labels),
            "style": self.classification_loss(style, labels),
        }
        if self.settings.adversary_weight:
            hidden = self.random_content(self._features_of_adversary(features, batch), partner, batch)
            deceived = self.style_logits(hidden, learned=False)
            # Cross entropy with the uniform distribution, averaged over the batch.
            uniform = -functional.log_softmax(deceived, dim=1).mean()
            terms["adversary"] = self.settings.adversary_weight * uniform
        return terms

    def random_style(self, features: Tensor, batch: DomainBatch) -> Tensor:
        """Return the features with a random mixture of their own and a partner's style (style randomisation); (N, ...)."""
        random = random_of(batch)
        mean, variance, content = style_and_content(features)
        partner = random.permutation("sagnet/style", device=features.device)
        share = random.uniform("sagnet/style", *[1] * (features.dim() - 1), device=features.device)
        mean, variance = (share * own + (1 - share) * batch.gather(own)[partner] for own in (mean, variance))
        return with_style(content, mean, variance)

    def random_content(self, features: Tensor, partner: Tensor, batch: DomainBatch) -> Tensor:
        """Return a partner's content, detached, with the own style (content randomisation); (N, ...)."""
        mean, variance, content = style_and_content(features)
        return with_style(batch.gather(content.detach())[partner], mean, variance)

    def style_logits(self, features: Tensor, learned: bool) -> Tensor:
        """Run the style network, (N, ...) -> (N, C); its parameters have gradients only if ``learned``."""
        weights = {
            name: own if learned else own.detach() for name, own in zip(self._style_names, self.style, strict=True)
        }
        return self.network.call("task", weights, features)

    def _features_of_adversary(self, features: Tensor, batch: DomainBatch) -> Tensor:
        """Return F's features with gradients only in the parameters that the adversarial loss trains."""
        if self._trained_by_adversary == self._of_features or batch.images is None:
            return features
        own = self.network.named_parameters()
        fixed = {name: own_one.detach() for name, own_one in own if name not in self._trained_by_adversary}
        return self.network.call("features", fixed, batch.images)
