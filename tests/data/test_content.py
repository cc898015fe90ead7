"""A dataset is known by what its images hold, and not by their names, times or place."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import generated
from domain_masks.data import (
    Preprocessing,
    Subset,
    content_of,
    evaluation_batches,
    examine,
    load_digits_dataset,
    load_folder,
    load_huggingface,
    load_manifest,
    without_rows,
)
from domain_masks.data import content as content_module
from domain_masks.data import decoding as decoding_module
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from domain_masks.records import file_state
from domain_masks.records.file_state import read_with_state, settled_state_of, state_of
from trees_of_images import clean, pixels

QUIET = ConsoleReporter(quiet=True)
YEARS_AGO = 10**18


def bitmap(path: Path, seed: int, side: int = 32) -> Path:
    """Save an image whose file has the same size whatever it shows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, side)).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for seed, name in enumerate(("a/x/0.bmp", "a/y/1.bmp", "b/x/2.bmp", "b/y/3.bmp")):
        bitmap(tmp_path / "v1" / "photos" / name, seed)
    return age(tmp_path / "v1" / "photos")


def age(root: Path) -> Path:
    for path in sorted(root.rglob("*.bmp")):
        os.utime(path, ns=(YEARS_AGO, YEARS_AGO))
    return root


def content(root: Path, verify: bool = True) -> str:
    return content_of(examine(load_folder(root), 0, QUIET, verify).dataset)


def test_a_copy_elsewhere_with_other_times_has_the_same_content(tree: Path, tmp_path: Path) -> None:
    before = content(tree)
    shutil.copytree(tree, tmp_path / "v2" / "images")
    for path in (tmp_path / "v2").rglob("*.bmp"):
        os.utime(path, ns=(1, 1))
    assert content(tmp_path / "v2" / "images") == before
    (tmp_path / "link").symlink_to(tree)
    assert content(tmp_path / "link") == before
    assert content_of(load_folder(tree)) == before, "also where nothing has been remembered or identified"


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("way", ["in place", "renamed over", "link turned"])
def test_another_image_of_the_same_size_and_time_is_seen(tree: Path, tmp_path: Path, way: str, verify: bool) -> None:
    path = tree / "a" / "x" / "0.bmp"
    if way == "link turned":
        real = bitmap(tmp_path / "store" / "0.bmp", 0)
        os.utime(real, ns=(YEARS_AGO, YEARS_AGO))
        path.unlink()
        path.symlink_to(real)
    before, size = content(tree, verify), path.stat().st_size
    other = bitmap(tmp_path / "other.bmp", 99)
    os.utime(other, ns=(YEARS_AGO, YEARS_AGO))
    if way == "in place":
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(YEARS_AGO, YEARS_AGO))
    elif way == "renamed over":
        other.rename(path)
    else:
        path.unlink()
        path.symlink_to(other)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (size, YEARS_AGO)
    assert content(tree, verify) != before


def test_a_class_a_label_a_split_or_a_name_that_changes_is_seen(tree: Path, tmp_path: Path) -> None:
    found = {content(tree)}
    (tree / "a" / "x" / "0.bmp").rename(tree / "a" / "y" / "0.bmp")
    found.add(content(tree))
    (tree / "a" / "y" / "0.bmp").rename(tree / "a" / "y" / "00.bmp")
    found.add(content(tree))
    assert len(found) == 3
    lines = [
        "path,label,domain,split",
        *(f"a/y/{name},x,a,train" for name in ("00.bmp", "1.bmp")),
        "b/x/2.bmp,y,b,train",
    ]
    texts = {"first": lines, "label": [*lines[:-1], "b/x/2.bmp,x,b,train"], "split": [*lines[:-1], "b/x/2.bmp,y,b,val"]}
    manifests = set()
    for name, text in texts.items():
        (tree / f"{name}.csv").write_text("\n".join(text))
        manifests.add(content_of(load_manifest(tree / f"{name}.csv")))
    assert len(manifests) == 3
    (tree / "again.csv").write_text("\n".join(lines))
    assert content_of(load_manifest(tree / "again.csv")) in manifests


def test_leaving_rows_out_keeps_the_contents_of_the_others(tree: Path) -> None:
    whole = examine(load_folder(tree), 0, QUIET).dataset
    smaller = without_rows(whole, [1])
    np.testing.assert_array_equal(smaller.contents, whole.contents[[0, 2, 3]])
    assert content_of(smaller) == content_of(replace(smaller, contents=None))
    assert content_of(smaller) != content_of(whole)


def test_images_in_memory_count_by_their_pixels() -> None:
    assert content_of(generated.dataset()) == content_of(generated.dataset()) != content_of(load_digits_dataset())
    assert examine(generated.dataset(), 0, QUIET).dataset.contents.shape == (len(generated.dataset()), 16)


