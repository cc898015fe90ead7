"""Hugging Face datasets, made on the spot and read from folders, without the network."""

from __future__ import annotations

import ast
import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import domain_masks.data.huggingface as module
from domain_masks.data import (
    Preprocessing,
    Subset,
    evaluation_batches,
    load_dataset,
    load_huggingface,
    readable,
    split_domains,
    verify,
)
from domain_masks.data.checking import check
from domain_masks.data.huggingface import absolute_address, parse_address
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import parse_config
from domain_masks.training.defaults import resolve

datasets = pytest.importorskip("datasets", reason="the extra `hub` is not installed")

DOMAINS = ("art", "photo", "sketch")
CLASSES = ("zebra", "dog")
COUNT = 24


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def image(index):
    return Image.fromarray(np.full((6, 6, 3), index, dtype=np.uint8))


def table(rows=range(COUNT), **changes):
    rows = list(rows)
    columns = {
        "image": [image(index) for index in rows],
        "label": [index % 2 for index in rows],
        "domain": [DOMAINS[index % 3] for index in rows],
        "photographer": [f"p{index // 6 * 3 + index % 3}" for index in rows],
    }
    columns |= {name: [make(index) for index in rows] for name, make in changes.items()}
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    given = {
        name: kinds.get(name, datasets.Value("int64" if isinstance(column[0], int) else "string"))
        for name, column in columns.items()
    }
    return datasets.Dataset.from_dict(columns, features=datasets.Features(given))


def checked(dataset):
    assert dataset.classes == CLASSES
    assert dataset.domains == DOMAINS
    assert len(dataset) == COUNT
    for row in range(COUNT):
        with dataset.open_image(row) as image:
            index = image.getpixel((0, 0))[0]
        assert dataset.labels[row] == index % 2
        assert dataset.domain_indices[row] == index % 3
    return dataset


def refused(address):
    with pytest.raises(InputError) as caught:
        load_huggingface(address)
    return str(caught.value)


