"""Images that are measured or select the epoch, and whose content is among the images that are trained on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from domain_masks.data.content import UNREAD, content_keys
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
    keys = content_keys(splits.dataset.contents)
    seen = {"training": splits.train, "validation": splits.validation}
    lines = [
        _sentence("held-out", splits.held_out, seen, keys),
        *([] if splits.test is None else [_sentence("in-domain test", splits.test, seen, keys)]),
        _sentence("validation", splits.validation, {"training": splits.train}, keys),
    ]
    return [line for line in lines if line]


def _sentence(name: str, part: Subset, others: Mapping[str, Subset], keys: NDArray[np.void]) -> str:
    """Return the sentence about one part; ``keys``: (N,), of the dataset's images."""
    own = keys[part.indices]
    is_read = own != content_keys(np.frombuffer(UNREAD, np.uint8)[None])
    concerned = np.zeros(len(own), dtype=np.bool_)
    kinds, example = [], ""
    for kind, other in others.items():
        theirs = keys[other.indices]
        equal = np.isin(own, theirs) & is_read
        if not equal.any():
            continue
        kinds.append(kind)
        concerned |= equal
        row = int(equal.argmax())
        example = example or f"{part.ids[row]} and {other.ids[int((theirs == own[row]).argmax())]}"
    if not kinds:
        return ""
    count = int(concerned.sum())
    return (
        f"{count:,} of {len(own):,} {name} images {'are' if count > 1 else 'is'} also among the {' and '.join(kinds)} images, "
        f"such as {example}: leave one of each out, as accuracy on images that were learned says nothing about others. "
        "`dmg data check` lists equal images"
    )
