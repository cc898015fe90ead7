import csv
import io
import json
import os
import shutil
import unicodedata

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import generated
from domain_masks.data import load_dataset, load_folder, split_domains, verify
from domain_masks.data.checking import CheckedImage, Example, Finding, Report, check
from domain_masks.data.checking.classes import class_findings
from domain_masks.data.checking.content import content_findings
from domain_masks.data.checking.duplicates import duplicate_findings
from domain_masks.data.checking.examination import open_index
from domain_masks.data.checking.layout import entry_findings, layout_findings
from domain_masks.data.checking.lists import ListedImage, apply_lists, number_findings
from domain_masks.data.checking.tree import FolderTree, walk
from domain_masks.data.decoding import ImageFacts, Problem
from domain_masks.data.names import spellings
from domain_masks.errors import InputError
from domain_masks.progress import ConsoleReporter
from trees_of_images import CLASSES, DOMAINS, PER_CLASS, clean, cut, pixels, save

QUIET = ConsoleReporter(quiet=True)


def codes(findings):
    return {finding.code: finding.severity for finding in findings}


def only(findings, code):
    (found,) = [finding for finding in findings if finding.code == code]
    return found


def paths(finding):
    return [example.paths for example in finding.examples]


def report_of(name, root=None):
    return check(str(name), root, 0, QUIET)


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


def image(path, pixel_hash="", file_hash="", split="", **facts):
    """A row for the rules, its domain and class taken from its path."""
    domain, class_name, _ = path.split("/")
    values = {"width": 64, "height": 64, "frames": 1, **facts}
    seen = ImageFacts(**values, file_hash=file_hash or path, pixel_hash=pixel_hash or path)
    return CheckedImage(path, domain, class_name, split, facts=seen)


# A clean dataset


def test_a_clean_folder_has_no_findings(tree):
    report = report_of(tree)
    assert report.findings == ()
    assert not report.has_errors
    assert report.counts.loc["dog"].to_dict() == dict.fromkeys(DOMAINS, PER_CLASS)
    assert "nothing found" in report.text()
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
    assert codes(report_of(tree).findings) == {"not-a-image": "error"}


