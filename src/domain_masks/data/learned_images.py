"""Images that are measured or select the epoch, and whose content is among the images that are trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from domain_masks.data.content import UNREAD
from domain_masks.data.dataset import Subset
from domain_masks.data.splits import DomainSplits


def learned_images(splits: DomainSplits) -> list[str]:
    """Return a sentence per part of the dataset with images that are also trained on, or select the epoch.

    Held-out and in-domain test images are compared with training and validation images, validation images with training
    images, by the hash of their files, so that copies in another format are not found (``dmg data check`` compares pixels).
    Empty for a dataset that was not identified.
    """
    if splits.dataset.contents is None:
        return []
    learned = {"training": (splits.train, _keys(splits.train))}
    seen = {**learned, "validation": (splits.validation, _keys(splits.validation))}
    lines = [
        _sentence("held-out", splits.held_out, seen),
        *([] if splits.test is None else [_sentence("in-domain test", splits.test, seen)]),
        _sentence("validation", splits.validation, learned),
    ]
    return [line for line in lines if line]


def _keys(part: Subset) -> NDArray[np.uint64]:
    """Return 8 bytes of each image's hash, (N,): a million images have two equal ones with a chance of 3e-8."""
    if part.dataset.contents is None:
        raise ValueError("expected a dataset that was identified")
    return np.ascontiguousarray(part.dataset.contents[part.indices, :8]).view("<u8").reshape(-1)


def _sentence(name: str, part: Subset, others: dict[str, tuple[Subset, NDArray[np.uint64]]]) -> str:
    own = _keys(part)
    own_read = own != np.frombuffer(UNREAD[:8], "<u8")[0]
    concerned = np.zeros(len(own), dtype=np.bool_)
    kinds, example = [], ""
    for kind, (other, keys) in others.items():
        equal = np.isin(own, keys) & own_read
        if not equal.any():
            continue
        kinds.append(kind)
        concerned |= equal
        row = int(equal.argmax())
        example = example or f"{part.ids[row]} and {other.ids[int((keys == own[row]).argmax())]}"
    if not kinds:
        return ""
    count = int(concerned.sum())
    return (
        f"{count:,} of {len(own):,} {name} images {'are' if count > 1 else 'is'} also among the {' and '.join(kinds)} images, "
        f"such as {example}: leave one of each out, as accuracy on images that were learned says nothing about others. "
        "`dmg data check` lists equal images"
    )
