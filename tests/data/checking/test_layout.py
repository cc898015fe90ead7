"""How folders are arranged, as tables."""

from __future__ import annotations

import pytest

from check_rows import codes
from domain_masks.data.checking.layout import entry_findings, layout_findings
from domain_masks.data.checking.tree import FolderTree


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
