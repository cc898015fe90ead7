from dataclasses import replace

import numpy as np
import pytest

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records import Predictions
from domain_masks.records.predictions import SCHEMA
from references.predictions import CLASSES, DOMAINS, SOURCES, generated


def assert_same(first, second):
    assert first.domain_names == second.domain_names
    assert first.classes == second.classes
    assert first.sources == second.sources
    assert first.ensembles == second.ensembles
    for name in ("ids", "labels", "domains", "splits"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in first.ensembles:
        np.testing.assert_array_equal(first.logits[name], second.logits[name])


def rewritten(path, **changes):
    """Write the file again with other arrays; None leaves one out."""
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files} | changes
    with path.open("wb") as file:
        np.savez(file, **{name: value for name, value in content.items() if value is not None})


def test_saved_is_loaded(tmp_path):
    predictions = generated()
    predictions.save(tmp_path / "predictions.npz")
    loaded = Predictions.load(tmp_path / "predictions.npz")
    assert_same(loaded, predictions)
    assert loaded.logits["predictions"].dtype == np.float32
    assert loaded.labels.dtype == loaded.domains.dtype == np.int64
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_no_samples_can_be_saved(tmp_path):
    nothing = generated().select(split="test", domain="sketch")
    assert len(nothing) == 0
    nothing.save(tmp_path / "predictions.npz")
    assert_same(Predictions.load(tmp_path / "predictions.npz"), nothing)


def test_equal_predictions_are_equal_files(tmp_path):
    generated().save(tmp_path / "a.npz")
    generated().save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_names_that_are_no_file_names(tmp_path):
    predictions = generated(known=False)
    name = "../ö:x"
    odd = replace(
        predictions,
        domain_names=("art", "cartoon", name, "sketch"),
        sources=(name,),
        logits={**predictions.logits, f"known:{name}": predictions.of("predictions")},
        splits=np.where(predictions.domains == 2, "test", "held_out"),
    )
    odd.save(tmp_path / "predictions.npz")
    assert_same(Predictions.load(tmp_path / "predictions.npz"), odd)


def test_newer_schema_is_refused(tmp_path):
    path = tmp_path / "predictions.npz"
    generated().save(path)
    rewritten(path, schema=np.asarray(SCHEMA + 1), ids=None)
    with pytest.raises(RunFolderError, match=rf"newer version.*schema {SCHEMA} or older, got {SCHEMA + 1}"):
        Predictions.load(path)


def test_missing_keys_are_named(tmp_path):
    path = tmp_path / "predictions.npz"
    generated().save(path)
    rewritten(path, labels=None, classes=None)
    with pytest.raises(RunFolderError, match=r"predictions\.npz is incomplete: expected labels, classes"):
        Predictions.load(path)


def test_wrong_content_names_the_file(tmp_path):
    path = tmp_path / "predictions.npz"
    generated().save(path)
    rewritten(path, labels=np.zeros(3, dtype=np.int64))
    with pytest.raises(RunFolderError, match=r"predictions\.npz is malformed"):
        Predictions.load(path)


def test_pickled_objects_are_not_read(tmp_path):
    path = tmp_path / "predictions.npz"
    generated().save(path)
    rewritten(path, ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunFolderError, match="cannot be read"):
        Predictions.load(path)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: b"text", lambda data: data[: len(data) // 2]])
def test_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "predictions.npz"
    generated().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunFolderError, match=r"predictions\.npz cannot be read"):
        Predictions.load(path)


def test_damaged_byte_is_noticed(tmp_path):
    path = tmp_path / "predictions.npz"
    generated(per_split=200).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(RunFolderError, match=r"predictions\.npz"):
        Predictions.load(path)


def test_missing_file_single_array_and_folder(tmp_path):
    with pytest.raises(RunFolderError, match=r"a\.npz is missing"):
        Predictions.load(tmp_path / "a.npz")
    np.save(tmp_path / "b.npy", np.zeros(3))
    with pytest.raises(RunFolderError, match="cannot be read"):
        Predictions.load(tmp_path / "b.npy")
    with pytest.raises(RunFolderError, match="cannot be read"):
        Predictions.load(tmp_path)