# Folders: everything at once


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
    findings = report_of(tree).findings
    assert codes(findings) == {
        "misplaced-image": "error",
        "empty-domain": "error",
        "link-loop": "error",
        "empty": "error",
        "not-a-image": "error",
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
    assert only(findings, "repeated").examples == (
        Example(("art/cat/3.jpg", "art/cat/copy.jpg")),
        Example(("art/dog/3.bmp", "art/dog/3.jpg"), "equal pixels, other file"),
    )
    assert only(findings, "animated").examples == (Example(("art/dog/moving.gif",), "3 frames"),)
    assert only(findings, "small").examples == (Example(("art/dog/tiny.png",), "8 x 8"),)
    assert paths(only(findings, "link-loop")) == [("art/dog/self.jpg",), ("art/up",)]
    assert paths(only(findings, "special-file")) == [("art/dog/pipe.png",)]
    assert paths(only(findings, "broken-link")) == [("art/dog/gone.jpg",)]


def test_a_image_in_a_deep_folder_is_decoded_too(tree):
    (tree / "art" / "dog" / "more").mkdir()
    (tree / "art" / "dog" / "more" / "1.png").write_bytes(b"")
    assert codes(report_of(tree).findings) == {"nested-image": "warning", "empty": "error"}


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


# Folders: the walk and the layout, as tables


def test_the_walk_follows_links_but_not_in_circles(tree, tmp_path):
    (tree / "clipart").symlink_to(tree / "photo")
    (tree / "photo" / "loop").symlink_to(tree)
    found = walk(tree)
    assert len(found.images) == 80
    assert found.loops == ["clipart/loop", "photo/loop"]
    assert found.misplaced == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_without_permission_is_found(tree):
    (tree / "art" / "dog").chmod(0)
    try:
        assert codes(report_of(tree).findings)["closed-folder"] == "error"
    finally:
        (tree / "art" / "dog").chmod(0o755)


def folder_tree(*files, **more):
    folders = {"/".join(path.split("/")[:depth]) for path in files for depth in (1, 2) if path.count("/") >= depth}
    return FolderTree(
        images=[path for path in files if path.count("/") == 2],
        misplaced=[path for path in files if path.count("/") != 2],
        folders=sorted(folders | set(more.pop("folders", ()))),
        **more,
    )


LAYOUTS = {
    "good": (["a/x/1.png", "b/x/1.png"], {}),
    "nothing": ([], {"no-images": "error"}),
    "flat": (["1.png"], {"no-images": "error"}),
    "one level": (["dog/1.png", "cat/1.png"], {"no-images": "error"}),
    "parent": (["data/a/x/1.png", "data/b/x/1.png"], {"no-images": "error"}),
    "splits above": (["train/a/x/1.png", "test/a/x/1.png"], {"no-images": "error"}),
    "splits for domains": (["train/x/1.png", "test/x/1.png"], {"split-folders": "error"}),
    "swapped": (["dog/photo/1.png", "dog/sketch/1.png", "cat/photo/1.png"], {"swapped-levels": "warning"}),
    "swapped by number": ([f"{n}/{d}/1.png" for n in range(9) for d in "ab"], {"swapped-levels": "note"}),
    "hospitals": ([f"{n}/{d}/1.png" for n in range(5) for d in "ab"], {}),
    "usual domains first": (["photo/real/1.png", "sketch/dog/1.png"], {}),
    "stray and deep": (
        ["a/x/1.png", "b/x/1.png", "1.png", "a/2.png", "a/x/y/3.png"],
        {"misplaced-image": "error", "nested-image": "warning"},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    files, expected = LAYOUTS[name]
    assert codes(layout_findings(folder_tree(*files))) == expected


def test_layouts_say_what_to_do():
    assert "'data'" in layout_findings(folder_tree(*LAYOUTS["parent"][0]))[0].advice
    assert "manifest" in layout_findings(folder_tree(*LAYOUTS["splits above"][0]))[0].advice
    assert "of one domain" in layout_findings(folder_tree(*LAYOUTS["one level"][0]))[0].what
    assert "(photo, sketch)" in layout_findings(folder_tree(*LAYOUTS["swapped"][0]))[0].what


def test_a_folder_of_lists_is_no_domain():
    files = ["a/x/1.png", "b/x/1.png"]
    assert layout_findings(folder_tree(*files, folders=["splits"])) == []
    assert codes(layout_findings(folder_tree(*files, folders=["splits", "splits/x"]))) == {"empty-domain": "error"}
    assert codes(layout_findings(folder_tree(*files, folders=["a/y"]))) == {"empty-class": "warning"}


def test_ignored_files_are_counted_by_extension():
    (found,) = entry_findings(FolderTree(ignored=["a.txt", "b.txt", "c"]))
    assert "3 files" in found.what
    assert "(2 .txt, 1 no extension)" in found.what


# Classes and domains, as tables


def table(**counts):
    """Rows of `domain__class=count`."""
    rows = []
    for name, count in counts.items():
        domain, class_name = name.split("__")
        rows += [image(f"{domain}/{class_name}/{number}.png") for number in range(count)]
    return rows


COUNTS = {
    "good": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10, "c__x": 10, "c__y": 10}, {}),
    "one domain": ({"a__x": 10, "a__y": 10}, {"single-domain": "error"}),
    "two domains": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10}, {"two-domains": "warning"}),
    "one class": ({"a__x": 10, "b__x": 10, "c__x": 10}, {"single-class": "error"}),
    "missing": ({"a__x": 10, "a__y": 10, "b__x": 10, "b__y": 10, "c__x": 10}, {"class-missing-in-domain": "warning"}),
    "in one": ({"a__x": 10, "a__y": 10, "b__x": 10, "c__x": 10}, {"class-in-one-domain": "warning"}),
    "few": (
        {"a__x": 1, "a__y": 10, "b__x": 2, "b__y": 9, "c__x": 10, "c__y": 10},
        {"single-image": "warning", "few-images": "warning"},
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name):
    counts, expected = COUNTS[name]
    assert codes(class_findings(table(**counts))) == expected


