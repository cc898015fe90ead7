"""Office-Home, VLCS and TerraIncognita in small, in every layout that they are distributed in."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from domain_masks.data import DATASETS, default_preprocessing, load_dataset, load_published, split_domains
from domain_masks.data.published_datasets import PUBLISHED
from domain_masks.errors import InputError

FOLDERS = {
    "office_home": ("Art", "Clipart", "Product", "Real World"),
    "vlcs": ("Caltech101", "LabelMe", "SUN09", "VOC2007"),
    "terra_incognita": ("location_38", "location_43", "location_46", "location_100"),
}


def image(path, colour=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (colour, 0, 0)).save(path)


def arranged(root, name, folders=None, classes=None):
    for domain in folders or FOLDERS[name]:
        for class_name in classes or PUBLISHED[name].classes:
            image(root / domain / class_name / "1.png")
    return root


def refused(name, root):
    with pytest.raises(InputError) as caught:
        load_published(name, root)
    return str(caught.value)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("folder", [0, 1, -1])
def test_folders_of_domains_and_classes(tmp_path, name, folder):
    known = PUBLISHED[name]
    arranged(tmp_path / known.folders[folder], name)
    dataset = load_dataset(name, tmp_path)
    assert (dataset.name, dataset.domains, dataset.classes) == (name, FOLDERS[name], known.classes)
    assert len(dataset) == 4 * len(known.classes)
    assert dataset.splits is None
    assert dataset.ids[0] == f"{FOLDERS[name][0]}/{known.classes[0]}/1.png"
    assert dataset.fingerprint == load_published(name, tmp_path / known.folders[folder]).fingerprint
    preprocessing = default_preprocessing(dataset)
    assert (preprocessing.size, preprocessing.resize, preprocessing.square) == (224, 224, True)


def test_the_classes_are_as_many_as_published():
    assert {name: len(set(known.classes)) for name, known in PUBLISHED.items()} == {
        "office_home": 65,
        "vlcs": 5,
        "terra_incognita": 10,
    }
    assert set(PUBLISHED) <= set(DATASETS)


@pytest.mark.parametrize("real", ["Real World", "RealWorld", "real_world", "Real"])
def test_spellings_of_domains_and_classes_do_not_matter(tmp_path, real):
    classes = [name.lower().replace("_", " ") for name in PUBLISHED["office_home"].classes]
    dataset = load_published(
        "office_home", arranged(tmp_path, "office_home", ("art", "clipart", "product", real), classes)
    )
    assert dataset.domains == FOLDERS["office_home"]
    assert dataset.classes == PUBLISHED["office_home"].classes
    assert f"{real}/alarm clock/1.png" in dataset.ids
    row = dataset.ids.index(f"{real}/webcam/1.png")
    assert (dataset.domains[dataset.domain_indices[row]], dataset.classes[dataset.labels[row]]) == (
        "Real World",
        "Webcam",
    )


def older_vlcs(root, splits=("train", "crossval", "test", "full")):
    for domain in ("CALTECH", "LABELME", "PASCAL", "SUN"):
        for label in range(5):
            for number, split in enumerate(splits):
                for index in range(3 if split == "train" else 1):
                    image(root / domain / split / str(label) / f"imgs_{index}.png", 50 * label + number)
    return root


def test_vlcs_divided_and_numbered(tmp_path):
    dataset = load_published("vlcs", older_vlcs(tmp_path / "VLCS").parent)
    assert dataset.domains == FOLDERS["vlcs"]
    assert len(dataset) == 4 * 5 * 5
    row = dataset.ids.index("PASCAL/crossval/3/imgs_0.png")
    assert dataset.domains[dataset.domain_indices[row]] == "VOC2007"
    assert (dataset.classes[dataset.labels[row]], dataset.splits[row]) == ("dog", "val")
    with dataset.open_image(row) as image:
        assert image.getpixel((0, 0)) == (151, 0, 0)
    splits = split_domains(dataset, ["SUN09"])
    assert [len(part) for part in (splits.train, splits.validation, splits.test, splits.held_out)] == [45, 15, 15, 5]


def test_vlcs_without_crossval_or_undivided(tmp_path):
    dataset = load_published("vlcs", older_vlcs(tmp_path / "two", ("train", "test")))
    splits = split_domains(dataset, ["SUN09"])
    assert [len(part) for part in (splits.train, splits.validation, splits.test, splits.held_out)] == [39, 6, 15, 5]
    whole = load_published("vlcs", older_vlcs(tmp_path / "one", ("full",)))
    assert whole.splits is None
    assert whole.ids[0] == "CALTECH/full/0/imgs_0.png"


def raw_terra(root, locations=(38, 43, "46", "100", "7")):
    images, annotations = [], []
    categories = {0: "empty", 1: "opossum", 3: "raccoon", 30: "car"}
    for location in locations:
        for number, category in enumerate(categories):
            key = f"{location}-{number}"
            image(root / "eccv_18_all_images_sm" / f"{key}.png", number)
            images.append({"id": key, "file_name": f"{key}.png", "location": location, "seq_id": "x"})
            annotations += [{"id": f"{key}a", "image_id": key, "category_id": category}] * 2
    annotations.append({"id": "more", "image_id": "38-1", "category_id": 3})
    described = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in categories.items()],
    }
    (root / "caltech_images_20210113.json").write_text(json.dumps(described))
    return root


def test_camera_traps_as_published(tmp_path):
    dataset = load_published("terra_incognita", raw_terra(tmp_path / "terra_incognita").parent)
    assert dataset.domains == FOLDERS["terra_incognita"]
    assert len(dataset) == 4 * 3 + 1
    assert dataset.ids[:4] == (
        "location_38/empty/38-0.png",
        "location_38/opossum/38-1.png",
        "location_38/raccoon/38-1.png",
        "location_38/raccoon/38-2.png",
    )
    assert [dataset.classes[label] for label in dataset.labels[:4]] == ["empty", "opossum", "raccoon", "raccoon"]
    with dataset.open_image(2) as image:
        assert image.getpixel((0, 0)) == (1, 0, 0)
    (tmp_path / "terra_incognita" / "eccv_18_all_images_sm" / "43-0.png").unlink()
    assert "43-0.png is annotated but missing" in refused("terra_incognita", tmp_path)
    (tmp_path / "terra_incognita" / "caltech_images_20210113.json").write_text("{}")
    assert "expected images, annotations and categories" in refused("terra_incognita", tmp_path)


@pytest.mark.parametrize("layout", ["raw", "arranged"])
def test_an_image_of_several_labels_is_never_divided(tmp_path, layout):
    labels = {
        f"{location}-{number}": {number % 10, (number * 3 + 1) % 10} for location in (38, 43) for number in range(60)
    }
    labels |= {f"{location}-0": {0} for location in (46, 100)}
    classes = PUBLISHED["terra_incognita"].classes
    images, annotations = [], []
    for key, numbers in labels.items():
        location = key.split("-")[0]
        images.append({"id": key, "file_name": f"{key}.png", "location": location})
        annotations += [{"image_id": key, "category_id": number} for number in numbers]
        if layout == "raw":
            image(tmp_path / "eccv_18_all_images_sm" / f"{key}.png")
        else:
            for number in numbers:
                image(tmp_path / f"location_{location}" / classes[number] / f"{key}.png")
    if layout == "raw":
        categories = [{"id": number, "name": name} for number, name in enumerate(classes)]
        described = {"images": images, "annotations": annotations, "categories": categories}
        (tmp_path / "caltech_images_20210113.json").write_text(json.dumps(described))
    else:
        for location in (46, 100):
            for name in classes:
                (tmp_path / f"location_{location}" / name).mkdir(parents=True, exist_ok=True)
    dataset = load_published("terra_incognita", tmp_path)
    assert len(dataset) == sum(map(len, labels.values()))
    splits = split_domains(dataset, ["location_46", "location_100"])
    files = [{name.rsplit("/")[-1] for name in part.ids} for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, files)) == len(set.union(*files)) == 120
    assert all(len(names) >= 10 for names in files)


def test_camera_traps_without_a_location(tmp_path):
    assert "there are no images of location_100" in refused("terra_incognita", raw_terra(tmp_path, (38, 43, 46)))


def test_wrong_domains_and_classes_are_named_together(tmp_path):
    arranged(tmp_path, "vlcs", FOLDERS["vlcs"][:3])
    image(tmp_path / "LabelMe" / "cat" / "1.png")
    (tmp_path / "SUN09" / "dog" / "1.png").unlink()
    (tmp_path / "SUN09" / "dog").rmdir()
    message = refused("vlcs", tmp_path)
    assert "3 mistakes" in message
    for expected in ("there is no folder VOC2007", "LabelMe/cat is none of its classes", "SUN09 has no class dog"):
        assert expected in message
    assert "expected the domains Caltech101, LabelMe, SUN09, VOC2007 with 5 classes each" in message


def test_other_folders_are_no_dataset(tmp_path):
    for name, known in PUBLISHED.items():
        assert f"no {known.title} in" in refused(name, tmp_path)
    older_vlcs(tmp_path, ("train", "test"))
    for label in range(5):
        (tmp_path / "SUN" / "test" / str(label) / "imgs_0.png").unlink()
    assert "expected all domains to be divided into the same of" in refused("vlcs", tmp_path)
    image(tmp_path / "Pascal" / "train" / "0" / "1.png")
    assert "VOC2007 is there twice" in refused("vlcs", tmp_path)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("OfficeHome", "office_home"),
        ("office-home", "office_home"),
        ("Office Home", "office_home"),
        ("PACS", "pacs"),
        ("VLCS", "vlcs"),
        ("TerraIncognita", "terra_incognita"),
        ("DomainNet", "domainnet"),
        ("domain_net", "domainnet"),
    ],
)
def test_other_spellings_of_a_name_get_the_right_one(tmp_path, monkeypatch, given, meant):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"Did you mean '{meant}'"):
        load_dataset(given)


def test_what_is_left_out_of_class_folders_is_said(tmp_path):
    root = arranged(tmp_path / "vlcs", "vlcs")
    (root / "SUN09" / "dog" / "2.heic").write_bytes(b"")
    image(root / "SUN09" / "dog" / "crops" / "3.png")
    (note,) = load_dataset("vlcs", tmp_path).notes
    assert note.startswith(
        "2 of 22 files in the class folders of 'vlcs' are left out: 1 by extension (1 .heic) and 1 image"
    )