def test_a_folder_that_was_saved_to_disk(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    address = f"hf:{tmp_path / 'saved'}"
    dataset = checked(load_dataset(address))
    assert dataset.name == "hf:saved"
    assert dataset.splits is None
    assert dataset.groups is None
    assert dataset.ids[3].endswith("/000003")
    assert load_huggingface(address).fingerprint == dataset.fingerprint
    assert len(split_domains(dataset, ["art"]).held_out) == 8
    table(range(1, COUNT + 1)).save_to_disk(tmp_path / "other" / "saved")
    assert load_huggingface(f"hf:{tmp_path / 'other' / 'saved'}").fingerprint != dataset.fingerprint


def test_rows_chosen_before_saving_keep_their_values(tmp_path):
    table().select(range(COUNT - 1, -1, -1)).save_to_disk(tmp_path / "saved")
    dataset = checked(load_huggingface(f"hf:{tmp_path / 'saved'}"))
    with dataset.open_image(0) as image:
        assert image.getpixel((0, 0)) == (COUNT - 1,) * 3


def test_parquet_files_with_usual_splits_are_official_ones(tmp_path):
    parts = {"train": range(12), "validation": range(12, 18), "test": range(18, COUNT)}
    for name, rows in parts.items():
        table(rows).to_parquet(tmp_path / "files" / f"{name}-00000-of-00001.parquet")
    dataset = checked(load_huggingface(f"hf:{tmp_path / 'files'}"))
    assert dataset.splits.tolist() == ["train"] * 12 + ["val"] * 6 + ["test"] * 6
    assert dataset.ids[12] == "validation/000000"
    splits = split_domains(dataset, ["sketch"])
    assert [len(part) for part in (splits.train, splits.validation, splits.test, splits.held_out)] == [8, 4, 4, 2]


def test_other_splits_are_parts_of_one_table(tmp_path):
    parts = {"north": table(range(12)), "south": table(range(12, COUNT))}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    dataset = checked(load_huggingface(f"hf:{tmp_path / 'saved'}"))
    assert dataset.splits is None
    assert {name.split("/")[0] for name in dataset.ids} == {"north", "south"}
    datasets.DatasetDict({"train": parts["north"], "extra": parts["south"]}).save_to_disk(tmp_path / "mixed")
    assert load_huggingface(f"hf:{tmp_path / 'mixed'}").splits is None


def test_columns_can_be_named_and_groups_given(tmp_path):
    renamed = table().rename_columns({"image": "scan", "label": "species", "domain": "camera"})
    renamed.save_to_disk(tmp_path / "saved")
    address = f"hf:{tmp_path / 'saved'}"
    message = refused(address)
    assert "no column for the label (tried label, labels," in message
    assert "no column for the domain" in message
    assert "no column for the image" not in message
    assert "has the columns scan, species, camera, photographer" in message
    dataset = checked(load_huggingface(f"{address}#label=species,domain=camera,group=photographer"))
    assert dataset.groups[:4].tolist() == ["p0", "p1", "p2", "p0"]
    assert "no column 'specie' (did you mean 'species'?)" in refused(f"{address}#label=specie,domain=camera")


def test_texts_and_numbers_are_labels_in_natural_order(tmp_path):
    made = table(label=lambda index: index % 2).cast_column("label", datasets.Value("int64"))
    made = made.map(lambda row: {"grade": [10, 9][row["label"]], "site": str(row["label"])})
    made.save_to_disk(tmp_path / "saved")
    dataset = load_huggingface(f"hf:{tmp_path / 'saved'}#label=grade,domain=domain")
    assert dataset.classes == ("9", "10")
    assert dataset.labels[:4].tolist() == [1, 0, 1, 0]
    assert load_huggingface(f"hf:{tmp_path / 'saved'}#label=domain,domain=site").classes == DOMAINS


def test_batches_are_read_in_worker_processes(tmp_path):
    table().save_to_disk(tmp_path / "saved")
    dataset = load_huggingface(f"hf:{tmp_path / 'saved'}")
    copy = pickle.loads(pickle.dumps(dataset.open_image))
    with copy(7) as image:
        assert image.getpixel((0, 0)) == (7, 7, 7)
    batches = evaluation_batches(Subset(dataset, range(COUNT)), Preprocessing(6, 6, True), 10, workers=2)
    values = np.concatenate([batch.images[:, 0, 0, 0].numpy() for batch in batches])
    assert values.tolist() == list(range(COUNT))


def with_bad_rows(folder, bad):
    """Save a table in which the images of some rows are no images."""
    undecoded = table().cast_column("image", datasets.Image(decode=False))
    broken = undecoded.map(
        lambda row, index: {"image": {"bytes": b"", "path": None}} if index in bad else {}, with_indices=True
    )
    broken.cast_column("image", datasets.Image()).save_to_disk(folder)
    return f"hf:{folder}"


def test_bad_rows_are_found_remembered_and_left_out(tmp_path):
    address = with_bad_rows(tmp_path / "saved", {3, 20})
    dataset = load_dataset(address)
    words = []
    reporter = SimpleNamespace(say=words.append, track=lambda items, total, what: items)
    with pytest.raises(InputError, match="2 of 24 images of 'hf:saved' cannot be read"):
        readable(dataset, parse_config({"dataset": address, "workers": 0}), reporter)
    assert words == ["verifying 24 of 24 images of hf:saved"]
    smaller = readable(dataset, parse_config({"dataset": address, "workers": 0, "skip_bad": True}), reporter)
    assert len(smaller) == 22
    assert not {dataset.ids[3], dataset.ids[20]} & set(smaller.ids)
    assert [line for line in words if line.startswith("verifying")] == words[:1]
    with_bad_rows(tmp_path / "other" / "saved", {4})
    assert [bad.row for bad in verify(load_dataset(f"hf:{tmp_path / 'other' / 'saved'}"), 0, reporter)] == [4]


def test_a_check_looks_at_rows_and_remembers_them(tmp_path):
    address = with_bad_rows(tmp_path / "saved", {3})
    report = check(address, None, 0, ConsoleReporter(quiet=True))
    errors = {finding.code: finding for finding in report.findings if finding.severity == "error"}
    assert set(errors) == {"empty"}
    dataset = load_dataset(address)
    assert errors["empty"].occurrences[0].paths == (dataset.ids[3],)
    assert int(report.counts.to_numpy().sum()) == COUNT

    def unexpected(line):
        raise AssertionError(line)

    reporter = SimpleNamespace(say=unexpected, track=lambda items, total, what: items)
    assert [bad.row for bad in verify(dataset, 0, reporter)] == [3]


def test_folders_of_an_address_become_absolute(tmp_path, monkeypatch):
    table().save_to_disk(tmp_path / "saved")
    dataset = load_huggingface(f"hf:{tmp_path / 'saved'}")
    monkeypatch.chdir(tmp_path)
    for given in ("./saved", "saved"):
        config = parse_config({"dataset": f"hf:{given}#label=label,domain=domain", "target": ["art"]})
        assert resolve(config, dataset).dataset == f"hf:{tmp_path / 'saved'}#label=label,domain=domain"
    for address in ("hf:flwrlabs/pacs#label=label", "hf:flwrlabs/pacs", "hf:"):
        assert absolute_address(address) == address


def test_missing_values_are_counted(tmp_path):
    table(domain=lambda index: None if index == 5 else "abc"[index % 3]).save_to_disk(tmp_path / "gaps")
    assert "column 'domain' has no value in 1 of 24 rows" in refused(f"hf:{tmp_path / 'gaps'}")
    table(label=lambda index: -1 if index < 3 else 0).save_to_disk(tmp_path / "unlabelled")
    assert "column 'label' has no value in 3 of 24 rows" in refused(f"hf:{tmp_path / 'unlabelled'}")
    table().save_to_disk(tmp_path / "saved")
    assert "to be class labels, texts or whole numbers, got dict" in refused(f"hf:{tmp_path / 'saved'}#domain=image")


def test_what_cannot_be_had_is_one_message(tmp_path):
    assert "there is no folder './nowhere'" in refused("hf:./nowhere")
    (tmp_path / "empty").mkdir()
    assert "cannot be loaded" in refused(f"hf:{tmp_path / 'empty'}")
    message = refused("hf:nobody/nothing")
    assert "hf:nobody/nothing cannot be loaded" in message
    assert "check the name on the hub, and the connection" in message
    assert "\n" not in message


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert "install the extra `hub`" in refused("hf:flwrlabs/pacs")


def test_addresses():
    parsed = parse_address("hf:org/name#label = species,revision=v1,")
    assert parsed.name == "org/name"
    assert parsed.settings == {"label": "species", "revision": "v1"}
    for text, words in {
        "hf:": "expected the name",
        "hf:x#label": "expected settings as name=value",
        "hf:x#lable=y": "Did you mean 'label'",
    }.items():
        with pytest.raises(InputError, match=words):
            parse_address(text)


def test_slow_libraries_are_imported_where_they_are_needed():
    """Every command imports this folder: none has to wait for tables that it does not read."""
    at_once = set()
    for file in Path(module.__file__).parent.glob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                at_once |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                at_once.add(str(node.module).split(".")[0])
    assert "numpy" in at_once
    assert not at_once & {"datasets", "huggingface_hub", "pyarrow", "pandas"}


def named(rows, label=CLASSES, domain=DOMAINS, group=None):
    """Rows whose class labels have their names in another order; -1 where a name is not among them."""
    rows = list(rows)
    features = {"image": datasets.Image()}
    columns = {"image": [image(index) for index in rows]}
    for role, names, meant in (
        ("label", label, [CLASSES[index % 2] for index in rows]),
        ("domain", domain, [DOMAINS[index % 3] for index in rows]),
        ("group", group, [f"g{index // 6 * 3 + index % 3}" for index in rows]),
    ):
        if names is not None:
            columns[role] = [names.index(name) if name in names else -1 for name in meant]
            features[role] = datasets.ClassLabel(names=list(names))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def saved(tmp_path, **parts):
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "splits")
    return f"hf:{tmp_path / 'splits'}"