def test_a_class_of_one_domain_that_is_nearly_another_is_said_to_be_it():
    rows = table(a__giraffe=10, a__dog=10, b__giraffe=10, b__dog=10, c__girafe=10, c__dog=10)
    found = only(class_findings(rows), "class-in-one-domain")
    assert found.examples == (Example(("girafe",), "only in c, 10; perhaps it is 'giraffe'"),)


@pytest.mark.parametrize(
    "other",
    ["Traffic Light", "traffic_light", "traffic-light", "TRAFFIC LIGHT ", "trafficlight"],
)
def test_names_that_differ_in_case_and_blanks(other):
    rows = [
        image(f"{domain}/{name}/{n}.png") for domain in "abc" for name in ("traffic light", other) for n in range(10)
    ]
    found = only(class_findings(rows), "similar-classes")
    assert found.severity == "error"
    assert sorted(found.examples[0].paths) == sorted((repr("traffic light"), repr(other)))
    domains = [image(f"{name}/x/{n}.png") for name in ("traffic light", other) for n in range(10)]
    assert "similar-domains" in codes(class_findings(domains))


def test_names_in_different_unicode_forms_are_told_apart_in_print():
    names = [unicodedata.normalize(form, "Bär") for form in ("NFC", "NFD")]
    rows = [image(f"{domain}/{name}/{n}.png") for domain in "abc" for name in names for n in range(10)]
    shown = only(class_findings(rows), "similar-classes").examples[0].paths
    assert set(shown) == {"'Ba\\u0308r'", "'B\\xe4r'"}


def test_names_that_are_no_utf8_are_found_and_can_be_printed(tree):
    raw = os.fsencode(tree / "art" / "dog") + b"/\xff.png"
    with open(raw, "wb") as file:  # noqa: PTH123 - a name in bytes
        file.write((tree / "art" / "dog" / "0.png").read_bytes())
    report = report_of(tree)
    assert codes(report.findings) == {"odd-name": "error", "repeated": "warning"}
    assert "\\udcff.png" in report.text().encode("utf-8").decode()
    assert "\\udcff.png" in report.to_csv()
    json.dumps(report.to_dict(), ensure_ascii=False).encode()


# Images, as tables


@pytest.mark.parametrize("kind", ["unopened", "empty", "not-a-image", "truncated", "too-large", "broken"])
def test_every_kind_of_problem_is_an_error_of_its_own(kind):
    rows = [image("a/x/1.png"), CheckedImage("a/x/2.png", "a", "x", problem=Problem(kind, "so it is"))]
    (found,) = content_findings(rows)
    assert (found.code, found.severity) == (kind, "error")
    assert found.examples == (Example(("a/x/2.png",), "so it is"),)
    assert found.what.startswith("1 image ")


def test_sides_and_frames():
    rows = [
        image("a/x/1.png", width=32, height=32),
        image("a/x/2.png", width=31, height=400),
        image("a/x/3.gif", frames=2),
    ]
    findings = content_findings(rows)
    assert paths(only(findings, "small")) == [("a/x/2.png",)]
    assert only(findings, "animated").examples == (Example(("a/x/3.gif",), "2 frames"),)


