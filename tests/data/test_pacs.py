import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domain_masks.data import load_dataset, load_pacs, split_domains
from domain_masks.data.pacs import CLASSES, DOMAINS
from domain_masks.errors import InputError

DATA = Path(os.environ.get("DMG_DATA") or Path(__file__).parents[3] / "shared" / "data")


@pytest.fixture
def tree(tmp_path):
    """PACS in small: two training images and one for validation of every class and domain."""
    root = tmp_path / "pacs"
    (root / "splits").mkdir(parents=True)
    for domain in DOMAINS:
        lines = {"train": [], "crossval": [], "test": []}
        for label, class_name in enumerate(CLASSES, start=1):
            (root / domain / class_name).mkdir(parents=True)
            for index, name in enumerate(("train", "train", "crossval")):
                path = f"{domain}/{class_name}/{index}.png"
                Image.new("RGB", (4, 4)).save(root / path)
                lines[name].append(f"{path} {label}")
                lines["test"].append(f"{path} {label}")
        for name, content in lines.items():
            (root / "splits" / f"{domain}_{name}_kfold.txt").write_text("\n".join(content) + "\n")
    return root


def edit(root, domain, name, old, new):
    path = root / "splits" / f"{domain}_{name}_kfold.txt"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(root):
    with pytest.raises(InputError) as caught:
        load_pacs(root)
    return str(caught.value)


def test_the_folder_and_its_parent_give_the_same(tree):
    dataset = load_pacs(tree)
    assert dataset.name == "pacs"
    assert (dataset.domains, dataset.classes) == (DOMAINS, CLASSES)
    assert dataset.fingerprint == load_pacs(tree.parent).fingerprint == load_dataset("pacs", tree).fingerprint
    assert dataset.splits.tolist().count("train") == 56
    splits = split_domains(dataset, ["photo"])
    assert splits.sources == ("art_painting", "cartoon", "sketch")
    assert (len(splits.train), len(splits.validation), splits.test, len(splits.held_out)) == (42, 21, None, 21)
    assert all(name.endswith("/2.png") for name in splits.validation.ids)


def test_extensions_may_differ_from_the_lists(tree):
    edit(tree, "sketch", "train", ".png", ".jpg")
    dataset = load_pacs(tree)
    assert "sketch/dog/0.png" in dataset.ids
    assert len(dataset) == 84


def test_disagreements_are_counted_and_named_together(tree):
    (tree / "photo" / "dog" / "0.png").unlink()
    edit(tree, "cartoon", "train", "cartoon/horse/1.png 5", "cartoon/horse/1.png 6")
    message = refused(tree)
    assert "disagree in 2 places" in message
    assert "photo/dog/0.png is listed but missing" in message
    assert "cartoon/horse/1.png has label 6 (house)" in message


def test_unlisted_twice_listed_and_foreign_images_are_named(tree):
    Image.new("RGB", (4, 4)).save(tree / "photo" / "dog" / "extra.png")
    assert "photo/dog/extra.png is in neither" in refused(tree)
    (tree / "photo" / "dog" / "extra.png").unlink()
    edit(tree, "photo", "crossval", "photo/dog/2.png", "photo/dog/1.png")
    message = refused(tree)
    assert "photo/dog/1.png is listed twice" in message
    assert "photo/dog/2.png is in the test list but" in message


def test_missing_parts_and_broken_lines_are_named(tree, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "no PACS in" in refused(tmp_path / "empty")
    assert "does not exist" in refused(tmp_path / "nowhere")
    edit(tree, "photo", "train", "photo/dog/0.png 1", "photo/dog/0.png 8")
    assert "photo_train_kfold.txt, line 1" in refused(tree)
    (tree / "splits" / "photo_train_kfold.txt").unlink()
    assert "photo_train_kfold.txt' is missing" in refused(tree)
    (tree / "photo").rename(tree / "photos")
    assert "no folder photo" in refused(tree)


def test_other_domains_and_classes_are_refused(tree):
    for path in ("photo/cat/1.png", "clipart/dog/1.png"):
        (tree / path).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tree / path)
    assert "got a folder 'clipart'" in refused(tree)
    (tree / "clipart" / "dog" / "1.png").unlink()
    (tree / "clipart" / "dog").rmdir()
    (tree / "clipart").rmdir()
    assert "got 'photo/cat/1.png'" in refused(tree)


@pytest.mark.skipif(not (DATA / "pacs").is_dir(), reason=f"no PACS in {DATA}: set DMG_DATA to its parent folder")
def test_real_pacs_has_the_published_counts():
    dataset = load_dataset("pacs", DATA)
    assert len(dataset) == 9991
    counts = {
        (domain, split): int(((dataset.domain_indices == index) & (dataset.splits == split)).sum())
        for index, domain in enumerate(dataset.domains)
        for split in ("train", "val")
    }
    assert counts == {
        ("art_painting", "train"): 1840,
        ("art_painting", "val"): 208,
        ("cartoon", "train"): 2107,
        ("cartoon", "val"): 237,
        ("photo", "train"): 1499,
        ("photo", "val"): 171,
        ("sketch", "train"): 3531,
        ("sketch", "val"): 398,
    }
    splits = split_domains(dataset, ["sketch"])
    assert len(splits.held_out) == 3929
    assert splits.test is None
    with dataset.open_image(int(np.flatnonzero(dataset.domain_indices == 3)[0])) as image:
        assert image.size == (227, 227)
