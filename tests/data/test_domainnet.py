"""DomainNet in small, with official or the authors' lists, and the real lists where they are."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from PIL import Image

from domain_masks.data import load_dataset, load_domainnet, split_domains
from domain_masks.data.domainnet import DOMAINS, read_list, read_lists
from domain_masks.errors import InputError
from domain_masks.records.config import parse_config
from domain_masks.training.defaults import resolve

CLASSES = ("zebra", "The_Mona_Lisa", "airplane")
PER_CLASS = 14
TEST = 4


def made(root, domains=DOMAINS, validation=False):
    """DomainNet in small: per class ten images in the training list, or nine and one for validation, and four in test."""
    (root / "splits").mkdir(parents=True)
    for domain in domains:
        lines = {"train": [], "val": [], "test": []}
        for label, class_name in enumerate(CLASSES):
            (root / domain / class_name).mkdir(parents=True)
            for index in range(PER_CLASS):
                path = f"{domain}/{class_name}/{domain}_{index:02d}.jpg"
                Image.new("RGB", (2, 2)).save(root / path)
                split = "test" if index < TEST else "val" if validation and index == TEST else "train"
                lines[split].append(f"{path} {label}")
        for split, content in lines.items():
            if content:
                (root / "splits" / f"{domain}_{split}.txt").write_text("\n".join(content[::-1]) + "\n")
    return root


@pytest.fixture
def tree(tmp_path):
    return made(tmp_path / "DomainNet")


def refused(root):
    with pytest.raises(InputError) as caught:
        load_domainnet(root)
    return str(caught.value)


def edit(tree, name, old, new):
    text = (tree / "splits" / name).read_text()
    assert old in text
    (tree / "splits" / name).write_text(text.replace(old, new, 1))


def test_the_folder_and_its_parent_give_the_same(tree):
    dataset = load_domainnet(tree)
    assert (dataset.name, dataset.domains, dataset.classes) == ("domainnet", DOMAINS, CLASSES)
    assert len(dataset) == 6 * 3 * PER_CLASS
    assert dataset.fingerprint == load_dataset("domainnet", tree.parent).fingerprint
    for row, name in enumerate(dataset.ids):
        domain, class_name, _ = name.split("/")
        assert dataset.domains[dataset.domain_indices[row]] == domain
        assert dataset.classes[dataset.labels[row]] == class_name
    with dataset.open_image(100) as image:
        assert image.size == (2, 2)


def test_a_tenth_of_the_official_training_lists_chooses_the_epoch(tree):
    dataset = load_domainnet(tree)
    splits = split_domains(dataset, ["sketch"])
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (5 * 27, 5 * 3, 5 * 3 * TEST)
    assert {name.split("/")[0] for name in splits.held_out.ids} == {"sketch"}
    assert len(splits.held_out) == 3 * TEST
    measured = {*splits.test.ids, *splits.held_out.ids}
    assert all(int(name[-6:-4]) < TEST for name in measured)
    assert all(int(name[-6:-4]) >= TEST for name in (*splits.train.ids, *splits.validation.ids))
    # One image of every class and domain.
    assert len({name.rpartition("/")[0] for name in splits.validation.ids}) == 15
    assert split_domains(dataset, ["sketch"], 0).validation.ids == splits.validation.ids
    assert split_domains(dataset, ["sketch"], 1).validation.ids != splits.validation.ids
    real = {name for name in splits.validation.ids if name.startswith("real/")}
    assert real == {name for name in split_domains(dataset, ["clipart"]).validation.ids if name.startswith("real/")}


def test_the_authors_validation_lists_are_used_where_they_lie(tmp_path):
    splits = split_domains(load_domainnet(made(tmp_path / "d", validation=True)), ["real"], 3)
    assert len(splits.train) == 5 * 27
    assert {name[-6:-4] for name in splits.validation.ids} == {f"{TEST:02d}"}


def test_lists_may_lie_beside_the_folders(tree):
    before = load_domainnet(tree).fingerprint
    for file in (tree / "splits").iterdir():
        file.rename(tree / file.name)
    assert load_domainnet(tree).fingerprint == before


def test_some_domains_are_enough_but_it_is_said(tmp_path):
    dataset = load_domainnet(made(tmp_path / "three", ("clipart", "infograph", "sketch")))
    (note,) = dataset.notes
    assert "without painting, quickdraw, real, whose folders are missing" in note
    assert dataset.domains == ("clipart", "infograph", "sketch")
    assert len(split_domains(dataset, ["sketch"]).held_out) == 3 * TEST
    assert "at least 3 of the folders" in refused(made(tmp_path / "two", ("clipart", "sketch")))
    (tmp_path / "empty").mkdir()
    assert "got none" in refused(tmp_path / "empty")


def test_missing_lists_and_images_are_counted_and_named(tree):
    for path in ("real/zebra/real_00.jpg", "real/airplane/real_05.jpg"):
        (tree / path).unlink()
    message = refused(tree)
    assert "2 mistakes; 2 of 252 images" in message
    assert "real/zebra/real_00.jpg is listed but missing" in message
    (tree / "splits" / "real_train.txt").unlink()
    (tree / "splits" / "sketch_test.txt").unlink()
    assert "2 lists are missing: real_train.txt, sketch_test.txt" in refused(tree)
    (tree / "splits" / "clipart_val.txt").write_text("clipart/zebra/clipart_05.jpg 0\n")
    message = refused(tree)
    assert "infograph_val.txt" in message
    assert "for every domain, or for none" in message


def test_lists_that_contradict_each_other_are_refused(tree):
    edit(tree, "real_train.txt", "real/zebra/real_09.jpg 0", "real/zebra/real_09.jpg 2")
    edit(tree, "sketch_train.txt", "sketch/zebra/sketch_09.jpg 0", "sketch/zebra/sketch_00.jpg 0")
    edit(tree, "clipart_test.txt", "clipart/zebra/clipart_00.jpg 0", "clipart/zebra/clipart_00.jpg")
    edit(tree, "painting_test.txt", "painting/zebra/painting_00.jpg 0", "sketch/zebra/sketch_00.jpg 0")
    edit(tree, "infograph_train.txt", "infograph/airplane/infograph_09.jpg 2", "infograph/airplane/infograph_09.jpg 4")
    message = refused(tree)
    for expected in (
        "sketch/zebra/sketch_00.jpg is listed twice, in train and test",
        "clipart_test.txt, line 12: expected 'clipart/class/file label'",
        "painting_test.txt, line 12: expected 'painting/class/file label'",
        "label 2 stands for 'airplane' and for 'zebra'",
        "class 'zebra' has the labels 0 and 2",
        "class 'airplane' has the labels 2 and 4",
        "no image has the label 3",
    ):
        assert expected in message, message


def test_the_fingerprint_follows_the_folders(tree):
    before = load_domainnet(tree).fingerprint
    Image.new("RGB", (3, 3)).save(tree / "real" / "zebra" / "new.jpg")
    assert load_domainnet(tree).fingerprint != before


def test_the_papers_settings_are_its_defaults(tree):
    config = resolve(parse_config({"dataset": "domainnet", "target": "real"}), load_domainnet(tree))
    assert (config.schedule, config.weight_decay, config.lr, config.epochs) == ("inverse", 0.0, 1e-4, 50)
    assert (config.head_initialisation, config.augmentation, config.size) == ("normal", "standard", 224)
    other = resolve(
        parse_config({"dataset": "domainnet", "target": "real", "head_initialisation": "default"}), load_domainnet(tree)
    )
    assert other.head_initialisation == "default"


@pytest.fixture
def real_lists(real_data):
    root = real_data / "domainnet"
    if not (root / "splits" / "real_train.txt").is_file():
        pytest.skip(f"no lists of DomainNet in {root / 'splits'}")
    return root


def test_the_real_lists_are_read_quickly_and_agree(real_lists):
    """The list quickdraw_train.txt is not among the data that the tests have: the other 477,900 lines are read."""
    began = time.monotonic()
    files, classes = read_lists(real_lists, tuple(domain for domain in DOMAINS if domain != "quickdraw"))
    mistakes = []
    drawn = [
        read_list(real_lists / "splits" / f"quickdraw_{split}.txt", "quickdraw", mistakes) for split in ("val", "test")
    ]
    assert time.monotonic() - began < 15
    assert mistakes == []
    assert len(files) + sum(map(len, drawn)) == 477_900
    assert len(classes) == 345
    assert (classes[0], classes[19], classes[310]) == ("aircraft_carrier", "basketball", "The_Mona_Lisa")
    assert all(line.path.split("/")[1] == classes[line.label] for lines in drawn for line in lines)
    counts = Counter((file.domain, file.split) for file in files)
    assert [counts["clipart", split] for split in ("train", "val", "test")] == [30172, 3353, 14604]
    assert [counts["real", split] for split in ("train", "val", "test")] == [108815, 12091, 52041]
    (file,) = [file for file in files if file.path == "sketch/tree/sketch_323_000213.jpg"]
    assert (classes.index(file.class_name), file.domain, file.split) == (322, "sketch", "train")
    assert [file.path for file in files] == sorted(file.path for file in files)
