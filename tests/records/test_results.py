import copy
import json

import numpy as np
import pytest
from pydantic import ValidationError

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import Results
from domain_masks.records.results import SCHEMA, ClassifierAccuracy, NearestAccuracy, SiteMasks, main_targets, notes_of

ACCURACIES = {"split": "held_out", "accuracy": 0.5, "count": 10, "per_domain": {"sketch": 0.5}}
CONTENT = {
    "schema": SCHEMA,
    "dataset": "pacs",
    "method": "dmg",
    "backbone": "resnet18",
    "sources": ["photo", "art", "cartoon"],
    "targets": ["sketch"],
    "seed": 0,
    "epochs_run": 3,
    "best_epoch": 2,
    "protocol": {"selection": "in-domain validation accuracy", "target_labels_used": False},
    "out_of_domain": {
        **ACCURACIES,
        "by_ensemble": {"predictions": 0.5, "masks": 0.4},
        "balanced_accuracy": 0.45,
        "worst_domain": "sketch",
    },
    "in_domain": {"split": "validation", "accuracy": 1.0, "per_domain": {"photo": 1.0, "art": 1.0, "cartoon": 1.0}},
    "known_domain": {"split": "validation", "accuracy": 0.0, "per_domain": {"photo": 0.0}},
    "masks": {"fc": {"overall_iou": 0.8, "pairwise_iou": {"photo, art": 0.8}, "activated": {"photo": 0.9}}},
    "seconds": {"training": 12.5},
}


def changed(path, value):
    content = copy.deepcopy(CONTENT)
    *above, last = path.split(".")
    place = content
    for name in above:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


def test_written_is_read_with_the_same_keys(tmp_path):
    results = Results.from_dict(CONTENT)
    results.write(tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert written == CONTENT
    assert list(written) == list(CONTENT)
    assert Results.read(tmp_path / "results.json") == results


def test_masks_of_one_source_have_no_pairs_and_say_so():
    site = {"pairwise_iou": {}, "activated": {"photo": 0.5}}
    results = Results.from_dict({**CONTENT, "masks": {"fc": site}})
    assert results.masks["fc"].overall_iou is None
    assert results.to_dict()["masks"] == {"fc": site}


def test_what_a_method_does_not_have_is_absent():
    results = Results(
        dataset="pacs",
        method="aggregate",
        backbone="alexnet",
        sources=["photo"],
        targets=[],
        seed=1,
        epochs_run=0,
        protocol={"selection": "none", "target_labels_used": False},
        seconds={},
    )
    assert set(results.to_dict()) == {
        "schema", "dataset", "method", "backbone", "sources", "targets", "seed", "epochs_run", "protocol", "seconds",
    }  # fmt: skip
    assert Results.from_dict(results.to_dict()) == results


def test_unknown_keys_are_kept(tmp_path):
    content = {**CONTENT, "note": {"from": "elsewhere"}}
    content["out_of_domain"] = {**CONTENT["out_of_domain"], "more": 3}
    results = Results.from_dict(content)
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json").to_dict() == content
    assert results.model_extra == {"note": {"from": "elsewhere"}}


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("out_of_domain.accuracy", 50.0, "out_of_domain.accuracy: .* less than or equal to 1, got 50.0"),
        ("out_of_domain.accuracy", -0.1, "out_of_domain.accuracy"),
        ("out_of_domain.accuracy", float("nan"), "out_of_domain.accuracy: .* finite number, got nan"),
        ("out_of_domain.accuracy", True, "out_of_domain.accuracy: .* valid number, got True"),
        ("out_of_domain.accuracy", "0.5", "out_of_domain.accuracy"),
        ("out_of_domain.per_domain.sketch", 1.01, "out_of_domain.per_domain.sketch"),
        ("out_of_domain.by_ensemble.masks", 2, "out_of_domain.by_ensemble.masks"),
        ("out_of_domain.count", -1, "out_of_domain.count"),
        ("out_of_domain.split", "", "out_of_domain.split: expected text that is not empty"),
        ("known_domain.per_domain", [], "known_domain.per_domain: .* dictionary"),
        ("in_domain", 0.5, "in_domain: .* dictionary"),
        ("masks.fc.overall_iou", 1.5, "masks.fc.overall_iou"),
        ("masks.fc.activated.photo", float("inf"), "masks.fc.activated.photo"),
        ("seconds.training", float("inf"), "seconds.training"),
        ("seconds.training", -1.0, "seconds.training"),
        ("sources", "photo", "sources: .* list, got 'photo'"),
        ("seed", 1.5, "seed: .* integer, got 1.5"),
        ("best_epoch", True, "best_epoch"),
        ("protocol.target_labels_used", 0, "protocol.target_labels_used: .* boolean, got 0"),
        ("protocol.selection", None, "expected protocol.selection, which is missing"),
        ("in_domain.accuracy", None, "expected in_domain.accuracy, which is missing"),
        ("dataset", None, "expected dataset, which is missing"),
    ],
)
def test_wrong_values_are_named(path, value, message):
    with pytest.raises(InputError, match=message):
        Results.from_dict(changed(path, value))


