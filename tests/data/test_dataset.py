import pickle

import numpy as np
import pytest
from PIL import Image

from domain_masks.data.dataset import ImageDataset, Subset, fingerprint_of, ordered_names, without_rows
from domain_masks.data.openers import FileOpener
from domain_masks.errors import InputError


def made(**changes):
    values = {
        "name": "made",
        "classes": ("cat", "dog"),
        "domains": ("photo", "sketch"),
        "ids": ("photo/cat/1.png", "photo/dog/2.png", "sketch/cat/3.png"),
        "labels": np.array([0, 1, 0]),
        "domain_indices": np.array([0, 0, 1]),
        "splits": None,
        "open_image": lambda row: Image.new("RGB", (4, 4)),
        "fingerprint": "0",
    }
    return ImageDataset(**(values | changes))


def test_subset_is_a_view_in_its_own_order():
    subset = Subset(made(), [2, 0])
    assert len(subset) == 2
    assert subset.ids == ("sketch/cat/3.png", "photo/cat/1.png")
    assert subset.labels.tolist() == [0, 0]
    assert subset.domain_indices.tolist() == [1, 0]
    assert subset.domain_names == ("photo", "sketch")
    assert Subset(made(), [1]).domain_names == ("photo",)
    assert Subset(made(), []).domain_names == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([0, 1])}, "labels of shape"),
        ({"labels": np.array([0, 1, 2])}, "labels from 0 to 1"),
        ({"labels": np.array([0, 1, 0], dtype=np.int32)}, "int64"),
        ({"domain_indices": np.array([0, 0, -1])}, "domain_indices from 0 to 1"),
        ({"ids": ("a", "b", "a")}, "'a' more than once"),
        ({"splits": np.array(["train", "val", "dev"])}, "dev"),
    ],
)
def test_columns_that_do_not_fit_are_named(changes, words):
    with pytest.raises(InputError, match=words):
        made(**changes)


def test_rows_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="rows from 0 to 2"):
        Subset(made(), [3])
    with pytest.raises(InputError, match="one dimension"):
        Subset(made(), [[0, 1]])


def test_fingerprint_depends_on_every_part():
    prints = {
        fingerprint_of([("a", "b")], [np.array([1, 2])]),
        fingerprint_of([("ab",)], [np.array([1, 2])]),
        fingerprint_of([("a",), ("b",)], [np.array([1, 2])]),
        fingerprint_of([("a", "b")], [np.array([2, 1])]),
        fingerprint_of([("a", "b")], [np.array([1, 2])], b"pixels"),
    }
    assert len(prints) == 5


def test_file_opener_survives_pickling(tmp_path):
    Image.new("RGB", (5, 3)).save(tmp_path / "one.png")
    opener = pickle.loads(pickle.dumps(FileOpener(tmp_path, ("one.png",))))
    with opener(0) as image:
        assert image.size == (5, 3)


def test_names_that_are_all_numbers_are_ordered_by_value_others_by_character():
    assert ordered_names(["10", "2", "1", "2", "-3"]) == ("-3", "1", "2", "10")
    assert ordered_names(["2", "10", "02"]) == ("02", "2", "10")
    assert ordered_names(["10", "2", "b", "1"]) == ("1", "10", "2", "b")


def test_without_a_row_every_column_keeps_those_of_the_others():
    columns = {"splits": np.array(["train", "val", "test"]), "groups": np.array(["a", "b", "c"])}
    contents = np.arange(48, dtype=np.uint8).reshape(3, 16)
    dataset = made(**columns, contents=contents, open_image=lambda row: Image.new("L", (1, 1), row))
    rest = without_rows(dataset, [1])
    assert rest.ids == ("photo/cat/1.png", "sketch/cat/3.png")
    assert (rest.labels.tolist(), rest.domain_indices.tolist()) == ([0, 0], [0, 1])
    assert (rest.splits.tolist(), rest.groups.tolist()) == (["train", "test"], ["a", "c"])
    assert rest.contents.tolist() == contents[[0, 2]].tolist()
    assert [rest.open_image(row).getpixel((0, 0)) for row in range(2)] == [0, 2]
    assert rest.fingerprint != dataset.fingerprint
