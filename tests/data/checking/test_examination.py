"""Checks of whole datasets report all problems at once."""

from __future__ import annotations

import os
import shutil

import pytest
from PIL import Image

import generated
from check_rows import QUIET, codes, only, paths, report_of
from domain_masks.data import load_folder, verify
from domain_masks.data.checking import check
from domain_masks.data.checking.occurrences import Occurrence
from domain_masks.errors import InputError
from trees_of_images import DOMAINS, PER_CLASS, clean, cut, pixels, save


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


def test_a_clean_folder_has_no_findings(tree):
    report = report_of(tree)
    assert report.findings == ()
    assert not report.has_errors
    assert report.counts.loc["dog"].to_dict() == dict.fromkeys(DOMAINS, PER_CLASS)
    assert "no problems found" in report.text()
    assert report.text().startswith("animals: 60 images, 3 domains, 2 classes")


def test_a_clean_dataset_in_memory_has_no_findings(monkeypatch):
    monkeypatch.setattr("domain_masks.data.checking.examination.load_dataset", lambda name, root: generated.dataset(10))
    report = report_of("digits")
    # Images of 18 pixels are small, and nothing else.
    assert codes(report.findings) == {"small": "warning"}
    assert int(report.counts.to_numpy().sum()) == 90


def test_what_check_decodes_is_verified(tree):
    cut(tree / "art" / "cat" / "1.jpg")
    report_of(tree)

    class NothingToDecode:
        def say(self, line):
            raise AssertionError(line)

        def track(self, items, total, what):
            assert what == "reading images", "files that were written a moment ago are hashed again"
            return items

    assert [bad.id for bad in verify(load_folder(tree), 0, NothingToDecode())] == ["art/cat/1.jpg"]


def test_check_decodes_whatever_is_remembered(tree):
    assert verify(load_folder(tree), 0, QUIET) == ()
    path = tree / "art" / "cat" / "1.jpg"
    state = path.stat()
    content = path.read_bytes()
    # A damaged disk changes neither size nor time.
    path.write_bytes(content[:300] + bytes(len(content) - 300))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    path.write_bytes(bytes(len(content)))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert codes(report_of(tree).findings) == {"not-an-image": "error"}


def test_everything_is_found_at_once(tree):
    (tree / "photo" / "dog" / "0.png").write_bytes(b"")
    (tree / "photo" / "dog" / "1.jpg").write_bytes(b"<html>404")
    cut(tree / "photo" / "dog" / "2.png")
    shutil.copy(tree / "art" / "cat" / "3.jpg", tree / "art" / "cat" / "copy.jpg")
    shutil.copy(tree / "art" / "cat" / "4.png", tree / "sketch" / "cat" / "copy.png")
    shutil.copy(tree / "art" / "cat" / "6.png", tree / "art" / "dog" / "copy.png")
    with Image.open(tree / "art" / "dog" / "3.jpg") as image:
        image.save(tree / "art" / "dog" / "3.bmp")
    frames = [Image.fromarray(pixels(seed)) for seed in (500, 501, 502)]
    frames[0].save(tree / "art" / "dog" / "moving.gif", save_all=True, append_images=frames[1:])
    save(tree / "art" / "dog" / "tiny.png", 503, side=8)
    save(tree / "art" / "Dog" / "1.png", 504)
    save(tree / "stray.png", 505)
    save(tree / "art" / "dog" / "more" / "1.png", 506)
    (tree / "photo" / "owl").mkdir()
    (tree / "documents").mkdir()
    (tree / "readme.md").write_text("")
    (tree / "art" / "dog" / "phone.heic").write_text("")
    (tree / "art" / "dog" / ".DS_Store").write_text("")
    (tree / "art" / "dog" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(tree / "art" / "dog" / "pipe.png")
    (tree / "art" / "dog" / "self.jpg").symlink_to("self.jpg")
    (tree / "art" / "up").symlink_to("..")
    (tree / "scan").symlink_to("unmounted")
    findings = report_of(tree).findings
    assert codes(findings) == {
        "misplaced-image": "error",
        "empty-domain": "error",
        "link-loop": "error",
        "missing-folder": "error",
        "empty": "error",
        "not-an-image": "error",
        "truncated": "error",
        "contradicting-labels": "error",
        "same-in-domains": "error",
        "similar-classes": "error",
        "nested-image": "warning",
        "empty-class": "warning",
        "broken-link": "warning",
        "special-file": "warning",
        "unused-format": "warning",
        "animated": "warning",
        "small": "warning",
        "repeated": "warning",
        "class-in-one-domain": "warning",
        "single-image": "warning",
        "ignored-file": "note",
        "hidden-file": "note",
    }
    assert [finding.severity for finding in findings] == sorted(
        (finding.severity for finding in findings), key=["error", "warning", "note"].index
    )
    assert paths(only(findings, "empty")) == [("photo/dog/0.png",)]
    assert paths(only(findings, "contradicting-labels")) == [("art/cat/6.png", "art/dog/copy.png")]
    assert paths(only(findings, "same-in-domains")) == [("art/cat/4.png", "sketch/cat/copy.png")]
    assert only(findings, "repeated").occurrences == (
        Occurrence(("art/cat/3.jpg", "art/cat/copy.jpg")),
        Occurrence(("art/dog/3.bmp", "art/dog/3.jpg"), "equal pixels, other file"),
    )
    assert only(findings, "animated").occurrences == (Occurrence(("art/dog/moving.gif",), "3 frames"),)
    assert only(findings, "small").occurrences == (Occurrence(("art/dog/tiny.png",), "8 x 8"),)
    assert paths(only(findings, "link-loop")) == [("art/dog/self.jpg",), ("art/up",)]
    assert paths(only(findings, "special-file")) == [("art/dog/pipe.png",)]
    assert paths(only(findings, "broken-link")) == [("art/dog/gone.jpg",)]
    assert paths(only(findings, "missing-folder")) == [("scan",)]


def test_an_image_in_a_deep_folder_is_decoded_too(tree):
    (tree / "art" / "dog" / "more").mkdir()
    (tree / "art" / "dog" / "more" / "1.png").write_bytes(b"")
    assert codes(report_of(tree).findings) == {"nested-image": "warning", "empty": "error"}


def test_what_the_loader_refuses_is_said_once(tree):
    (tree / "art" / "owl").symlink_to("unmounted")
    assert codes(report_of(tree).findings) == {"missing-folder": "error"}


def test_what_the_loader_refuses_is_said_even_if_nothing_else_found_it(tree, monkeypatch):
    def refuse(name, root):
        raise InputError("it is Monday.")

    monkeypatch.setattr("domain_masks.data.checking.examination.load_dataset", refuse)
    report = report_of(tree)
    assert codes(report.findings) == {"refused": "error"}
    assert "it is Monday. " in report.findings[0].what + ". "


def test_layouts_that_a_loader_accepts_are_no_mistakes(tmp_path):
    seeds = iter(range(1000, 2000))
    for domain in ("CALTECH", "LABELME", "PASCAL", "SUN"):
        for split in ("train", "crossval", "test"):
            for label in range(5):
                image = save(tmp_path / "VLCS" / domain / split / str(label) / "1.png", next(seeds))
                whole = tmp_path / "VLCS" / domain / "full" / str(label) / f"{split}.png"
                whole.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, whole)
    report = report_of("vlcs", tmp_path)
    assert codes(report.findings) == {"few-images": "warning"}
    assert report.counts.loc["bird", "SUN09"] == 3
    for domain in ("Caltech101", "LabelMe", "SUN09", "VOC2007"):
        for label in range(5):
            save(tmp_path / "plain" / domain / str(label) / "1.png", next(seeds))
    save(tmp_path / "plain" / "stray.png", 1)
    save(tmp_path / "plain" / "SUN09" / "0" / "more" / "1.png", 2)
    assert codes(report_of("vlcs", tmp_path / "plain").findings) == {
        "nested-image": "warning",
        "single-image": "warning",
    }