def test_null_is_not_absent():
    with pytest.raises(
        InputError, match="known_domain: expected a value, or no such key where there is none, got None"
    ):
        Results.from_dict({**CONTENT, "known_domain": None})


def test_everything_wrong_is_listed_together():
    content = changed("out_of_domain.accuracy", 2.0)
    del content["method"]
    with pytest.raises(InputError) as caught:
        Results.from_dict(content)
    assert str(caught.value).count("\n- ") == 2


def test_constructor_checks_as_well():
    with pytest.raises(ValidationError, match=r"seconds\.training"):
        Results(**{name: value for name, value in CONTENT.items() if name != "seconds"}, seconds={"training": -1.0})


def test_numpy_numbers_are_numbers(tmp_path):
    content = changed("out_of_domain.accuracy", np.float32(0.5))
    content["seed"] = np.int64(3)
    Results.from_dict(content).write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json").seed == 3


def test_newer_schema_is_refused_before_anything_else(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"schema": SCHEMA + 1}))
    with pytest.raises(RunFolderError, match=rf"results\.json.*newer version.*got {SCHEMA + 1}"):
        Results.read(tmp_path / "results.json")


def test_reading_names_the_file(tmp_path):
    (tmp_path / "results.json").write_text('{"schema": 1}')
    with pytest.raises(RunFolderError, match=r"results\.json cannot be used"):
        Results.read(tmp_path / "results.json")


def typed(masks):
    return {site: SiteMasks(**statistics) for site, statistics in masks.items()}


def masked(share):
    return {"fc": {"overall_iou": 1.0, "pairwise_iou": {}, "activated": {"photo": share, "art": 1.0}}}


@pytest.mark.parametrize(("share", "noted"), [(1.0, True), (0.995, True), (0.99, False), (0.5, False)])
def test_masks_that_have_hardly_left_their_start_are_noted_with_what_to_do(share, noted):
    notes = notes_of(typed(masked(share)), 1e-4)
    assert bool(notes) == noted
    if noted:
        assert notes[0].about == "masks_at_start"
        for part in ("hardly left their start", "raise --lr_masks", "it was 0.0001"):
            assert part in notes[0].text


def test_notes_are_typed_and_of_old_files_made_from_their_masks(tmp_path):
    notes = notes_of(typed(masked(1.0)))
    content = {**CONTENT, "masks": masked(1.0), "notes": [note.model_dump() for note in notes]}
    assert Results.from_dict(content).notes == notes
    old = {name: value for name, value in content.items() if name != "notes"} | {"schema": 1}
    assert Results.from_dict(old).notes == notes
    with pytest.raises(InputError, match=r"notes\[0\].text, which is missing"):
        Results.from_dict({**content, "notes": [{"about": "x"}]})
    assert notes_of(None) == notes_of({}) == []


def test_the_measure_of_an_old_domain_classifier_is_that_of_the_nearest_source():
    old = {**CONTENT, "schema": 1, "domain_classifier": {"split": "validation", "accuracy": 0.5}}
    found = Results.from_dict(old)
    expected = NearestAccuracy(by="domain classifier", split="validation", accuracy=0.5)
    assert found.nearest_source == expected
    assert found.domain_classifier == ClassifierAccuracy(split="validation", accuracy=0.5)


def test_main_targets_hold_out_the_fewest_domains() -> None:
    assert main_targets({"": 0, "Berlin, Mitte": 1, "a": 1, "a,b": 2}) == ["Berlin, Mitte", "a"]
    assert main_targets({"a,b": 2, "a,b,c": 3}) == ["a,b"]
    assert main_targets({"": 0}) == [""]
    assert main_targets({}) == []
