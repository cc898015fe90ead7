"""The walk through a dataset's folder."""

from __future__ import annotations

import os

import pytest

from check_rows import codes, report_of
from domain_masks.data.checking.tree import walk
from trees_of_images import clean


@pytest.fixture
def tree(tmp_path):
    return clean(tmp_path / "animals")


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
