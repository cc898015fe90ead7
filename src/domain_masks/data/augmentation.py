"""Random augmentation of training images: a crop of each, then changes of the whole batch on its device.

Every image has its own random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from domain_masks.data.auto_augmentation import ImagePolicy, erase
from domain_masks.data.colours import ColorJitter, change_colours, planes_for, together
from domain_masks.data.cropping import RandomCrop, ResizedCrop, WholeImage, Window
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.devices import moved
from domain_masks.errors import InputError, unknown
from domain_masks.randomness import BatchRandomness
from domain_masks.records.setting_types import augmentation_name

if TYPE_CHECKING:
    from kornia.augmentation import AugmentationBase2D

_SHAPE = "forward_input_shape"
_IN_CACHE = 2**18
"""Numbers of a chunk of images on CPUs, at least one image: about what stays in a core's own cache."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, in this order.

    - ``crop``: preprocessing -> the random crop of an original; None crops as evaluation does
    - ``mirror``: whether images are flipped horizontally with a probability of one half
    - ``colours``: the colour jitter, or None
    - ``steps``: makes further changes of a batch, Kornia's
    - ``policy``: changes of each crop as it is read, before all others: a name in POLICIES, or ``none``
    - ``erasing``: probability that a rectangle of the normalised image is erased, in [0, 1]
    """

    crop: Callable[[Preprocessing], RandomCrop | None]
    mirror: bool = False
    colours: ColorJitter | None = None
    steps: Callable[[], list[AugmentationBase2D]] = list
    policy: str = "none"
    erasing: float = 0.0

    @property
    def image_policy(self) -> ImagePolicy | None:
        """The changes of each crop as it is read; None where there are none."""
        return None if self.policy == "none" else ImagePolicy(self.policy)


def _affine() -> list[AugmentationBase2D]:
    from kornia.augmentation import RandomAffine  # noqa: PLC0415 - seconds to import, for small images alone

    return [RandomAffine(10.0, translate=(0.1, 0.1), padding_mode="border", align_corners=False, p=1.0)]


AUGMENTATIONS: dict[str, Augmentation] = {
    # The released code's for PACS: 0.8 to 1 of the area, horizontal flip, colour jitter of 0.4 each.
    "pacs": Augmentation(lambda _: ResizedCrop(scale=(0.8, 1.0)), mirror=True, colours=ColorJitter(0.4, 0.4, 0.4, 0.4)),
    # The released code's for DomainNet: a random crop of the loaded square, horizontal flip.
    "standard": Augmentation(
        lambda prepared: Window(prepared.size, prepared.load_size, prepared.enlarged_to), mirror=True
    ),
    # Rotation by up to 10 degrees, shift by up to a tenth; no flip, which would change a digit.
    "digits": Augmentation(lambda _: WholeImage(), steps=_affine),
    "none": Augmentation(lambda _: None),
}


def augmentation_named(name: str | Augmentation, policy: str = "none", erasing: float = 0.0) -> Augmentation:
    """Return one of AUGMENTATIONS, with a policy and random erasing if they are given; raises InputError for an unknown name.

    An augmentation is returned unchanged.
    """
    if isinstance(name, Augmentation):
        return name
    known = augmentation_name(name)
    if known not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    return replace(AUGMENTATIONS[known], policy=policy, erasing=erasing)


@dataclass(frozen=True)
class _Draws:
    """The random numbers of a batch of n images, on the CPU.

    - ``mirrored``: (n,) bool, or None
    - ``factors``, ``orders``: those of :meth:`ColorJitter.draw`, or None
    """

    mirrored: Tensor | None
    factors: Tensor | None
    orders: Tensor | None


class BatchAugmentation(nn.Module):
    """Augments and normalises training batches; a policy has changed their images where they were read.

    ``augmentation`` is one of AUGMENTATIONS, or its name. Random numbers are drawn for the global batch and sliced to this
    process's rows, so that an image is augmented in the same way for any number of processes. Raises InputError for an unknown
    name.
    """

    def __init__(self, augmentation: str | Augmentation, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.preprocessing = preprocessing
        self.augmentation = augmentation_named(augmentation)
        self.steps = nn.ModuleList(self.augmentation.steps())

    @torch.no_grad()
    def forward(self, images: Tensor, random: BatchRandomness) -> Tensor:
        """Return uint8 (N, 3, size, size) augmented and normalised, float32 of the same shape, on the same device.

        The images are the crops of the augmentation. ``random`` belongs to the batch: N is its ``count``.
        Raises InputError for another type, shape or number of images.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise InputError(f"expected uint8 images (N, 3, H, W), got {images.dtype} {tuple(images.shape)}")
        if len(images) != random.count:
            raise InputError(f"expected {random.count} images, as many as there are random numbers, got {len(images)}")
        if len(images) == 0:
            return torch.empty(images.shape, device=images.device)
        changed = self._changed(images, random)
        if self.augmentation.erasing:
            erase(changed, self.augmentation.erasing, random)
        return changed

    def _changed(self, images: Tensor, random: BatchRandomness) -> Tensor:
        draws = self._draw(random)
        if len(self.steps) == 0 and images.device.type == "cpu":
            return self._by_chunks(images, draws)
        changed = _changed_at_once(images, draws)
        with random.seeded("augmentation", images.device):
            for step in self.steps:
                changed = _changed_by_kornia(cast("AugmentationBase2D", step), changed, random)
        return self.preprocessing.standardize(changed)

    def _draw(self, random: BatchRandomness) -> _Draws:
        mirrored = random.uniform("augmentation/mirror") < 0.5 if self.augmentation.mirror else None
        jitter = self.augmentation.colours
        factors, orders = (None, None) if jitter is None else jitter.draw(random)
        return _Draws(mirrored, factors, orders)

    def _by_chunks(self, images: Tensor, draws: _Draws) -> Tensor:
        """Change a few images after the other, each of which is fetched from memory once and written back once."""
        result = torch.empty(images.shape)
        limit = max(1, _IN_CACHE // images[0].numel())
        chunk = result.new_empty(min(limit, len(images)), *images.shape[1:])
        planes = planes_for(chunk)
        mean, std = (
            chunk.new_tensor(values).view(3, 1, 1) for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        mirrored = [False] * len(images) if draws.mirrored is None else draws.mirrored.tolist()
        for rows, order in _chunks(draws.orders, len(images), limit):
            part = chunk[: len(rows)]
            for place, row in enumerate(rows):
                part[place].copy_(images[row].flip(-1) if mirrored[row] else images[row])
            part.div_(255)
            if draws.factors is not None:
                change_colours(part, draws.factors[rows], order, planes[:, : len(rows)])
            part.sub_(mean)
            for place, row in enumerate(rows):
                torch.div(part[place], std, out=result[row])
        return result


def _chunks(orders: Tensor | None, count: int, limit: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield up to ``limit`` rows of a batch whose colours change in one order, and that order."""
    rows_by_order: dict[tuple[int, ...], list[int]] = {}
    for row, order in enumerate([()] * count if orders is None else map(tuple, orders.tolist())):
        rows_by_order.setdefault(order, []).append(row)
    for order, rows in rows_by_order.items():
        for start in range(0, len(rows), limit):
            yield rows[start : start + limit], list(order)


def _changed_at_once(images: Tensor, draws: _Draws) -> Tensor:
    """Change a whole batch, with as few operations as there can be: a GPU's time goes by their number."""
    device = images.device
    changed = images.to(torch.float32).div_(255)
    if draws.mirrored is not None:
        changed = torch.where(moved(draws.mirrored, device).view(-1, 1, 1, 1), changed.flip(-1), changed)
    if draws.factors is None or draws.orders is None:
        return changed
    factors = moved(draws.factors, device)
    rows, steps = together(draws.orders)
    for (number, count), chosen in zip(
        steps, torch.split(moved(rows, device), [count for _, count in steps]), strict=True
    ):
        if count == len(changed):
            change_colours(changed, factors, (number,), planes_for(changed))
        elif count:
            part = changed[chosen]
            change_colours(part, factors[chosen], (number,), planes_for(part))
            changed[chosen] = part
    return changed


def _changed_by_kornia(step: AugmentationBase2D, images: Tensor, random: BatchRandomness) -> Tensor:
    drawn = step.forward_parameters(torch.Size((random.total, *images.shape[1:])))
    rows = slice(random.first, random.first + random.count)
    cut = {name: value[rows] for name, value in drawn.items() if name != _SHAPE}
    cut[_SHAPE] = torch.tensor(images.shape)
    augmented: Tensor = step(images, params=cut)
    return augmented
