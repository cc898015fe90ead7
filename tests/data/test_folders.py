import os

import pytest
from PIL import Image

from domain_masks.data import DATASETS, default_preprocessing, load_dataset, load_folder, record_of, split_domains
from domain_masks.errors import InputError


def write_image(path, colour=(10, 20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 6), colour).save(path)
    return path


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "animals"
    for domain, classes in {"sketch": ("dog", "cat"), "photo": ("dog", "owl"), "art": ("cat",)}.items():
        for class_name in classes:
            for index in range(2):
                write_image(root / domain / class_name / f"{index}.png")
    return root


def test_names_are_sorted_and_classes_are_those_of_all_domains(tree):
    write_image(tree / "art" / "cat" / "LARGE.JPG")
    dataset = load_folder(tree)
    assert dataset.name == "animals"
    assert dataset.domains == ("art", "photo", "sketch")
    assert dataset.classes == ("cat", "dog", "owl")
    assert len(dataset) == 11
    assert dataset.ids[0] == "art/cat/0.png"
    assert "art/cat/LARGE.JPG" in dataset.ids
    for row, name in enumerate(dataset.ids):
        domain, class_name, _ = name.split("/")
        assert dataset.domains[dataset.domain_indices[row]] == domain
        assert dataset.classes[dataset.labels[row]] == class_name
    with dataset.open_image(0) as image:
        assert image.getpixel((0, 0)) == (10, 20, 30)


def test_hidden_files_lists_and_other_files_are_ignored(tree):
    count = len(load_folder(tree))
    write_image(tree / ".cache" / "dog" / "1.png")
    write_image(tree / "photo" / "dog" / ".hidden.png")
    (tree / "photo" / "dog" / "notes.txt").write_text("not an image")
    (tree / "splits").mkdir()
    (tree / "splits" / "train.txt").write_text("photo/dog/0.png 1")
    assert len(load_folder(tree)) == count
    write_image(tree / "splits" / "dog" / "1.png")
    assert "splits" in load_folder(tree).domains


def test_fingerprint_changes_with_a_file_and_only_then(tree):
    before = load_folder(tree).fingerprint
    assert load_folder(tree).fingerprint == before
    os.utime(tree / "photo" / "dog" / "0.png", ns=(1, 1))
    assert load_folder(tree).fingerprint != before


def test_a_folder_can_be_divided_and_preprocessed(tree):
    dataset = load_dataset(str(tree))
    splits = split_domains(dataset, ["sketch"])
    assert len(splits.held_out) == 4
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 6
    assert splits.validation.domain_names == splits.sources
    preprocessing = default_preprocessing(dataset)
    assert (preprocessing.size, preprocessing.resize, preprocessing.square) == (224, 256, False)


def test_other_layouts_are_refused(tmp_path, tree):
    def refused(directory):
        with pytest.raises(InputError) as caught:
            load_folder(directory)
        return str(caught.value)

    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "is a file" in refused(write_image(tmp_path / "one.png"))
    (tmp_path / "empty").mkdir()
    assert "got no folders" in refused(tmp_path / "empty")
    (tmp_path / "hollow" / "photo" / "dog").mkdir(parents=True)
    assert "no image in its class folders in 'photo'" in refused(tmp_path / "hollow")
    write_image(tmp_path / "one_level" / "dog" / "1.png")
    message = refused(tmp_path / "one_level")
    assert "dog/1.png" in message
    assert "expected <domain>/<class>/<image>" in message
    write_image(tmp_path / "flat" / "1.png")
    assert "directly in it" in refused(tmp_path / "flat")
    (tree / "documents").mkdir()
    assert "no class folders in 'documents'" in refused(tree)


def test_datasets_are_found_by_name_or_folder(tree, monkeypatch):
    monkeypatch.delenv("DMG_DATA", raising=False)
    digits = load_dataset("digits")
    assert digits.name == "digits"
    assert record_of(digits) is DATASETS["digits"]
    preprocessing = default_preprocessing(digits)
    assert (preprocessing.size, preprocessing.load_size) == (32, 32)
    assert default_preprocessing(digits, 64).load_size == 64
    assert load_dataset(tree).name == "animals"
    with pytest.raises(InputError, match=r"unknown dataset 'digit'.*Did you mean 'digits'\?.*path of a folder"):
        load_dataset("digit")
    with pytest.raises(InputError, match="does not exist"):
        load_dataset(str(tree / "nowhere"))
    with pytest.raises(InputError, match=r"needs a folder.*\$DMG_DATA"):
        load_dataset("pacs")


