"""Predictions compared with the names of the images' folders: accuracy on new images, by class and by mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from domain_masks.deploy.predicting.image_paths import STANDARD_INPUT, Unreadable, find_images
from domain_masks.deploy.predicting.prediction import Prediction
from domain_masks.errors import InputError
from domain_masks.evaluation.confusion import most_confused, per_class_accuracy
from domain_masks.records.counts import counted, first_of

_SHOWN = 5


class FolderLabels:
    """Counts of predictions by label, where the label is the name of the folder that an image lies in.

    - ``matrix``: (C, C), number of images by label (row) and predicted class
    - ``left_out``: name of a folder that is no class -> number of its images, which are in no other number

    - ``test_time``: the option with which the images were predicted, such as "tent"; None for ordinary predictions

    Only counts are kept, so that the memory does not depend on the number of images.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self.matrix = np.zeros((len(classes), len(classes)), np.int64)
        self.left_out: Counter[str] = Counter()
        self.test_time: str | None = None
        self._rows = {name: row for row, name in enumerate(classes)}
        self._right_votes: Counter[str] = Counter()

    @classmethod
    def of(cls, classes: Sequence[str], paths: Sequence[str]) -> FolderLabels:
        """Return empty counts for the images of ``paths``; raises InputError as :meth:`check` does, but for standard input."""
        labels = cls(classes)
        if STANDARD_INPUT not in paths:
            labels.check(find_images(paths))
        return labels

    def check(self, images: Iterable[str | Unreadable]) -> None:
        """Raise InputError if no image lies in a folder with the name of a class; stops at the first one that does."""
        others: dict[str, None] = {}
        for image in images:
            if not isinstance(image, Unreadable):
                if (folder := folder_of(image)) in self._rows:
                    return
                others[folder] = None
        raise InputError(
            "labels: expected images in folders with the names of the model's classes "
            f"({first_of(self.classes)}), got folders {first_of(list(others))}: rename the folders, or leave out labels"
        )

    def add(self, prediction: Prediction) -> None:
        """Count a prediction; one without a path, or in a folder that is no class, is left out."""
        folder = folder_of(prediction.name or "")
        if folder not in self._rows:
            self.left_out[folder] += 1
            return
        self.test_time = prediction.test_time
        self.matrix[self._rows[folder], self._rows[prediction.class_name]] += 1
        self._right_votes.update({source: int(vote.class_name == folder) for source, vote in prediction.votes.items()})

    @property
    def images(self) -> int:
        """Number of images with a label."""
        return int(self.matrix.sum())

    @property
    def accuracy(self) -> float:
        """Fraction of the images with a label that are predicted as it says, in [0, 1]; NaN without images."""
        return float(np.trace(self.matrix)) / self.images if self.images else float("nan")

    @property
    def by_class(self) -> dict[str, float]:
        """Class -> accuracy on its images, in [0, 1], for classes with images."""
        return per_class_accuracy(self.matrix, self.classes)

    @property
    def by_mask(self) -> dict[str, float]:
        """Source domain -> accuracy under its mask or head alone, in [0, 1]; empty without votes."""
        return {source: count / self.images for source, count in self._right_votes.items()}

    def lines(self) -> list[str]:
        """Return what is printed at the end."""
        left = self.left_out.total()
        out = [
            f"left out of the accuracy: {counted(left, 'image')} in folders that are no class: {first_of(list(self.left_out))}"
        ]
        if not self.images:
            return out
        by_class = self.by_class
        mean = sum(by_class.values()) / len(by_class)
        marked = f" ({self.test_time})" if self.test_time else ""
        found = [
            f"accuracy{marked}, labels from folders: {100 * self.accuracy:.2f} % of {counted(self.images, 'image')}; "
            f"mean over {counted(len(by_class), 'class', 'classes')} {100 * mean:.2f} %"
        ]
        if self.by_mask:
            found.append("by mask: " + ", ".join(f"{name} {100 * value:.2f} %" for name, value in self.by_mask.items()))
        numbers = dict(zip(self.classes, self.matrix.sum(axis=1).tolist(), strict=True))
        lowest = sorted(by_class, key=by_class.__getitem__)[:_SHOWN]
        found.append(
            "lowest: " + ", ".join(f"{name} {100 * by_class[name]:.2f} % (n {numbers[name]:,})" for name in lowest)
        )
        if confused := most_confused(self.matrix, _SHOWN):
            pairs = (f"{self.classes[label]} as {self.classes[other]} ({count:,})" for label, other, count in confused)
            found.append("most confused: " + ", ".join(pairs))
        return found + (out if left else [])


def folder_of(path: str) -> str:
    """Return the name of the folder that an image lies in."""
    return Path(path).absolute().parent.name