def test_select_by_split_and_domain():
    predictions = generated(per_split=10)
    chosen = predictions.select(split="test", domain="photo")
    assert len(chosen) == 16
    assert all(sample.startswith("photo/test/") for sample in chosen.ids)
    assert len(predictions.select()) == len(predictions)
    assert len(predictions.select(domain="sketch")) == 19
    assert chosen.logits["known:art"].shape == (16, 3)
    rows = np.flatnonzero((predictions.splits == "test") & (predictions.domains == 2))
    np.testing.assert_array_equal(chosen.logits["predictions"], predictions.logits["predictions"][rows])


def test_select_suggests_the_nearest_name():
    with pytest.raises(InputError, match=r"unknown domain 'skech'.*Did you mean 'sketch'"):
        generated().select(domain="skech")
    with pytest.raises(InputError, match=r"unknown split 'heldout'.*Did you mean 'held_out'"):
        generated().select(split="heldout")
    with pytest.raises(InputError, match="unknown ensemble 'prediction'"):
        generated().of("prediction")


def test_parts_put_together_are_the_whole():
    predictions = generated()
    parts = [predictions.select(domain=name) for name in DOMAINS]
    assert_same(Predictions.concatenate(parts), predictions)


def test_parts_that_differ_are_refused():
    predictions = generated()
    with pytest.raises(InputError, match="got none"):
        Predictions.concatenate([])
    with pytest.raises(InputError, match="equal sources"):
        Predictions.concatenate([predictions, replace(generated(known=False), sources=("photo", "art"))])
    with pytest.raises(InputError, match="equal ensembles"):
        Predictions.concatenate([predictions, generated(known=False)])


def test_other_number_types_are_converted():
    predictions = replace(
        generated(known=False),
        labels=np.zeros(len(generated()), dtype=np.int32),
        logits={"predictions": np.zeros((len(generated()), 3), dtype=np.float64)},
    )
    assert predictions.labels.dtype == np.int64
    assert predictions.logits["predictions"].dtype == np.float32


def with_value(values, row, value):
    changed = values.copy()
    changed[row] = value
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"labels": p.labels[:-1]}, "of one length"),
        (lambda p: {"labels": with_value(p.labels, 0, 3)}, r"labels from 0 to 2.*got 3 for sample 'art"),
        (lambda p: {"labels": with_value(p.labels, 0, -1)}, "labels from 0 to 2.*got -1"),
        (lambda p: {"labels": p.labels + 0.5}, "labels as whole numbers"),
        (lambda p: {"domains": with_value(p.domains, 0, 4)}, "domains from 0 to 3"),
        (lambda p: {"splits": with_value(p.splits, 0, "train")}, r"splits among .*got \['train'\]"),
        (lambda p: {"splits": with_value(p.splits, 0, "held_out")}, "held-out samples of domains that are no source"),
        (lambda p: {"sources": ("photo", "painting")}, r"sources among the domains.*\['painting'\]"),
        (lambda p: {"classes": ("dog", "dog", "house")}, "classes that differ"),
        (lambda p: {"logits": {"known:art": p.of("known:art")}}, "the ensemble 'predictions', which every method has"),
        (lambda p: {"logits": {**p.logits, "known:sketch": p.of("known:art")}}, "got 'known:sketch'"),
        (lambda p: {"logits": {"predictions": p.of("predictions")[:, :2]}}, r"of shape \(\d+, 3\), got \(\d+, 2\)"),
        (
            lambda p: {"logits": {"predictions": with_value(p.of("predictions"), 0, np.nan)}},
            "finite logits, got NaN or infinity in 'predictions' for sample 'art",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    predictions = generated()
    with pytest.raises(InputError, match=message):
        replace(predictions, **change(predictions))


def test_all_problems_are_listed_together():
    predictions = generated()
    with pytest.raises(InputError) as caught:
        replace(predictions, sources=("painting",), splits=with_value(predictions.splits, 0, "train"))
    assert str(caught.value).count("\n- ") >= 3


def test_names():
    predictions = generated()
    assert predictions.classes == CLASSES
    assert predictions.ensembles == ("predictions", *(f"known:{source}" for source in SOURCES))
