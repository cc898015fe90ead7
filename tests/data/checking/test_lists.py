"""Lists beside the folders."""

from __future__ import annotations

import shutil

import pytest

from check_rows import codes, image, only, paths, report_of
from domain_masks.data.checking.lists import ListedImage, apply_lists, number_findings
from trees_of_images import CLASSES, DOMAINS, clean


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


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
