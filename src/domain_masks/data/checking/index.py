"""The input of a check: a row per image, with the result of decoding it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from PIL import Image

from domain_masks.data.checking.occurrences import Finding
from domain_masks.data.checking.tree import FolderTree
from domain_masks.data.decoding import ImageFacts, Problem
from domain_masks.records.files import printable


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """One image of a dataset; its ``domain`` and ``class_name`` are empty where they are unknown."""

    path: str
    domain: str
    class_name: str
    split: str = ""
    group: str = ""
    problem: Problem | None = None
    facts: ImageFacts | None = None

    @property
    def placed(self) -> bool:
        """Whether its domain and class are known, so that it is an image of the dataset."""
        return bool(self.domain and self.class_name)


@dataclass(frozen=True)
class Index:
    """The images of a dataset and the findings made while listing them.

    - ``source``: where it lies, for the headline
    - ``tree``: the other content of that folder, where it was walked
    - ``findings``: those made while reading folders and lists
    - ``fingerprint``: the dataset's, where its images are not single files
    """

    name: str
    source: str
    images: tuple[CheckedImage, ...]
    open_image: Callable[[int], Image.Image]
    tree: FolderTree | None = None
    findings: tuple[Finding, ...] = field(default=())
    fingerprint: str = ""


def count_table(images: tuple[CheckedImage, ...]) -> pd.DataFrame:
    """Return the number of images per class (rows) and domain (columns), zeros included."""
    placed = [(printable(image.class_name), printable(image.domain)) for image in images if image.placed]
    frame = pd.DataFrame(placed, columns=["class", "domain"])
    return pd.crosstab(frame["class"], frame["domain"])
