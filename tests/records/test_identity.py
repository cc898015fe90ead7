"""The key of a configuration stays what it was: a run that was finished by an earlier version counts as done."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domain_masks.data import ImageDataset, load_digits_dataset
from domain_masks.experiments.run_index import key_of
from domain_masks.records.config import parse_config
from domain_masks.records.yaml_files import parse_yaml
from domain_masks.settings.validation import check_settings
from domain_masks.training.defaults import resolve

KEYS = Path(__file__).parent / "run_keys.json"
"""Settings as they are given, the name of the dataset that they are resolved for, and the key of version 0.1."""


@pytest.fixture(scope="module")
def digits() -> ImageDataset:
    return load_digits_dataset()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_run_keys_are_those_of_earlier_versions(digits: ImageDataset) -> None:
    cases: list[dict[str, Any]] = json.loads(KEYS.read_text())
    assert len(cases) > 100
    changed = []
    for case in cases:
        dataset = replace(digits, name=case["dataset"])
        complete = resolve(check_settings(case["given"]), dataset)
        if key_of(complete, dataset.domains) != case["key"]:
            changed.append((case["dataset"], case["given"]))
        # Also where the settings are read again from config.yaml.
        written = parse_yaml(complete.to_yaml(), "config.yaml")
        del written["schema"]
        again = resolve(parse_config(written), dataset)
        if again.to_dict() != complete.to_dict() or key_of(again, dataset.domains) != case["key"]:
            changed.append((case["dataset"], written))
    assert changed == []


def test_the_standard_augmentation_is_taken_by_its_earlier_name(digits: ImageDataset) -> None:
    photos = replace(digits, name="photos")
    given = {"backbone": "small", "target": "ink", "mean": 0.5, "std": 0.5, "crop": 1, "interpolation": "bilinear"}
    usual, earlier = (
        resolve(check_settings({**given, **more}), photos) for more in ({}, {"augmentation": "domainnet"})
    )
    assert usual.augmentation == earlier.augmentation == "standard"
    assert key_of(usual, photos.domains) == key_of(earlier, photos.domains)
