"""MixStyle: mix the feature statistics of two images within the network (Zhou et al., ICLR 2021, Section 2.2)."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from math import prod

from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, unknown
from domain_masks.methods.base import Context, labels_of, random_of
from domain_masks.methods.descriptions.augmentation import DescribedMixStyle, MixStyleSettings
from domain_masks.methods.one_network import OneNetwork
from domain_masks.methods.partners import partners_in_next_domain
from domain_masks.networks.stages import Shape, output_shapes, places_of, stages

Style = tuple[Tensor, Tensor]


def style_of(features: Tensor, epsilon: float = 1e-6) -> Style:
    """Return μ and σ = √(variance + ε) of every image's channels over positions, without gradient.

    - ``features``: (N, C, H, W), (N, H, W, C) or (N, T, C), with more than one position
    - returns: μ and σ, (N, C, 1, 1) or with the axes of ``features``; the variance is unbiased, as in the authors' code
    """
    values, places = features.detach().float(), places_of(tuple(features.shape))
    return values.mean(places, keepdim=True), (values.var(places, keepdim=True) + epsilon).sqrt()


def mix_styles(features: Tensor, own: Style, other: Style, share: Tensor) -> Tensor:
    """Return γ (x - μ) / σ + β with γ = λσ + (1 - λ)σ' and β = λμ + (1 - λ)μ' (Equations 4 to 6).

    - ``own``, ``other``: (μ, σ) of every image and of its partner
    - ``share``: λ, (N,), in [0, 1]
    - returns: the shape of ``features``
    """
    weight = share.view(-1, *[1] * (features.dim() - 1))
    mean, deviation = (weight * mine + (1 - weight) * theirs for mine, theirs in zip(own, other, strict=True))
    return ((features - own[0]) / own[1] * deviation + mean).to(features.dtype)


class MixStyle(DescribedMixStyle, OneNetwork):
    """Trains as Aggregate does, on features with mixed styles after some modules."""

    def __init__(self, backbone: nn.Module, context: Context, settings: MixStyleSettings) -> None:
        super().__init__(backbone, context, settings)
        if settings.partners == "next-domain" and len(context.sources) < 2:
            raise InputError(
                "method 'mixstyle' mixes styles of different source domains, got one source: name more, or use "
                "--method.partners random"
            )
        self.modules_mixed = mixed_modules(backbone, context.image_size, settings.modules)

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Return the cross entropy, averaged over the batch."""
        labels = labels_of(batch)
        with ExitStack() as mixing:
            for name in self.modules_mixed:
                mixing.enter_context(self.network.on_output(name, partial(self.mixed, batch, name)))
            logits = self.logits(batch)
        return {"classification": self.classification_loss(logits, labels)}

    def mixed(self, batch: DomainBatch, name: str, output: Tensor) -> Tensor:
        """Return the output of the module ``name`` with mixed styles or, by a random draw per batch, unchanged."""
        random, settings, stream = random_of(batch), self.settings, f"mixstyle/{name}"
        if random.once(f"{stream}/probability", 1).item() > settings.probability:
            return output
        if settings.partners == "random":
            partner = random.permutation(stream, device=output.device)
        else:
            partner = partners_in_next_domain(batch, stream, len(self.context.sources))
        share = random.beta(stream, settings.alpha, settings.alpha, device=output.device)
        own = style_of(output, settings.epsilon)
        return mix_styles(output, own, (batch.gather(own[0])[partner], batch.gather(own[1])[partner]), share)


def mixed_modules(network: nn.Module, image_size: int, names: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the modules whose outputs are mixed: ``names``, or by default the three stages before the last.

    Raises InputError for an unknown module, and for one whose output is not a tensor with several positions.
    """
    shapes = output_shapes(network, image_size)
    for name in names or ():
        if name not in dict(network.named_modules()) or not name:
            raise unknown("module", name, list(shapes))
        if name not in shapes or _places(shapes[name]) < 2:
            got = f"shape (N, {', '.join(map(str, shapes[name][1:]))})" if name in shapes else "no single tensor"
            raise InputError(
                f"method.modules: {name!r} returns {got} for images of {image_size} pixels: expected feature maps with more "
                "than one position, over which mean and standard deviation are computed"
            )
    if names:
        return names
    chosen = tuple(name for name in stages(network, image_size, shapes)[:-1][-3:] if _places(shapes[name]) > 1)
    if not chosen:
        raise InputError(
            f"the stages of {type(network).__name__} have a single position for images of {image_size} pixels: use larger "
            "images for method 'mixstyle', or set --method.modules"
        )
    return chosen


def _places(shape: Shape) -> int:
    return prod(shape[axis] for axis in places_of(shape)) if len(shape) > 2 else 1
