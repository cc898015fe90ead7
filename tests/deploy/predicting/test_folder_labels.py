"""Accuracies from the names of folders, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from domain_masks.deploy.predicting.folder_labels import FolderLabels, folder_of
from domain_masks.deploy.predicting.prediction import Guess, Prediction
from domain_masks.errors import InputError


def prediction(path: str, predicted: str, **votes: str) -> Prediction:
    return Prediction(path, (Guess(predicted, 0.5),), {source: Guess(name, 0.5) for source, name in votes.items()})


def test_accuracies_are_those_counted_by_hand() -> None:
    labels = FolderLabels(["cat", "dog", "owl"])
    labels.add(prediction("new/cat/1.png", "cat", a="cat", b="dog"))
    labels.add(prediction("new/cat/2.png", "dog", a="cat", b="dog"))
    labels.add(prediction("new/cat/3.png", "dog", a="owl", b="cat"))
    labels.add(prediction("new/dog/4.png", "dog", a="dog", b="cat"))
    labels.add(prediction("new/misc/5.png", "dog", a="dog", b="dog"))
    assert (labels.images, labels.accuracy) == (4, 0.5)
    assert labels.by_class == {"cat": pytest.approx(1 / 3), "dog": 1.0}
    assert labels.by_mask == {"a": 0.75, "b": 0.25}
    assert labels.lines() == [
        "accuracy, labels from folders: 50.00 % of 4 images; mean over 2 classes 66.67 %",
        "by mask: a 75.00 %, b 25.00 %",
        "lowest: cat 33.33 % (n 3), dog 100.00 % (n 1)",
        "most confused: cat as dog (2)",
        "left out of the accuracy: 1 image in folders that are no class: 'misc'",
    ]


def test_an_option_at_test_time_is_named_beside_its_number() -> None:
    labels = FolderLabels(["cat", "dog"])
    labels.add(replace(prediction("new/cat/1.png", "cat"), test_time="tent"))
    assert labels.lines()[0].startswith("accuracy (tent), labels from folders: 100.00 % of 1 image;")


def test_no_folder_with_the_name_of_a_class_is_one_message() -> None:
    with pytest.raises(InputError, match=r"'cat', 'dog'.*got folders 'misc'"):
        FolderLabels(["cat", "dog"]).check(["misc/1.png", "misc/2.png"])
    FolderLabels(["cat", "dog"]).check(["misc/1.png", "new/dog/2.png"])


def test_the_folder_of_an_image_in_the_working_directory_has_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_of("1.png") == folder_of("./1.png") == tmp_path.name
