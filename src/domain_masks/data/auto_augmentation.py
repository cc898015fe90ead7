"""Torchvision's policies of random changes (RandAugment, TrivialAugment) and random erasing, with keyed random numbers.

Torchvision draws from torch's global generator, once for a whole batch. Here every image has a key of its own, with which the
generator is seeded for it alone: an image is changed in the same way in a worker process and on a device that holds all images,
and for any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from domain_masks.errors import unknown
from domain_masks.randomness import BatchRandomness
from domain_masks.torch_globals import EXCLUSIVE

_POLICY = "augmentation/policy"
_ERASING = "augmentation/erasing"


def _randaugment() -> Any:
    from torchvision.transforms import v2  # noqa: PLC0415 - a second to import

    return v2.RandAugment(interpolation=v2.InterpolationMode.BILINEAR)


def _trivialaugment() -> Any:
    from torchvision.transforms import v2  # noqa: PLC0415

    return v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR)


POLICIES: dict[str, Callable[[], Any]] = {"randaugment": _randaugment, "trivialaugment": _trivialaugment}
"""Name of ``--auto_augment`` -> torchvision's transform, with torchvision's own strengths."""


class ImagePolicy:
    """Changes images one by one, as torchvision's policy ``name`` does; raises InputError for an unknown name.

    The transform is made where it is first used, so that a policy can be sent to worker processes.
    """

    def __init__(self, name: str) -> None:
        if name not in POLICIES:
            raise unknown("policy of augmentation", name, POLICIES)
        self.name = name
        self._transform: Any = None

    def __call__(self, image: Tensor, key: int) -> Tensor:
        """Return an image, uint8 (3, H, W), changed as ``key`` draws; on the same device."""
        if self._transform is None:
            self._transform = POLICIES[self.name]()
        with _drawing_from(key):
            changed: Tensor = self._transform(image)
        return changed


def policy_keys(random: BatchRandomness) -> Tensor:
    """Return the key of :class:`ImagePolicy` for every row of a batch, int64 (count,)."""
    return random.keys(_POLICY)


def erase(images: Tensor, probability: float, random: BatchRandomness) -> None:
    """Erase a rectangle of some normalised images (N, 3, H, W) in place, as torchvision's ``RandomErasing``: mean colour."""
    from torchvision.transforms import v2  # noqa: PLC0415

    # Which images it is, is drawn for the whole batch; where, for each of them.
    chosen = (random.uniform(_ERASING) < probability).tolist()
    transform = v2.RandomErasing(p=1.0)
    shape = torch.empty(images.shape[1:], device="meta")
    for row, key in enumerate(random.keys(_ERASING).tolist()):
        if not chosen[row]:
            continue
        with _drawing_from(key):
            found = transform.make_params([shape])
        if found["v"] is not None:
            top, left = found["i"], found["j"]
            images[row, :, top : top + found["h"], left : left + found["w"]] = 0.0


@contextmanager
def _drawing_from(key: int) -> Iterator[None]:
    """Seed torch's generator of the CPU, from which torchvision draws whatever the images' device; restore it afterwards."""
    # All threads share it.
    with EXCLUSIVE:
        before = torch.default_generator.get_state()
        torch.default_generator.manual_seed(key)
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
