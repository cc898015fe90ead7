"""Which configurations are the same run."""

from __future__ import annotations

import json
from dataclasses import field
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

import generated
from domain_masks.experiments.run_index import key_of, keys_in
from domain_masks.methods.dmg import DMGSettings
from domain_masks.methods.method_registry import described
from domain_masks.methods.settings import complete_method, with_settings
from domain_masks.networks.presets import PRESETS
from domain_masks.records import RunFolder
from domain_masks.records.config import NOT_COMPUTED, RunConfig, parse_config
from domain_masks.records.identity import (
    REVISED,
    REVISIONS,
    SITE_PRESETS,
    dataset_name,
    inputs_of,
    revised_since,
    revisions,
)
from domain_masks.records.method_choice import MethodChoice

DOMAINS = generated.DOMAINS


def complete(**changes: Any) -> RunConfig:
    return with_settings(generated.config(**changes))


def key(**changes: Any) -> str:
    return key_of(complete(**changes), DOMAINS)


def test_every_setting_that_decides_changes_the_key() -> None:
    others: dict[str, Any] = {
        "lr": 1e-4, "seed": 1, "target": "dots", "epochs": 4, "batch": 8, "optimizer": "sgd", "size": 32, "precision": "bf16",
        "split_seed": 1, "method": "aggregate", "sites": "classifier.head", "fast": True, "max_time": 60,
    }  # fmt: skip
    keys = [key(), *(key(**{name: value}) for name, value in others.items())]
    keys.append(key(method={"name": "dmg", "overlap_weight": 0.5}))
    assert len(set(keys)) == len(keys)


def test_what_decides_nothing_and_the_order_of_what_is_held_out_do_not() -> None:
    elsewhere = {"workers": 3, "device": "auto", "checkpoint_every": 9, "verify": False, "root": "/elsewhere"}
    assert elsewhere.keys() <= NOT_COMPUTED
    assert key(**elsewhere) == key()
    assert key(target="dots,plain") == key(target="plain,dots")
    assert key(method={"name": "dmg", "overlap_weight": 0.1}) == key(), "what is at its default need not be said"
    assert key(sites="paper") == key(), "the preset that is taken where none is named"


def test_a_new_setting_at_its_default_changes_no_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = key(lr=0.5)
    folder = RunFolder(tmp_path)
    complete(lr=0.5).write(folder.config)

    class LaterConfig(RunConfig):
        momentum_of_masks: float = Field(default=0.25)

    @dataclass(frozen=True)
    class LaterSettings(DMGSettings):
        temperature: float = field(default=2.0)

    monkeypatch.setattr(described("dmg"), "Settings", LaterSettings)
    assert complete_method("dmg", {})["temperature"] == 2.0
    later = LaterConfig(**complete(lr=0.5).model_dump())
    assert key_of(later, DOMAINS) == before
    assert key_of(later.model_copy(update={"momentum_of_masks": 0.5}), DOMAINS) != before
    changed = MethodChoice("dmg", {**later.method.given, "temperature": 1.0})
    assert key_of(later.model_copy(update={"method": changed}), DOMAINS) != before
    assert before in keys_in(folder, DOMAINS), "an older config.yaml, which does not say it, is the same run"


def test_weights_count_by_their_content_wherever_they_lie(tmp_path: Path) -> None:
    for name, content in {"a/model.safetensors": b"one", "b/model.safetensors": b"two", "c/other.pth": b"one"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    one, two, copied = (
        key(weights=str(tmp_path / name)) for name in ("a/model.safetensors", "b/model.safetensors", "c/other.pth")
    )
    assert one == copied
    assert one != two
    assert key(init_from=str(tmp_path / "a"), weights="none") != key(init_from=str(tmp_path / "b"), weights="none")


def test_a_dataset_is_known_by_its_name_wherever_it_lies() -> None:
    assert dataset_name("/old/photos") == dataset_name("/new/place/photos") == "folder:photos"
    assert dataset_name("pacs") == "pacs" != dataset_name("/data/pacs")
    assert dataset_name("hf:some/name#image=x") == "hf:some/name#image=x"
    assert dataset_name("hf:/here/name") == dataset_name("hf:/there/name")
    assert key_of(complete(), ("dots", "plain", "stripes")) != key_of(complete(), ("dots", "plain", "stripes", "new"))


def test_a_run_is_known_by_what_it_was_asked_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    asked = complete(batch="auto")
    complete(batch=16).write(folder.config)
    folder.environment.write_text(json.dumps({"inputs": inputs_of(asked, DOMAINS)}))
    assert list(keys_in(folder, ())) == [key_of(asked, DOMAINS)]
    folder.environment.write_text(json.dumps({"schema": 1}))
    assert set(keys_in(folder, DOMAINS)) == {key_of(asked, DOMAINS), key(batch=16)}, "an older version did not note it"


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [
        ({"backbone": "alexnet"}, True),
        ({"backbone": "torchvision:alexnet"}, True),
        ({"backbone": "alexnet", "method": "aggregate"}, False),
        ({"backbone": "alexnet", "method": "multi_headed", "freeze_features": True}, True),
        ({"backbone": "alexnet", "freeze_features": True}, False),
        ({"backbone": "alexnet", "method": {"name": "dmg", "dropout": True}}, False),
        ({"backbone": "alexnet", "method": {"name": "dmg", "dropout": True}, "freeze_features": True}, True),
        ({"backbone": "small"}, False),
        ({"backbone": "small", "sites": "classifier.head"}, True),
        ({"backbone": "resnet18", "sites": "last-stage"}, False),
        ({"backbone": "vgg16", "boundary": "classifier.3"}, True),
        ({"backbone": "alexnet", "learn": "masks", "init_from": "run"}, False),
    ],
)
def test_runs_that_a_revision_concerns(settings: dict[str, Any], concerned: bool) -> None:
    assert ("dropout-before-boundary" in revisions(complete(**settings))) is concerned


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [
        ({"backbone": "efficientnet_b0"}, True),
        ({"backbone": "timm:tiny_vit_5m_224"}, True),
        ({"backbone": "efficientnet_b0", "method": "aggregate"}, False),
        ({"backbone": "convnext_tiny", "method": {"name": "dmg", "dropout": True}}, False),
        ({"backbone": "resnet18"}, False),
    ],
)
def test_runs_with_drop_path_in_the_task_network_are_revised(settings: dict[str, Any], concerned: bool) -> None:
    assert ("drop-path-in-task" in revisions(complete(**settings))) is concerned


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [
        ({"method": "metareg"}, True),
        ({"method": {"name": "metareg", "nonnegative": False, "meta_lr": 0.1}}, False),
        ({"method": "mldg"}, False),
    ],
)
def test_runs_whose_penalty_may_have_been_negative_are_revised(settings: dict[str, Any], concerned: bool) -> None:
    assert ("nonnegative-regulariser" in revisions(complete(**settings))) is concerned