def test_class_labels_are_matched_by_name_in_every_split(tmp_path):
    groups = [f"g{number}" for number in range(12)]
    address = saved(
        tmp_path,
        train=named(range(12), group=groups),
        validation=named(range(12, 18), CLASSES[::-1], DOMAINS[::-1], groups[::-1]),
        test=named(range(18, COUNT), ("dog", "ape", "zebra"), ("sketch", "art", "photo"), groups),
    )
    dataset = load_huggingface(address)
    assert dataset.classes == (*CLASSES, "ape")
    assert dataset.domains == DOMAINS
    assert dataset.labels.tolist() == [index % 2 for index in range(COUNT)]
    assert dataset.domain_indices.tolist() == [index % 3 for index in range(COUNT)]
    assert dataset.groups.tolist() == [f"g{index // 6 * 3 + index % 3}" for index in range(COUNT)]


def written(folder, **files):
    folder.mkdir()
    for name, part in files.items():
        part.to_parquet(folder / f"{name.replace('_of_', '-of-').replace('__', '-')}.parquet")
    return f"hf:{folder}"


@pytest.mark.parametrize("names", [("train", "validation", "test"), ("a", "b", "c")])
def test_class_labels_of_parquet_files_are_matched_by_name_in_every_split(names, tmp_path):
    parts = (
        named(range(12)),
        named(range(12, 18), CLASSES[::-1], DOMAINS[::-1]),
        named(range(18, COUNT), ("dog", "ape", "zebra"), ("sketch", "art", "photo")),
    )
    folder = tmp_path / "files"
    address = written(folder, **dict(zip(names, parts, strict=True)))
    if names[0] == "a":
        listed = "".join(f"  - split: {name}\n    path: {name}.parquet\n" for name in names)
        (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:\n{listed}---\n")
    dataset = load_huggingface(address)
    assert dataset.classes == (*CLASSES, "ape")
    assert dataset.domains == DOMAINS
    seen = [np.asarray(dataset.open_image(row))[0, 0, 0] for row in range(COUNT)]
    assert dataset.labels.tolist() == [index % 2 for index in seen]
    assert dataset.domain_indices.tolist() == [index % 3 for index in seen]


def test_a_card_that_lists_other_names_than_the_files_is_not_believed(tmp_path):
    address = written(tmp_path / "files", train=named(range(12)), test=named(range(12, COUNT)))
    names = "".join(f"          '{place}': {name}\n" for place, name in enumerate(CLASSES[::-1]))
    (tmp_path / "files" / "README.md").write_text(
        "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n      class_label:\n"
        f"        names:\n{names}  - name: domain\n    dtype:\n      class_label:\n        names:\n          '0': art\n"
        "          '1': photo\n          '2': sketch\n---\n"
    )
    dataset = load_huggingface(address)
    assert [dataset.classes[label] for label in dataset.labels[:4]] == ["zebra", "dog", "zebra", "dog"]


def test_files_of_one_split_with_class_labels_in_another_order_are_refused(tmp_path):
    address = written(
        tmp_path / "files",
        train__00000_of_00002=named(range(12)),
        train__00001_of_00002=named(range(12, COUNT), CLASSES[::-1]),
    )
    message = refused(address)
    assert "the split 'train'" in message
    assert "column 'label'" in message
    assert "same order" in message


def test_a_split_of_parquet_files_without_labels_is_left_out(tmp_path):
    address = written(tmp_path / "files", train=named(range(12)), test=named(range(12, COUNT), label=None))
    dataset = load_huggingface(address)
    assert len(dataset) == 12
    assert "no labels" in dataset.notes[0]


def test_class_labels_and_texts_mean_the_same(tmp_path):
    part = table(range(12, COUNT)).remove_columns("photographer")
    features = datasets.Features({**part.features, "label": datasets.Value("string")})
    texts = part.map(lambda row: {"label": CLASSES[row["label"]]}, features=features)
    labels = named(range(12), domain=DOMAINS[::-1])
    dataset = load_huggingface(saved(tmp_path, train=labels, test=texts))
    assert dataset.classes == CLASSES
    assert dataset.labels.tolist() == [index % 2 for index in range(COUNT)]
    assert [dataset.domains[index] for index in dataset.domain_indices] == [DOMAINS[i % 3] for i in range(COUNT)]


def test_numbers_beside_names_are_refused(tmp_path):
    numbers = table(range(12, COUNT)).cast_column("label", datasets.Value("int64"))
    message = refused(saved(tmp_path, train=named(range(12)), test=numbers))
    assert "'train' has class labels; 'test' has numbers" in message


def test_numbers_beside_class_labels_called_by_them_are_the_same(tmp_path):
    digits = table(range(12)).cast_column("label", datasets.ClassLabel(names=["0", "1"]))
    numbers = table(range(12, COUNT)).cast_column("label", datasets.Value("int64"))
    dataset = load_huggingface(saved(tmp_path, train=digits, test=numbers))
    assert dataset.classes == ("0", "1")
    assert dataset.labels.tolist() == [index % 2 for index in range(COUNT)]


@pytest.mark.parametrize(
    "unlabelled",
    [
        named(range(6), label=["none of them"]),
        named(range(6), label=None),
        named(range(6), label=None, domain=None),
        table(range(6)).map(lambda row: {"label": None}, features=table().features),
    ],
    ids=["-1", "no column", "neither label nor domain", "None"],
)
def test_a_split_without_labels_is_left_out_and_named(unlabelled, tmp_path):
    parts = {"train": named(range(12)), "validation": named(range(12, COUNT)), "test": unlabelled}
    dataset = load_huggingface(saved(tmp_path, **parts))
    assert len(dataset) == COUNT
    assert set(dataset.splits.tolist()) == {"train", "val"}
    assert "'test' (6 rows) has no labels and is left out" in dataset.notes[0]


def test_minus_one_is_no_label_where_nothing_else_is_meant_by_it(tmp_path):
    numbers = table(label=lambda index: index % 2).cast_column("label", datasets.Value("int64"))
    hidden = numbers.map(lambda row: {"label": -1})
    assert load_huggingface(saved(tmp_path, train=numbers, test=hidden)).classes == ("0", "1")
    signs = numbers.map(lambda row: {"label": 1 - 2 * row["label"]})
    below = signs.filter(lambda row: row["label"] == -1)
    assert load_huggingface(saved(tmp_path / "signs", train=signs, test=below)).classes == ("-1", "1")


def test_some_rows_without_labels_are_refused_by_split(tmp_path):
    some = named(range(12, COUNT), label=["zebra"])
    message = refused(saved(tmp_path, train=named(range(12)), test=some))
    assert "column 'label' has no value in 6 of 12 rows of the split 'test'" in message


def test_a_split_without_the_domain_is_refused(tmp_path):
    message = refused(saved(tmp_path, train=named(range(12)), test=named(range(12, COUNT), domain=None)))
    assert "expected the column 'domain' (domain) in every split, got none in 'test'" in message


def test_a_domain_that_is_listed_but_does_not_occur_is_none(tmp_path):
    named(range(COUNT), domain=("clipart", *DOMAINS)).save_to_disk(tmp_path / "saved")
    assert load_huggingface(f"hf:{tmp_path / 'saved'}").domains == DOMAINS