@pytest.mark.parametrize("name", ["nowhere/here", "pcas", "file.png"])
def test_nothing_to_look_at_is_an_error_of_the_call(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.png").write_text("")
    for root in ("", str(tmp_path)):
        monkeypatch.setenv("DMG_DATA", root)
        with pytest.raises(InputError, match=name):
            report_of(name)


def small_pacs(root):
    from domain_masks.data.pacs import CLASSES as PACS_CLASSES  # noqa: PLC0415
    from domain_masks.data.pacs import DOMAINS as PACS_DOMAINS  # noqa: PLC0415

    (root / "splits").mkdir(parents=True)
    seed = 0
    for domain in PACS_DOMAINS:
        lines = {"train": [], "crossval": []}
        for label, class_name in enumerate(PACS_CLASSES, start=1):
            for number in range(10):
                save(root / domain / class_name / f"{number}.png", seed)
                seed += 1
                lines["train" if number else "crossval"].append(f"{domain}/{class_name}/{number}.png {label}")
        for name, content in {**lines, "test": lines["train"] + lines["crossval"]}.items():
            (root / "splits" / f"{domain}_{name}_kfold.txt").write_text("\n".join(content))
    return root


def test_a_named_dataset_and_its_splits(tmp_path):
    root = small_pacs(tmp_path / "pacs")
    assert codes(report_of("pacs", tmp_path).findings) == {"labels-from-1": "note"}
    shutil.copy(root / "photo" / "dog" / "0.png", root / "photo" / "dog" / "1.png")
    (root / "photo" / "dog" / ".hidden").write_text("")
    assert codes(report_of("pacs", tmp_path).findings) == {
        "labels-from-1": "note",
        "leak-into-validation": "warning",
        "hidden-file": "note",
    }


@pytest.mark.parametrize("where", ["parent", "itself"])
def test_a_named_dataset_that_its_loader_refuses_is_checked_all_the_same(tmp_path, where):
    root = small_pacs(tmp_path / "pacs")
    (root / "photo" / "dog" / "1.png").unlink()
    (root / "photo" / "dog" / "2.png").write_bytes(b"")
    findings = report_of("pacs", tmp_path if where == "parent" else root).findings
    assert codes(findings) == {
        "refused": "error",
        "empty": "error",
        "list-absent": "warning",
        "few-images": "warning",
        "labels-from-1": "note",
    }
    assert "photo/dog/1.png is listed but missing" in only(findings, "refused").what


def test_a_named_dataset_that_is_nowhere_is_an_error_of_the_call(tmp_path, monkeypatch):
    monkeypatch.delenv("DMG_DATA", raising=False)
    with pytest.raises(InputError, match="needs a folder"):
        report_of("pacs")
    with pytest.raises(InputError, match="does not exist"):
        report_of("pacs", tmp_path / "nowhere")


@pytest.mark.slow
def test_real_pacs_is_clean(real_data):
    """No duplicates at all, by pixels, in the 9,991 images; their lists count from 1."""
    report = check("pacs", real_data, None, QUIET)
    assert codes(report.findings) == {"labels-from-1": "note"}
    assert int(report.counts.to_numpy().sum()) == 9991
