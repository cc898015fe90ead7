"""What a check looks at: a row per picture, and what decoding it gave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pandas as pd
from PIL import Image

from domain_masks.data.checking.findings import Finding
from domain_masks.data.checking.tree import FolderTree
from domain_masks.data.decoding import PictureFacts, Problem
from domain_masks.records.files import printable


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a dataset; its ``domain`` and ``class_name`` are empty where they cannot be told."""

    path: str
    domain: str
    class_name: str
    split: str = ""
    group: str = ""
    problem: Problem | None = None
    facts: PictureFacts | None = None

    @property
    def placed(self) -> bool:
        """Whether its domain and class are known, so that it is a picture of the dataset."""
        return bool(self.domain and self.class_name)


@dataclass(frozen=True)
class Index:
    """A dataset as a check sees it.

    - ``source``: where it was found, for the headline
    - ``tree``: what else lies in that folder, where it was walked
    - ``found``: what was noticed while reading folders and lists
    - ``fingerprint``: the dataset's, where its pictures are no files of their own
    """

    name: str
    source: str
    pictures: tuple[Picture, ...]
    open_image: Callable[[int], Image.Image]
    tree: FolderTree | None = None
    found: tuple[Finding, ...] = field(default=())
    fingerprint: str = ""


def count_table(pictures: tuple[Picture, ...]) -> pd.DataFrame:
    """Return the number of pictures per class (rows) and domain (columns), zeros included."""
    placed = [(printable(picture.class_name), printable(picture.domain)) for picture in pictures if picture.placed]
    frame = pd.DataFrame(placed, columns=["class", "domain"])
    return pd.crosstab(frame["class"], frame["domain"])