DUPLICATES = {
    "none": ([("a/x/1.png", "p", ""), ("a/x/2.png", "q", "")], {}),
    "within": ([("a/x/1.png", "p", ""), ("a/x/2.png", "p", "")], {"repeated": "warning"}),
    "labels": ([("a/x/1.png", "p", ""), ("a/y/2.png", "p", "")], {"contradicting-labels": "error"}),
    "spellings": ([("a/x/1.png", "p", ""), ("a/X/2.png", "p", "")], {"repeated": "warning"}),
    "domains": ([("a/x/1.png", "p", ""), ("b/x/2.png", "p", "")], {"same-in-domains": "error"}),
    "domains, labels": (
        [("a/x/1.png", "p", ""), ("b/y/2.png", "p", "")],
        {"same-in-domains": "error", "contradicting-labels": "error"},
    ),
    "test": ([("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "test")], {"leak-into-test": "error"}),
    "validation": ([("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "val")], {"leak-into-validation": "warning"}),
    "chosen by": ([("a/x/1.png", "p", "val"), ("a/x/2.png", "p", "test")], {"leak-into-test": "error"}),
    "all three": (
        [("a/x/1.png", "p", "train"), ("a/x/2.png", "p", "val"), ("a/x/3.png", "p", "test")],
        {"leak-into-test": "error", "leak-into-validation": "warning"},
    ),
    "within a split": ([("a/x/1.png", "p", "val"), ("a/x/2.png", "p", "val")], {"repeated": "warning"}),
    # A copy in another domain is reported as such, whatever the splits.
    "domains, splits": ([("a/x/1.png", "p", "train"), ("b/x/2.png", "p", "test")], {"same-in-domains": "error"}),
}


@pytest.mark.parametrize("name", DUPLICATES)
def test_duplicates(name):
    rows, expected = DUPLICATES[name]
    findings = duplicate_findings([image(path, pixel_hash, "f", split) for path, pixel_hash, split in rows])
    assert codes(findings) == expected


def test_duplicates_are_counted_in_images_and_files_and_those_that_differ_in_bytes():
    rows = [image(f"a/x/{n}.png", "p", f"file {n}") for n in range(3)]
    rows += [image(f"a/x/{n}.png", "q", "same") for n in range(3, 5)]
    found = only(duplicate_findings(rows), "repeated")
    assert found.what.startswith("2 images (5 files) more than once")
    assert "the files of 1 differ in bytes" in found.what
    assert [(len(example.paths), bool(example.detail)) for example in found.examples] == [(3, True), (2, False)]


def test_images_without_a_place_and_rows_of_one_file_are_no_duplicates():
    seen = ImageFacts(64, 64, 1, "f", "p")
    rows = [CheckedImage("x/1.png", "", "", facts=seen), image("a/x/1.png", "p"), image("a/x/1.png", "p")]
    assert duplicate_findings(rows) == []


# Lists


def listed(path, label=0, split="train"):
    return ListedImage("list:1", path, label, split)


def test_lists_give_splits_and_a_list_of_everything_is_none():
    rows = [image(f"a/x/{n}.png") for n in range(3)] + [image("b/x/0.png")]
    lines = [
        *(listed(f"a/x/{n}.jpg", split="test") for n in range(3)),
        listed("a/x/0.png"),
        listed("a/x/1.png"),
        listed("a/x/2.png", split="val"),
        listed("b/x/0.png", split="test"),
    ]
    known, findings = apply_lists(rows, lines)
    assert findings == []
    assert [row.split for row in known] == ["train", "train", "val", "test"]


LISTS = {
    "several splits": ([listed("a/x/0.png"), listed("a/x/0.png", split="val")], {"list-leak": "error"}),
    "test too": (
        [listed("a/x/0.png"), listed("a/x/0.png", split="test"), listed("a/x/1.png")],
        {"list-leak": "error"},
    ),
    "absent": ([listed("a/x/0.png"), listed("a/x/9.png")], {"list-absent": "warning"}),
    "contradicts": ([listed("a/x/0.png"), listed("a/x/1.png"), listed("a/x/2.png", 1)], {"list-label": "error"}),
    "shared": ([listed("a/x/0.png"), listed("a/y/3.png")], {"list-shared-label": "error"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_what_is_wrong_with_lists(name):
    lines, expected = LISTS[name]
    rows = [image(f"a/x/{n}.png") for n in range(3)] + [image("a/y/3.png")]
    _, findings = apply_lists(rows, lines)
    found = {code: severity for code, severity in codes(findings).items() if code != "list-lacks"}
    assert found == expected


def test_images_in_no_list_are_found_where_their_domain_has_lists():
    rows = [image("a/x/0.png"), image("a/x/1.png"), image("b/x/0.png")]
    _, findings = apply_lists(rows, [listed("a/x/0.png")])
    assert paths(only(findings, "list-lacks")) == [("a/x/1.png",)]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (set(), {}),
        ({0, 1, 2}, {}),
        ({1, 2, 3}, {"labels-from-1": "note"}),
        ({0, 2}, {"label-gaps": "warning"}),
        ({1, 3}, {"label-gaps": "warning"}),
        ({5, 6}, {"label-gaps": "warning"}),
    ],
)
def test_numbers_of_labels(numbers, expected):
    assert codes(number_findings(numbers, "the lists")) == expected


def test_lists_beside_the_folders_are_read(tree):
    (tree / "splits").mkdir()
    for domain in DOMAINS:
        names = [f"{domain}/{c}/{n}.{'jpg' if n % 2 else 'png'} {CLASSES.index(c)}" for c in CLASSES for n in range(10)]
        (tree / "splits" / f"{domain}_train_kfold.txt").write_text("\n".join(names[2:]))
        (tree / "splits" / f"{domain}_crossval_kfold.txt").write_text("\n".join(names[:2]))
    assert report_of(tree).findings == ()
    shutil.copy(tree / "art" / "cat" / "0.png", tree / "art" / "cat" / "2.png")
    with (tree / "splits" / "art_train_kfold.txt").open("a") as file:
        file.write("\nnonsense\n")
    findings = report_of(tree).findings
    assert codes(findings) == {"leak-into-validation": "warning", "list-line": "warning"}
    assert paths(only(findings, "leak-into-validation")) == [("art/cat/0.png", "art/cat/2.png")]
    assert paths(only(findings, "list-line")) == [("splits/art_train_kfold.txt:19",)]


# Named datasets


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
    assert "photo/dog/1.png is listed but not there" in only(findings, "refused").what


def test_a_named_dataset_that_is_nowhere_is_an_error_of_the_call(tmp_path, monkeypatch):
    monkeypatch.delenv("DMG_DATA", raising=False)
    with pytest.raises(InputError, match="needs a folder"):
        report_of("pacs")
    with pytest.raises(InputError, match="does not exist"):
        report_of("pacs", tmp_path / "nowhere")


# Manifests


def manifest(tree, **changes):
    rows = [path.split("/") for path in walk(tree).images]
    table = pd.DataFrame(
        {
            "path": ["/".join(row) for row in rows],
            "label": [row[1] for row in rows],
            "domain": [row[0] for row in rows],
        }
    )
    for name, change in changes.items():
        table[name] = change(table) if callable(change) else change
    return table


def written(tree, table, name="list.csv"):
    path = tree / name
    table.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    return path


@pytest.mark.parametrize("name", ["list.csv", "list.tsv"])
def test_a_clean_manifest_has_no_findings(tree, name):
    splits = np.array(["train", "val", "test"])[np.arange(60) % 3]
    table = manifest(tree, split=splits, group=lambda table: table["split"] + table["domain"])
    report = report_of(written(tree, table, name))
    assert report.findings == ()
    assert report.counts.loc["cat", "photo"] == 10


def test_a_manifest_relative_to_another_folder(tree, tmp_path):
    path = written(tmp_path, manifest(tree))
    assert codes(report_of(path).findings) == {"unopened": "error"}
    assert report_of(path, tree).findings == ()


MANIFESTS = {
    "column": (lambda table: table.rename(columns={"label": "lable"}), {"manifest-column": "error"}),
    "unused": (lambda table: table.assign(weight=1), {"manifest-unused": "note"}),
    "blank": (lambda table: table.assign(label=["", *table["label"][1:]]), {"manifest-blank": "error"}),
    "twice": (lambda table: pd.concat([table, table[:1]]), {"manifest-twice": "error"}),
    "split": (lambda table: table.assign(split=["trian"] + ["train"] * 59), {"manifest-split": "error"}),
    "splits in other words": (lambda table: table.assign(split=["Train", " VALIDATION ", "Test"] * 20), {}),
    "blanks around some cells": (lambda table: table.assign(label=table["label"] + ["", " "] * 30), {}),
    "group": (
        lambda table: table.assign(split=["train", "test"] * 30, group=[*"abb"] * 20),
        {"group-divided": "error"},
    ),
    "two groups in every domain": (
        lambda table: table.assign(group=table["domain"] + [*"ab"] * 30),
        {"few-groups": "error"},
    ),
    "two groups in one domain": (
        lambda table: table.assign(
            group=[f"{name}{row % (2 if name == 'art' else 3)}" for row, name in enumerate(table["domain"])]
        ),
        {"few-groups": "warning"},
    ),
    "groups in several domains": (
        lambda table: table.assign(group=[*"abcdef"] * 10),
        {"group-across-domains": "warning"},
    ),
    "official groups in several domains": (
        lambda table: table.assign(split=["train", "val", "test"] * 20, group=[*"abcdef"] * 10),
        {},
    ),
    "one group to draw validation from": (
        lambda table: table.assign(split=["train", "test"] * 30, group=table["domain"] + [*"ab"] * 30),
        {"few-groups": "error"},
    ),
    "missing file": (lambda table: table.replace("art/cat/0.png", "art/cat/99.png"), {"unopened": "error"}),
    "from 1": (lambda table: table.replace({"cat": "1", "dog": "2"}), {"labels-from-1": "note"}),
    "gaps": (lambda table: table.replace({"cat": "0", "dog": "2"}), {"label-gaps": "warning"}),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_what_is_wrong_with_manifests(tree, name):
    change, expected = MANIFESTS[name]
    findings = report_of(written(tree, change(manifest(tree)))).findings
    counts = {"few-images"}
    assert {code: severity for code, severity in codes(findings).items() if code not in counts} == expected


def test_a_misspelt_column_is_recognised(tree):
    findings = report_of(written(tree, manifest(tree).rename(columns={"label": "lable"}))).findings
    assert findings[0].examples == (Example(("label",), "perhaps it is the column 'lable'"),)


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_check_and_training_agree_on_manifests(tree, name):
    change, expected = MANIFESTS[name]
    path = written(tree, change(manifest(tree)))
    refused = 0
    for target in DOMAINS:
        try:
            split_domains(load_dataset(path), [target])
        except InputError:
            refused += 1
    # With the groups of all three domains in all of them, none can be held out; the three together could.
    at_most = {code: severity for code, severity in expected.items() if code not in ("label-gaps", "labels-from-1")}
    assert bool({"error", "warning"} & set(at_most.values())) == (refused > 0)
    if "group-across-domains" not in expected:
        assert ("error" in expected.values()) == (refused == len(DOMAINS))


def test_a_check_reads_what_training_reads(tree):
    table = manifest(tree, split=["train", "Valid", "TEST"] * 20)
    path = written(tree, table.assign(path=f"{tree}/" + table["path"]))
    index = open_index(str(path), None)
    dataset = load_dataset(path)
    assert index.name == dataset.name == "list.csv"
    assert tuple(image.path for image in index.images) == dataset.ids
    assert [image.split for image in index.images] == dataset.splits.tolist()


def test_what_the_loader_has_against_a_manifest_is_said(tree, monkeypatch):
    def refuse(name, root):
        raise InputError("it is Monday.")

    monkeypatch.setattr("domain_masks.data.checking.examination.load_dataset", refuse)
    assert codes(report_of(written(tree, manifest(tree))).findings) == {"refused": "error"}


def test_a_manifest_that_is_no_table(tmp_path):
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "odd.csv").write_bytes(b"\xff\x00\x01")
    (tmp_path / "bare.csv").write_text("path,label,domain\n")
    for name, words in {
        "empty.csv": "is empty",
        "odd.csv": "is not UTF-8",
        "missing.csv": "does not exist: expected a table",
    }.items():
        with pytest.raises(InputError, match=f"{name}.*{words}"):
            report_of(tmp_path / name)
    assert codes(report_of(tmp_path / "bare.csv").findings) == {"refused": "error"}


# Reports


def a_report(count=12):
    examples = tuple(Example((f"a/x/{n}.png", f"b/x/{n}.png"), "why" if n == 0 else "") for n in range(count))
    counts = pd.DataFrame({"a": [count, 1], "b": [count, 0]}, index=["x", "y"])
    findings = (
        Finding("same-in-domains", "error", "12 images in several domains", "Remove them.", examples),
        Finding("labels-from-1", "note", "labels count from 1", "Nothing."),
    )
    return Report("zoo", "folder zoo", counts, findings)


def test_text_shows_the_first_examples_or_all():
    text = a_report().text()
    assert text.splitlines()[0] == "zoo: 25 images, 2 domains, 2 classes"
    assert "a/x/4.png = b/x/4.png" in text
    assert "a/x/5.png" not in text
    assert "... and 7 more (--all)" in text
    assert text.splitlines()[-1] == "1 error, 1 note"
    assert "a/x/11.png" in a_report().text(everything=True)
    assert "more" not in a_report().text(everything=True)


def test_a_large_table_is_summed_up():
    counts = pd.DataFrame({"a": range(1, 101), "b": range(100)}, index=[f"class {n}" for n in range(100)])
    report = Report("zoo", "folder zoo", counts, ())
    assert "class 57" not in report.text()
    assert "5050" in report.text()
    assert "class 57" in report.text(everything=True)


def test_machines_get_everything(tmp_path):
    report = a_report()
    report.write(tmp_path / "found.json")
    stored = json.loads((tmp_path / "found.json").read_text())
    assert stored["counts"] == {"a": {"x": 12, "y": 1}, "b": {"x": 12, "y": 0}}
    assert [(found["code"], found["count"]) for found in stored["findings"]] == [
        ("same-in-domains", 12),
        ("labels-from-1", 0),
    ]
    assert stored["findings"][0]["examples"][0] == {"paths": ["a/x/0.png", "b/x/0.png"], "detail": "why"}
    report.write(tmp_path / "found.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text())))
    assert len(rows) == 25
    assert rows[1] == {
        "severity": "error",
        "code": "same-in-domains",
        "example": "1",
        "path": "b/x/0.png",
        "detail": "why",
    }
    assert rows[-1]["detail"] == "labels count from 1"
    with pytest.raises(InputError, match=r"\.json or \.csv"):
        report.write(tmp_path / "found.txt")


@pytest.mark.slow
def test_real_pacs_is_clean(real_data):
    """No duplicates at all, by pixels, in the 9,991 images; their lists count from 1."""
    report = check("pacs", real_data, None, QUIET)
    assert codes(report.findings) == {"labels-from-1": "note"}
    assert int(report.counts.to_numpy().sum()) == 9991


@pytest.mark.parametrize(
    ("names", "same"),
    [
        (("dog", '"dog"'), True),
        (("dog", "\u201cDog\u201d "), True),
        (("dog", "d\u200bog"), True),
        (("1", "1.0"), True),
        (("1", "01"), True),
        (("\u00e9", "E\u0301"), True),
        (("-1", "1"), False),
        (("1", "10"), False),
        (("1.5", "15"), True),
        (("+", "-"), False),
    ],
)
def test_which_names_are_one(names, same):
    assert bool(spellings(names)) is same


def test_groups_that_differ_in_case_or_quotes_are_found_those_of_other_codes_are_not():
    rows = [
        CheckedImage(f"{domain}/x/{n}.png", domain, "x", "", group)
        for domain in "ab"
        for n, group in enumerate(["p-1-2", "p-12", "P-12 ", "'p-12'"])
    ]
    found = only(class_findings(rows), "similar-groups")
    assert [set(example.paths) for example in found.examples] == [{repr("p-12"), repr("P-12 "), repr("'p-12'")}]


@pytest.mark.parametrize(
    ("name", "severity"),
    [("NaN", "error"), (" null", "error"), ("N/A", "error"), ("None", "warning"), ("na", "warning")],
)
def test_what_programs_write_for_no_value_is_found_as_a_name(name, severity):
    rows = [
        CheckedImage(f"{place}{label}{n}", place, label)
        for place in "abc"
        for label in ("dog", name)
        for n in range(10)
    ]
    found = only(class_findings(rows), "no-name")
    assert found.severity == severity
    assert found.examples == (Example((repr(name),), "class, 30 images"),)
    domains = [CheckedImage(f"{place}{n}", place, "dog") for place in ("a", name) for n in range(10)]
    assert only(class_findings(domains), "no-name").examples[0].detail == "domain, 10 images"


def test_the_text_nan_in_a_manifest_is_found(tree):
    lines = [f"{path.relative_to(tree)},{path.parts[-2]},{path.parts[-3]}" for path in sorted(tree.glob("*/*/*"))]
    lines[3] = lines[3].replace(",cat,", ",NaN,")
    file = tree.parent / "list.csv"
    file.write_text("\n".join(["path,label,domain", *lines]))
    assert codes(check(str(file), tree, 0, QUIET).findings)["no-name"] == "error"
