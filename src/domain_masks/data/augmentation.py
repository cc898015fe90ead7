"""Random changes of training pictures: a whole batch at once, on its own device, every picture by its own numbers."""

from __future__ import annotations

from collections.abc import Callable

import kornia.augmentation as kornia_augmentation
import torch
from kornia.augmentation import AugmentationBase2D
from torch import Tensor, nn

from domain_masks.data.preprocessing import Preprocessing
from domain_masks.errors import InputError, unknown
from domain_masks.randomness import BatchRandomness

# Drawn once for a whole batch: the order of the colour changes. The shape is no random number at all.
_ONCE_PER_BATCH = ("order", "forward_input_shape")


class CentralResize(nn.Module):
    """Cuts the central ``part`` (0..1] out of squares (N, 3, L, L), resized to (N, 3, size, size) with antialiasing."""

    def __init__(self, size: int, part: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.part = part

    def forward(self, images: Tensor) -> Tensor:
        """Return the resized centre; the pictures themselves where nothing is to be done."""
        side = max(1, round(images.shape[-1] * self.part))
        start = (images.shape[-1] - side) // 2
        images = images[..., start : start + side, start : start + side]
        if side == self.size:
            return images
        return nn.functional.interpolate(
            images, (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
        ).clamp(0, 1)


def _pacs(preprocessing: Preprocessing) -> list[nn.Module]:
    """Random resized crop of 0.8 to 1 of the area, mirror, colour jitter of 0.4 each: the released code's for PACS."""
    side = (preprocessing.size, preprocessing.size)
    return [
        # Slicing is twice as fast as warping on a CPU, and its boxes are drawn there: no device waits for them.
        kornia_augmentation.RandomResizedCrop(
            side, scale=(0.8, 1.0), ratio=(3 / 4, 4 / 3), align_corners=False, cropping_mode="slice"
        ),
        kornia_augmentation.RandomHorizontalFlip(p=0.5),
        kornia_augmentation.ColorJitter(0.4, 0.4, 0.4, 0.4, p=1.0),
    ]


def _domainnet(preprocessing: Preprocessing) -> list[nn.Module]:
    """Random crop from the loaded square, mirror: the released code's for DomainNet."""
    side = (preprocessing.size, preprocessing.size)
    return [
        kornia_augmentation.RandomCrop(side, cropping_mode="slice"),
        kornia_augmentation.RandomHorizontalFlip(p=0.5),
    ]


def _digits(preprocessing: Preprocessing) -> list[nn.Module]:
    """Rotation by up to 10 degrees, shift by up to a tenth; never a mirror, which would change what a digit says."""
    return [
        CentralResize(preprocessing.size),
        kornia_augmentation.RandomAffine(10.0, translate=(0.1, 0.1), padding_mode="border", align_corners=False, p=1.0),
    ]


def _none(preprocessing: Preprocessing) -> list[nn.Module]:
    """The view that evaluation has: nothing is random."""
    return [CentralResize(preprocessing.size, preprocessing.size / preprocessing.resize)]


AUGMENTATIONS: dict[str, Callable[[Preprocessing], list[nn.Module]]] = {
    "pacs": _pacs,
    "domainnet": _domainnet,
    "digits": _digits,
    "none": _none,
}


class BatchAugmentation(nn.Module):
    """Augments and normalises training batches.

    ``name`` is one of AUGMENTATIONS. The numbers are drawn for the global batch and cut to this process's rows, so that
    a picture is changed in the same way however many processes share its batch. Raises InputError for an unknown name.
    """

    def __init__(self, name: str, preprocessing: Preprocessing) -> None:
        super().__init__()
        if name not in AUGMENTATIONS:
            raise unknown("augmentation", name, AUGMENTATIONS)
        self.name = name
        self.preprocessing = preprocessing
        self.steps = nn.ModuleList(AUGMENTATIONS[name](preprocessing))

    @torch.no_grad()
    def forward(self, images: Tensor, random: BatchRandomness) -> Tensor:
        """Return uint8 (N, 3, L, L) augmented and normalised, float32 (N, 3, size, size), on the same device.

        ``random`` belongs to the batch: N is its ``count``. Raises InputError if the pictures are not bytes or not
        as many as that.
        """
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise InputError(f"expected uint8 pictures (N, 3, L, L), got {images.dtype} {tuple(images.shape)}")
        if len(images) != random.count:
            raise InputError(
                f"expected {random.count} pictures, as many as there are random numbers, got {len(images)}"
            )
        if len(images) == 0:
            size = self.preprocessing.size
            return torch.empty(0, 3, size, size, device=images.device)
        changed = images.to(torch.float32).div_(255)
        with random.seeded("augmentation", images.device):
            for step in self.steps:
                changed = _changed(step, changed, random)
        return self.preprocessing.standardize(changed)


def _changed(step: nn.Module, images: Tensor, random: BatchRandomness) -> Tensor:
    if not isinstance(step, AugmentationBase2D):
        result: Tensor = step(images)
        return result
    drawn = step.forward_parameters(torch.Size((random.total, *images.shape[1:])))
    rows = slice(random.first, random.first + random.count)
    cut = {name: value if name in _ONCE_PER_BATCH else value[rows] for name, value in drawn.items()}
    cut["forward_input_shape"] = torch.tensor(images.shape)
    augmented: Tensor = step(images, params=cut)
    return augmented