def test_other_names_of_jpeg_and_plain_formats_are_read(tree):
    for extension in ("jfif", "JPE", "jif"):
        Image.new("RGB", (6, 6)).save(tree / "photo" / "dog" / f"a.{extension}", format="JPEG")
    for extension in ("pgm", "ppm", "pnm", "pbm", "jp2"):
        Image.new("1" if extension == "pbm" else "L", (6, 6)).save(tree / "photo" / "dog" / f"b.{extension}")
    dataset = load_folder(tree)
    assert len(dataset) == 10 + 8
    assert dataset.notes == ()
    for row in range(len(dataset)):
        with dataset.open_image(row) as image:
            image.load()


def test_what_is_left_out_is_counted_and_said(tree):
    here = tree / "photo" / "dog"
    for name in ("1.heic", "2.HEIC", "notes.txt", "bare", ".hidden.png", "Thumbs.db", ".DS_Store", "._0.png"):
        (here / name).write_bytes(b"")
    for index in range(3):
        write_image(here / "more" / "deeper" / f"{index}.png")
    write_image(here / "@eaDir" / "0.png")
    write_image(tree / "__MACOSX" / "dog" / "0.png")
    (note,) = load_dataset(tree).notes
    assert note.startswith("7 of 17 files in the class folders of 'animals' are left out: 4 by extension (2 .heic, ")
    assert "1 no extension" in note
    assert note.endswith(f"and 3 images in folders within class folders; `dmg data check {tree}` lists them")
    assert len(load_dataset(tree)) == 10


@pytest.mark.parametrize("link", ["scan", "photo/cow", "v1.0"])
def test_a_folder_that_is_a_link_to_nothing_is_refused(tree, link):
    (tree / link).symlink_to(tree.parent / "unmounted" / "disk")
    name = link.rpartition("/")[2]
    with pytest.raises(
        InputError, match=f"has links to nothing in place of folders: '{name}'. Restore what they point to"
    ):
        load_dataset(tree)


def test_links_to_nothing_that_are_no_folders_are_left_out_and_said(tree):
    for link in ("README.md", "photo/list.txt", "photo/dog/gone.png", "art/.hidden"):
        (tree / link).symlink_to(tree.parent / "unmounted" / "file")
    dataset = load_dataset(tree)
    assert len(dataset) == 10
    assert dataset.notes == (
        "1 of 11 files in the class folders of 'animals' are left out: 1 as links to nothing, pipes or devices; "
        f"`dmg data check {tree}` lists them",
    )


def test_classes_without_an_image_in_any_domain_are_left_out_and_said(tree):
    # A domain may lack a class, but a class that no domain has is a folder that was never filled.
    for folder in ("sketch/owl", "sketch/cow", "photo/cow", "art/bee", "art/.hidden"):
        (tree / folder).mkdir()
    dataset = load_dataset(tree)
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.notes == (
        "classes whose folders have no image in any domain of 'animals' are left out: 'bee', 'cow'",
    )


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Training", "validation"), ("train", "test"), ("test",)])
def test_parts_of_a_dataset_are_no_domains(tmp_path, names):
    for name in names:
        write_image(tmp_path / "parts" / name / "dog" / "1.png")
        write_image(tmp_path / "whole" / name / "photo" / "dog" / "1.png")
    for folder in ("parts", "whole"):
        with pytest.raises(InputError, match="which are parts of a dataset") as caught:
            load_folder(tmp_path / folder)
        assert ", ".join(sorted(names)) in str(caught.value)
        assert "path, label, domain and split" in str(caught.value)


def test_a_domain_may_be_called_like_a_part(tree):
    write_image(tree / "train" / "dog" / "1.png")
    assert "train" in load_folder(tree).domains