@pytest.mark.parametrize(
    ("settings", "concerned"),
    [
        ({"method": "epi_fcr", "precision": "bf16"}, True),
        ({"method": "metareg", "precision": "16"}, True),
        ({"method": "epi_fcr", "precision": "32"}, False),
        ({"method": "mldg", "precision": "bf16"}, False),
    ],
)
def test_runs_that_computed_with_weights_of_before_an_update_are_revised(
    settings: dict[str, Any], concerned: bool
) -> None:
    assert ("updated-weights-in-16-bits" in revisions(complete(**settings))) is concerned


@pytest.mark.parametrize(
    ("name", "settings", "concerned"),
    [
        ("draws-of-compiled-networks", {"compile": True}, True),
        ("draws-of-compiled-networks", {}, False),
        ("norm-of-shared-masks", {"method": {"name": "dmg", "masks": "shared"}, "clip": 1.0}, True),
        ("norm-of-shared-masks", {"method": {"name": "dmg", "masks": "shared"}}, False),
        ("norm-of-shared-masks", {"clip": 1.0}, False),
    ],
)
def test_runs_that_other_revisions_concern(name: str, settings: dict[str, Any], concerned: bool) -> None:
    assert (name in revisions(complete(**settings))) is concerned


def test_presets_of_sites_are_those_that_networks_have() -> None:
    assert {"last-block"}.union(*PRESETS.values()) == SITE_PRESETS


def test_a_revision_changes_the_keys_that_it_concerns_and_old_runs_keep_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def concerns(config: RunConfig) -> bool:
        """Long epochs are shorter.

        More is not shown.
        """
        return (config.epochs or 0) > 3

    for name in list(REVISIONS):
        monkeypatch.delitem(REVISIONS, name)
    short, long = complete(epochs=3), complete(epochs=4)
    before = {key_of(short, DOMAINS), key_of(long, DOMAINS)}
    old, noted = RunFolder(tmp_path / "old"), inputs_of(long, DOMAINS)
    long.write(old.config)
    old.environment.write_text(json.dumps({"inputs": noted}))
    older = RunFolder(tmp_path / "older")
    long.write(older.config)
    older.results.write_text("{}")
    settled = RunFolder(tmp_path / "settled")
    long.write(settled.config)
    monkeypatch.setitem(REVISIONS, "shorter", concerns)
    assert key_of(short, DOMAINS) in before
    revised = key_of(long, DOMAINS)
    assert revised not in before
    assert revised not in [*keys_in(old, DOMAINS), *keys_in(older, DOMAINS)]
    assert set(keys_in(old, DOMAINS)) | set(keys_in(older, DOMAINS)) > before - {key_of(short, DOMAINS)}
    assert revised in keys_in(settled, DOMAINS), "a folder in which nothing has been computed is of this version"
    assert inputs_of(long, DOMAINS)[REVISED] == ["shorter"]
    assert revised_since(long, noted) == ["Long epochs are shorter"]
    assert revised_since(long, inputs_of(long, DOMAINS)) == revised_since(short, noted) == []


def test_settings_that_cannot_be_read_have_no_key(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert list(keys_in(folder, DOMAINS)) == []
    for text in ("schema: 99", "lr: -1", "method: {name: dgm}", "["):
        folder.config.write_text(text)
        assert list(keys_in(folder, DOMAINS)) == []


def test_texts_and_numbers_are_the_same(tmp_path: Path) -> None:
    assert key_of(parse_config({**complete().model_dump(), "lr": "3e-3"}), DOMAINS) == key()