def table(shift: int) -> datasets.Dataset:
    images = [Image.fromarray(pixels(row + shift, 8)) for row in range(6)]
    columns = {"image": images, "label": ["x", "y"] * 3, "domain": ["a", "b", "c"] * 2}
    features = datasets.Features(
        image=datasets.Image(), label=datasets.Value("string"), domain=datasets.Value("string")
    )
    return datasets.Dataset.from_dict(columns, features=features)


def test_rows_of_a_table_count_by_their_bytes_and_not_by_what_the_table_says_of_itself(tmp_path: Path) -> None:
    table(0).save_to_disk(tmp_path / "one" / "t")
    table(100).save_to_disk(tmp_path / "two" / "t")
    one, two = load_huggingface(f"hf:{tmp_path / 'one' / 't'}"), load_huggingface(f"hf:{tmp_path / 'two' / 't'}")
    first = examine(one, 0, QUIET).dataset
    assert content_of(first) != content_of(examine(two, 0, QUIET).dataset)
    assert content_of(first) == content_of(one)
    # The same fingerprint, other files behind it.
    disguised = replace(two, fingerprint=one.fingerprint)
    assert content_of(examine(disguised, 0, QUIET).dataset) == content_of(two)
    shutil.copytree(tmp_path / "one" / "t", tmp_path / "three" / "t")
    assert content_of(load_huggingface(f"hf:{tmp_path / 'three' / 't'}")) == content_of(one)


def test_only_what_may_have_changed_is_read_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_state, "_SETTLED", 0)
    content(tree)
    read: list[str] = []
    whole = file_state.read_with_state
    monkeypatch.setattr(
        "domain_masks.data.openers.read_with_state", lambda path: read.append(Path(path).name) or whole(path)
    )
    decoded: list[str] = []
    decode = decoding_module.decode
    monkeypatch.setattr(
        decoding_module, "decode", lambda opener, row, *rest: decoded.append(row) or decode(opener, row, *rest)
    )
    content(tree)
    assert read == decoded == []
    os.utime(tree / "a" / "x" / "0.bmp")
    content(tree)
    assert (read, decoded) == (["0.bmp"], []), "hashed again, and known to be whole by its hash"
    bitmap(tree / "b" / "x" / "2.bmp", 50)
    content(tree)
    assert (read[1:], decoded) == (["2.bmp", "2.bmp"], [2])


def test_a_file_that_was_written_a_moment_ago_is_never_trusted(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    assert read_with_state(path) == (b"one", None)
    assert settled_state_of(path) is None
    assert state_of(path) is not None
    assert state_of(tmp_path / "missing") is settled_state_of(tmp_path / "missing") is None


@pytest.mark.parametrize("place", [0, 50_000, 99_999])
def test_the_state_sees_the_beginning_the_middle_and_the_end(tmp_path: Path, place: int, monkeypatch) -> None:
    """Also where a file system keeps no time of change and no inode of its own."""
    monkeypatch.setattr(file_state, "_SETTLED", -(10**18))
    path = tmp_path / "file"
    status = None
    states = []
    for value in (0, 1):
        data = bytearray(100_000)
        data[place] = value
        path.write_bytes(data)
        status = status or path.stat()
        monkeypatch.setattr(os, "fstat", lambda _, same=status: same)
        states.append(state_of(path))
        assert read_with_state(path) == (bytes(data), states[-1])
        monkeypatch.undo()
        monkeypatch.setattr(file_state, "_SETTLED", -(10**18))
    assert states[0] != states[1]


def test_an_image_replaced_after_it_was_identified_is_refused_by_whoever_reads_it(tree: Path) -> None:
    dataset = examine(load_folder(tree), 0, QUIET).dataset
    bitmap(tree / "b" / "x" / "2.bmp", 77)
    with pytest.raises(InputError, match=r"image 'b/x/2\.bmp': its content has changed"):
        list(evaluation_batches(Subset(dataset, range(4)), Preprocessing(8, 8, True), 2))


def test_what_is_hashed_is_what_is_decoded(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is replaced between two looks at it never gets the hash of one image and the verdict of the other."""
    path = tree / "a" / "x" / "0.bmp"
    good = path.read_bytes()
    real = content_module.read_encoded

    def then_broken(opener, row):
        found = real(opener, row)
        path.write_bytes(good[:100])
        return found

    monkeypatch.setattr(content_module, "read_encoded", then_broken)
    first = decoding_module.decode(load_folder(tree).open_image, 0)
    assert (first.problem, first.content) == (None, file_state.content_hash(good))
    assert decoding_module.decode(load_folder(tree).open_image, 0).problem is not None


def test_where_nothing_can_be_remembered_content_is_seen_all_the_same(tmp_path: Path, monkeypatch) -> None:
    root = clean(tmp_path / "animals")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DMG_CACHE", str(tmp_path / "file" / "cache"))
    before = content(root)
    assert content(root) == before
    Image.fromarray(pixels(999)).save(root / "art" / "cat" / "0.png")
    assert content(root) != before
