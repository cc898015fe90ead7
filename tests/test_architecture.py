"""docs/architecture.md names files and definitions that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "domain_masks"
TEXT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(set(re.findall(r"`([a-z_/]+\.py)`", TEXT)))
PAIRS = sorted(set(re.findall(r"`([A-Za-z_.]+)`\s+\(`([a-z_/]+\.py)`", TEXT)))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_there(name: str) -> None:
    assert (PACKAGE / name).is_file()


@pytest.mark.parametrize(("name", "file"), PAIRS)
def test_a_name_is_defined_where_the_page_says(name: str, file: str) -> None:
    text = (PACKAGE / file).read_text(encoding="utf-8")
    for part in name.split("."):
        assert re.search(rf"^\s*(?:class|def|async def) {part}\b", text, re.MULTILINE), (name, file)


def test_folders_are_there() -> None:
    folders = set(re.findall(r"`([a-z]+)/`", TEXT))
    assert folders
    assert all((PACKAGE / folder).is_dir() for folder in folders)
