"""Random augmentation of training images: a crop of each, then changes of the whole batch on its device.

Every image has its own random numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import kornia.augmentation as kornia_augmentation
import torch
from kornia.augmentation import AugmentationBase2D
from torch import Tensor, nn

from domain_masks.data.colours import ColorJitter
from domain_masks.data.cropping import RandomCrop, ResizedCrop, WholeImage, Window
from domain_masks.data.preprocessing import Preprocessing
from domain_masks.errors import InputError, unknown
from domain_masks.randomness import BatchRandomness
from domain_masks.records.setting_types import augmentation_name

_SHAPE = "forward_input_shape"


class RandomMirror(nn.Module):
    """Flips every image horizontally with a probability of one half."""

    def forward(self, images: Tensor, random: BatchRandomness) -> Tensor:
        """Return images (n, 3, H, W), some of them flipped; ``random`` has a row per image."""
        chosen = (random.uniform("augmentation/mirror") < 0.5).to(images.device)
        return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    - ``crop``: preprocessing -> the random crop of an original; None crops as evaluation does
    - ``steps``: the changes of a batch of crops, in order
    """

    crop: Callable[[Preprocessing], RandomCrop | None]
    steps: Callable[[], list[nn.Module]]


AUGMENTATIONS: dict[str, Augmentation] = {
    # The released code's for PACS: 0.8 to 1 of the area, horizontal flip, colour jitter of 0.4 each.
    "pacs": Augmentation(
        lambda _: ResizedCrop(scale=(0.8, 1.0)), lambda: [RandomMirror(), ColorJitter(0.4, 0.4, 0.4, 0.4)]
    ),
    # The released code's for DomainNet: a random crop of the loaded square, horizontal flip.
    "standard": Augmentation(
        lambda prepared: Window(prepared.size, prepared.load_size, prepared.enlarged_to), lambda: [RandomMirror()]
    ),
    # Rotation by up to 10 degrees, shift by up to a tenth; no flip, which would change a digit.
    "digits": Augmentation(
        lambda _: WholeImage(),
        lambda: [
            kornia_augmentation.RandomAffine(
                10.0, translate=(0.1, 0.1), padding_mode="border", align_corners=False, p=1.0
            )
        ],
    ),
    "none": Augmentation(lambda _: None, list),
}


def augmentation_named(name: str) -> Augmentation:
    """Return one of AUGMENTATIONS; raises InputError for an unknown name."""
    name = augmentation_name(name)
    if name not in AUGMENTATIONS:
        raise unknown("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]


class BatchAugmentation(nn.Module):
    """Augments and normalises training batches.

    ``name`` is one of AUGMENTATIONS. Random numbers are drawn for the global batch and sliced to this process's rows, so that
    an image is augmented in the same way for any number of processes. Raises InputError for an unknown name.
    """

    def __init__(self, name: str, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.name = name
        self.preprocessing = preprocessing
        self.steps = nn.ModuleList(augmentation_named(name).steps())

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
        changed = images.to(torch.float32).div_(255)
        with random.seeded("augmentation", images.device):
            for step in self.steps:
                changed = _changed(step, changed, random)
        return self.preprocessing.standardize(changed)


def _changed(step: nn.Module, images: Tensor, random: BatchRandomness) -> Tensor:
    if not isinstance(step, AugmentationBase2D):
        result: Tensor = step(images, random)
        return result
    drawn = step.forward_parameters(torch.Size((random.total, *images.shape[1:])))
    rows = slice(random.first, random.first + random.count)
    cut = {name: value[rows] for name, value in drawn.items() if name != _SHAPE}
    cut[_SHAPE] = torch.tensor(images.shape)
    augmented: Tensor = step(images, params=cut)
    return augmented
