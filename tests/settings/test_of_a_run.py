"""The run folder where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain_masks.records.config import parse_config
from domain_masks.settings.of_a_run import default_folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("hf:a/b#x=y", "hf%3Aa%2Fb#x=y-a%2Fb+c-dmg-0"),
        (".", "here-a%2Fb+c-dmg-0"),
        ("photos/..", "here-a%2Fb+c-dmg-0"),
        ("some/photos/", "photos-a%2Fb+c-dmg-0"),
    ],
)
def test_the_default_folder_lies_in_runs(dataset: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert default_folder(parse_config({"dataset": dataset, "target": ["a/b", "c"]})) == Path("runs") / name
