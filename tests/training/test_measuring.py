"""A run whose in-domain test images are half of the validation list: what selects, what is measured, what is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import generated
from domain_masks.analysis import analyze
from domain_masks.data import ImageDataset
from domain_masks.errors import InputError
from domain_masks.records.collection import collect
from domain_masks.records.results import LEARNED_IMAGES, LEARNED_NOTHING
from domain_masks.report.runs.groups import groups_of
from domain_masks.training import evaluate, run

HALF = {"in_domain_test": "validation-half", "epochs": 1}


@pytest.fixture(scope="module")
def official() -> ImageDataset:
    """Of each class and domain 12 images of the training list, 8 of the validation list, none of a test list."""
    data = generated.dataset()
    return replace(data, splits=np.array((["train"] * 12 + ["val"] * 8) * 9))


class Silent:
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


@pytest.fixture(scope="module")
def runs(official: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("runs")
    listener = Silent()
    made = {
        "dmg": run(generated.config(**HALF), out / "dmg", dataset=official, reporter=listener),
        "aggregate": run(
            generated.config(**HALF, method="aggregate", seed=1), out / "aggregate", dataset=official, reporter=Silent()
        ),
        "usual": run(generated.config(epochs=1), out / "usual", dataset=official, reporter=Silent()),
    }
    return {**made, "said": "\n".join(listener.said)}


def test_the_records_say_what_was_measured(runs: dict[str, Any]) -> None:
    results = runs["dmg"].results
    assert (results.in_domain.split, results.known_domain.split) == ("validation-half", "validation-half")
    assert (results.in_domain.count, results.nearest_source.split) == (24, "validation-half")
    assert results.to_dict()["protocol"]["in_domain_test"] == "validation-half"
    assert "in_domain_test" not in runs["usual"].results.to_dict()["protocol"]
    assert (runs["usual"].results.in_domain.split, runs["usual"].results.in_domain.count) == ("validation", 48)
    assert "24 of the dataset's validation images, drawn by split_seed 0, are the in-domain test images" in runs["said"]


def test_what_tests_selects_nothing_and_is_the_same_for_every_method_and_seed(runs: dict[str, Any]) -> None:
    whole = {name: RunIds(runs[name]) for name in ("dmg", "aggregate", "usual")}
    assert whole["dmg"].test == whole["aggregate"].test
    assert whole["dmg"].validation == whole["aggregate"].validation
    assert not whole["dmg"].test & whole["dmg"].validation
    assert whole["dmg"].test | whole["dmg"].validation == whole["usual"].validation
    accuracy = runs["dmg"].folder.metrics.read_text().splitlines()
    selected = float(dict(zip(accuracy[0].split(","), accuracy[1].split(","), strict=True))["validation_accuracy"])
    predictions = collect([runs["dmg"].folder.path]).runs[0].predictions().select(split="validation")
    correct = predictions.of("predictions").argmax(-1) == predictions.labels
    own = [correct[predictions.domains == domain].mean() for domain in np.unique(predictions.domains)]
    assert selected == pytest.approx(np.mean(own))


class RunIds:
    def __init__(self, made: Any) -> None:
        predictions = collect([made.folder.path]).runs[0].predictions()
        self.test = set(predictions.ids[predictions.splits == "test"])
        self.validation = set(predictions.ids[predictions.splits == "validation"])


def test_evaluating_and_analysing_again_keep_the_protocol(runs: dict[str, Any], official: ImageDataset) -> None:
    folder, results = runs["dmg"].folder, runs["dmg"].results
    again = evaluate(folder.path, Silent(), dataset=official).results
    assert again.in_domain == results.in_domain
    analysis = analyze(folder.path, dataset=official, reporter=Silent())
    assert analysis.mask_by_domain_splits["dots"] == "validation-half"
    assert analysis.nearest_source.right.split == "validation-half"
    assert analysis.ablation.split["dots"] == "validation-half"
    (group,) = groups_of(collect([folder.path]).runs)
    assert group.analysis(group.records[0]) is not None, "it is of the same images"


def test_it_is_a_protocol_of_its_own_in_reports(runs: dict[str, Any]) -> None:
    groups = groups_of(collect([runs[name].folder.path for name in ("dmg", "aggregate", "usual")]).runs)
    titles = [group.title for group in groups]
    assert sum("in-domain test validation-half" in title for title in titles) == 1
    assert len(groups) == 2
    (group,) = groups_of(collect([runs["dmg"].folder.path]).runs)
    assert "in-domain test validation-half" in group.title, "also alone"


def test_a_run_that_did_not_record_the_setting_has_the_protocol_of_those_that_do(runs: dict[str, Any]) -> None:
    (now,) = collect([runs["usual"].folder.path]).runs
    before = replace(now, config={name: value for name, value in now.config.items() if name != "in_domain_test"})
    assert len(groups_of([now, before])) == 1


def test_a_model_that_learned_nothing_is_said_to_be_no_better_than_one_class(tmp_path: Path) -> None:
    data = generated.dataset()
    # Of the red images, the last of a domain's, half are labelled blue, which is then the most frequent class.
    labels = np.where((data.labels == 2) & (np.arange(len(data.labels)) % 2 == 0), 0, data.labels)
    data = replace(data, labels=labels)
    cannot = run(generated.config(lr=1e-9, epochs=1), tmp_path / "a", dataset=data, reporter=Silent())
    (note,) = [note for note in cannot.results.notes or () if note.about == LEARNED_NOTHING]
    predictions = collect([cannot.folder.path]).runs[0].predictions().select(split="validation")
    most = np.bincount(predictions.labels).max() / len(predictions)
    accuracy = (predictions.of("predictions").argmax(-1) == predictions.labels).mean()
    assert accuracy <= most
    assert f"predicting 'blue' for all of them (here {100 * accuracy:.1f} %, and {100 * most:.1f} %)" in note.text
    can = run(generated.config(epochs=3), tmp_path / "b", dataset=data, reporter=Silent())
    assert LEARNED_NOTHING not in [note.about for note in can.results.notes or ()]
    for changes in ({"fast": True}, {"class_weights": "balanced"}):
        other = run(
            generated.config(lr=1e-9, epochs=1, **changes), tmp_path / str(changes), dataset=data, reporter=Silent()
        )
        assert LEARNED_NOTHING not in [note.about for note in other.results.notes or ()], (
            "it was to learn something else"
        )


def test_a_run_says_that_held_out_images_are_trained_on(tmp_path: Path) -> None:
    for domain in ("art", "photo"):
        for name, level in (("cat", 0), ("dog", 100)):
            (tmp_path / "data" / domain / name).mkdir(parents=True)
            for number in range(10):
                image = Image.new("RGB", (32, 32), (level + number, number, len(domain)))
                image.save(tmp_path / "data" / domain / name / f"{number}.png")
    (tmp_path / "data" / "copy").symlink_to("photo")
    listener = Silent()
    config = generated.config(dataset=str(tmp_path / "data"), target=("photo",), epochs=1)
    results = run(config, tmp_path / "run", reporter=listener).results
    (note,) = [note.text for note in results.notes or () if note.about == LEARNED_IMAGES]
    assert note.startswith(
        "18 of 20 held-out images are also among the training and validation images, such as photo/cat/"
    )
    assert f"note: {note}" in listener.said
    assert results.out_of_domain.count == 20


def test_a_dataset_with_test_images_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"in_domain_test: .*leave it out"):
        run(generated.config(**HALF), tmp_path / "r", dataset=generated.dataset(), reporter=Silent())
    assert not (tmp_path / "r").exists()
