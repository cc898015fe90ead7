"""Settings that exclude each other are refused together; what a run writes never contradicts itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import generated
from domain_masks.data import load_digits_dataset
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Aggregate
from domain_masks.records.config import parse_config
from domain_masks.records.preparation import as_started
from domain_masks.records.yaml_files import parse_yaml
from domain_masks.settings.contradictions import contradictions
from domain_masks.settings.validation import check_settings
from domain_masks.training.defaults import notes, resolve

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "rate of no masks": ({"method": "aggregate", "lr_masks": 1.0}, "lr_masks: "),
    "schedule of no masks": ({"method": "aggregate", "schedule_masks": "constant"}, "schedule_masks: "),
    "sites of no masks": ({"method": "aggregate", "sites": "paper"}, "sites: "),
    "a sum of means": (
        {"accumulate": 2, "method": {"name": "dmg", "classification_reduction": "sum"}},
        "accumulate: averages over the images",
    ),
    "statistics of several": ({"recalibrate_bn": True, "devices": 2}, "recalibrate_bn: "),
    "fixed statistics": (
        {"recalibrate_bn": True, "method": {"name": "dmg", "batch_norm": "fixed"}},
        "recalibrate_bn: would replace the statistics",
    ),
    "statistics that are fixed by default": ({"recalibrate_bn": True, "method": "miro"}, "recalibrate_bn: would"),
    "statistics of a network that is kept": (
        {"recalibrate_bn": True, "learn": "masks", "init_from": "run"},
        "recalibrate_bn: learn masks",
    ),
    "rate of fixed masks": ({"method": {"name": "dmg", "masks": "fixed"}, "lr_masks": 1.0}, "lr_masks: "),
    "schedule of fixed masks": (
        {"method": {"name": "dmg", "masks": "binary"}, "schedule_masks": "constant"},
        "schedule_",
    ),
    "masks of a run, shared": (
        {"method": {"name": "dmg", "masks": "shared"}, "init_from": "run"},
        "init_from: ",
    ),
    "only masks, without": ({"method": "multi_headed", "learn": "masks", "init_from": "run"}, "learn: "),
    "only masks, on nothing": ({"learn": "masks"}, "learn: "),
    "momentum of adam": ({"momentum": 0.5}, "momentum: "),
    "decay of no schedule": ({"schedule": "constant", "schedule_decay": 0.5}, "schedule_decay: "),
    "gamma of another": ({"schedule": "exponential", "schedule_gamma": 0.5}, "schedule_gamma: "),
    "power of another": ({"schedule": "cosine", "schedule_power": 0.5}, "schedule_power: "),
    "warm up without end": ({"epochs": 3, "warmup_epochs": 3}, "warmup_epochs: expected fewer than the 3 epochs"),
    "warm up in closed form": ({"method": "dica", "warmup_epochs": 1}, "warmup_epochs: "),
    "smooth labels in closed form": ({"method": "dica", "label_smoothing": 0.1}, "label_smoothing: "),
    "momentum of adamw": ({"momentum": 0.5, "optimizer": "adamw"}, "momentum: "),
    "frozen for ever": ({"epochs": 3, "freeze_epochs": 3}, "freeze_epochs: expected fewer than the 3 epochs"),
    "frozen twice": ({"freeze_epochs": 1, "freeze_features": True}, "freeze_epochs: freeze_features freezes"),
    "frozen in closed form": ({"method": "dica", "freeze_epochs": 1}, "freeze_epochs: method 'dica' never"),
    "unfrozen in closed form": ({"method": "dica", "unfreeze_every": 1}, "unfreeze_every: method 'dica' never"),
    "unfrozen and always frozen": (
        {"unfreeze_every": 1, "freeze_features": True},
        "unfreeze_every: freeze_features freezes",
    ),
    "nothing to unfreeze": (
        {"unfreeze_every": 1},
        "unfreeze_every: trains the layers that freeze_epochs froze one by one",
    ),
    "layers in closed form": ({"method": "dica", "layer_decay": 0.5}, "layer_decay: "),
    "views of nothing": ({"views": 8}, "views: "),
    "bad ones unseen": ({"skip_bad": True, "verify": False}, "skip_bad: "),
    "half precision": ({"precision": "16", "device": "cpu"}, "precision: "),
    "weights of small": ({"backbone": "small", "weights": "imagenet"}, "weights: "),
}
ALLOWED: list[dict[str, Any]] = [
    {"device": "cpu", "devices": 2},
    {"fast": True, "patience": 3, "max_time": "1h"},
    {"momentum": 0.5, "optimizer": "sgd"},
    {"schedule_decay": 0.5},
    {"views": 8, "freeze_features": True},
    {"method": "aggregate", "sites": "paper", "freeze_features": True},
    {"skip_bad": True},
    {"precision": "16"},
    {"method": {"name": "dmg", "masks": "shared"}, "lr_masks": 1.0},
]


@pytest.mark.parametrize(("values", "start"), REFUSED.values(), ids=list(REFUSED))
def test_a_contradiction_is_refused_in_one_line(values: dict[str, Any], start: str) -> None:
    with pytest.raises(InputError) as caught:
        check_settings(values)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", ALLOWED, ids=str)
def test_what_goes_together_is_allowed(values: dict[str, Any]) -> None:
    check_settings(values)


def test_methods_that_need_images_or_no_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnImages(Aggregate):
        name = "on_images"
        needs = "images"

        def fit_closed_form(self, features: Any) -> None: ...

    monkeypatch.setitem(METHODS, "on_images", OnImages)
    config = parse_config({"method": "on_images", "freeze_features": True, "class_weights": "balanced"})
    assert [line.partition(":")[0] for line in contradictions(config, OnImages)] == [
        "freeze_features",
        "class_weights",
    ]


def test_values_names_methods_and_contradictions_come_together() -> None:
    values = {"momentum": 0.5, "views": 7, "augmentation": "pcas", "method": {"name": "dmg", "overlap_wieght": 1}}
    with pytest.raises(InputError) as caught:
        check_settings({**values, "backbone": "resnet81"}, ["--bacth: there is no such flag: did you mean --batch?"])
    message = str(caught.value)
    assert message.startswith("6 settings are wrong:")
    for word in ("--bacth", "'pacs'", "'resnet18'", "did you mean method.overlap_weight?", "momentum: ", "views: "):
        assert word in message
    with pytest.raises(InputError, match=r"(?s)2 settings.*epochs.*method.average"):
        check_settings({"epochs": 0, "method": {"name": "dmg", "average": "mean"}})
    with pytest.raises(InputError, match=r"(?s)2 settings.*epochs.*method: unknown method 'dgm'.*'dmg'"):
        check_settings({"epochs": 0, "method": "dgm"})
    with pytest.raises(InputError, match="methods, seeds: only `dmg benchmark`"):
        check_settings({"methods": ["dmg"], "seeds": [0]})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {"method": st.sampled_from(list(METHODS))},
        optional={
            "target": st.sampled_from(["ink", "ink,paper", "none"]),
            "schedule": st.sampled_from(["constant", "exponential", "inverse", "cosine"]),
            "schedule_decay": st.sampled_from([0.5, 0.99]),
            "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
            "momentum": st.sampled_from([0.0, 0.9]),
            "backbone": st.sampled_from(["small", "resnet18"]),
            "weights": st.sampled_from(["none", "imagenet", "w.pth"]),
            "freeze_features": st.booleans(),
            "sites": st.sampled_from(["paper", ""]),
            "lr_masks": st.sampled_from([None, 0.1]),
            "schedule_masks": st.sampled_from(["same", "constant", "exponential"]),
            "batch": st.sampled_from(["auto", 8]),
            "root": st.sampled_from([None, "data"]),
        },
    )
)
def test_a_complete_configuration_is_read_back_and_is_complete(values: dict[str, Any]) -> None:
    if values.get("sites") == "":
        values["sites"] = []
    dataset = load_digits_dataset()
    try:
        complete = resolve(check_settings(values), dataset)
    except InputError:
        return
    again = parse_yaml(complete.to_yaml(), "f")
    del again["schema"]
    assert check_settings(again) == complete
    assert resolve(complete, dataset) == complete
    assert complete.method.settings is not None


def test_a_contradiction_that_a_default_makes_is_refused_before_the_run() -> None:
    # On the digits the schedule is constant, which only the dataset tells.
    config = check_settings({"schedule_decay": 0.5})
    with pytest.raises(InputError, match="schedule_decay: only schedule exponential uses it, and schedule is constant"):
        resolve(config, load_digits_dataset())


def test_paths_are_stored_from_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    config = generated.config(dataset="photos", root="data", weights="w.pth", init_from="run", square=True)
    config = as_started(config, {"square": True})  # as is written down, so that the run is not looked for
    complete = resolve(config, generated.dataset())
    assert (complete.root, complete.init_from) == (tmp_path / "data", tmp_path / "run")
    assert (complete.dataset, complete.weights) == (str(tmp_path / "photos"), str(tmp_path / "w.pth"))
    named = resolve(generated.config(dataset="digits"), generated.dataset())
    assert (named.dataset, named.weights, named.root) == ("digits", "none", None)


def test_a_split_seed_without_effect_is_said() -> None:
    dataset = generated.dataset()
    assert notes(generated.config(split_seed=1), dataset) == []
    import dataclasses  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    training = dataclasses.replace(dataset, splits=np.array(["train"] * len(dataset)))
    assert notes(generated.config(split_seed=1), training) == [], "it draws the validation list"
    official = dataclasses.replace(dataset, splits=np.array(["train", "val"] * (len(dataset) // 2)))
    assert notes(generated.config(), official) == []
    assert "split_seed" in notes(generated.config(split_seed=1), official)[0]
    assert notes(generated.config(split_seed=1, in_domain_test="validation-half"), official) == [], (
        "it draws the halves"
    )
