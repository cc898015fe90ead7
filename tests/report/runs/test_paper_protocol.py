from dataclasses import fields

import pytest

from domain_masks.methods import METHODS
from domain_masks.records.collection import collect
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.report import protocol_match
from domain_masks.report.runs.accuracies import summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.runs.paper_numbers import accuracy_numbers
from domain_masks.report.runs.paper_settings import DOMAINS as PAPER_DOMAINS
from domain_masks.report.runs.paper_settings import METHOD_SETTINGS, OF_TRAINING, QUOTED, SETTINGS, ByDataset, Fixed
from report.made_runs import DMG, PAPER_CONFIG

OTHERS = {True: False, False: True, None: 3, "32": "bf16", 32: "bf16"}


def config(**changes):
    method = {"name": "dmg", **DMG, **changes.pop("settings", {})}
    return {**parse_config({**PAPER_CONFIG, "target": "sketch", "method": method}).to_dict(), **changes}


def shown(path, measure="out_of_domain", **only):
    """Return the rows of a report's accuracies that have a number of the paper, by line and held-out domain."""
    (group,) = groups_of(collect([path]).runs)
    frame = summary(group)
    frame = frame[
        (frame["measure"] == measure) & (frame["ensemble"] == "predictions") & frame["paper_accuracy"].notna()
    ]
    return group, {(row["line"], row["held_out"]): row["paper_accuracy"] for row in frame.to_dict("records")}


def another(value):
    if isinstance(value, list):
        return [0.5] * len(value)
    if isinstance(value, bool | None) or value in OTHERS:
        return OTHERS[value]
    return "another" if isinstance(value, str) else value * 2 + 1


def fixed(rule, dataset):
    return isinstance(rule, ByDataset) and dataset in rule.values


def test_the_papers_settings_differ_in_nothing():
    assert protocol_match(config()) == []
    assert protocol_match(config(sites=["paper"], seed=7, split_seed=3, workers=4, device="cuda")) == []


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"freeze_features": True}, "freeze_features"),
        ({"backbone": "mobilenet_v2"}, "backbone"),
        ({"weights": "none"}, "weights"),
        ({"weights": "/somewhere/weights.pth"}, "weights"),
        ({"size": 112}, "size"),
        ({"epochs": 6}, "epochs"),
        ({"lr": 1e-3}, "lr"),
        ({"lr_masks": 0.01}, "lr_masks"),
        ({"optimizer": "sgd"}, "optimizer"),
        ({"batch": 32}, "batch"),
        ({"sites": ["released-code"]}, "sites"),
        ({"fast": True}, "fast"),
        ({"augmentation": "none"}, "augmentation"),
        ({"weight_decay": 0.0}, "weight_decay"),
        ({"schedule": "constant"}, "schedule"),
        ({"init_from": "/runs/other"}, "init_from"),
        ({"settings": {"overlap_weight": 0.01}}, "overlap_weight"),
        ({"settings": {"overlap_reduction": "mean"}}, "overlap_reduction"),
        ({"settings": {"sparsity_weight": 0.1}}, "sparsity_weight"),
    ],
)
def test_every_difference_is_named(changes, setting):
    (difference,) = protocol_match(config(**changes))
    assert difference.setting == setting
    assert difference.paper != difference.here
    assert "/" not in difference.here


def test_another_dataset_is_a_difference():
    assert "dataset" in {one.setting for one in protocol_match(config(dataset="digits"))}


def test_what_the_paper_says_alike_of_its_datasets_is_held_against_others_too():
    found = protocol_match(config(dataset="digits", weights="none", epochs=1, lr=3e-3, weight_decay=0.5))
    assert [one.setting for one in found] == ["dataset", "weights", "epochs", "lr"]


def test_what_was_not_recorded_is_a_difference():
    found = {one.setting: one.here for one in protocol_match({"dataset": "pacs", "method": "aggregate"})}
    assert found["epochs"] == "not recorded"


def test_aggregate_by_sgd_is_held_against_the_papers_aggregate_by_sgd():
    by_sgd = config(optimizer="sgd") | {"method": {"name": "aggregate"}}
    assert protocol_match(by_sgd) == []
    others = {"epochs": 3, "lr": 0.01, "momentum": 0.0, "schedule": "constant", "weight_decay": 5e-4}
    for name, value in others.items():
        assert [one.setting for one in protocol_match(by_sgd | {name: value})] == [name]
    by_sgd |= {"method": {"name": "multi_headed", "average": "logits"}}
    assert [one.setting for one in protocol_match(by_sgd)] == ["optimizer"]


def test_every_setting_is_classified():
    """A new setting changes what stands beside the paper's numbers, or does not: say which in ``paper_settings``."""
    assert list(SETTINGS) == list(RunConfig.model_fields)
    assert set(METHOD_SETTINGS) <= set(METHODS)
    for name, known in METHOD_SETTINGS.items():
        assert set(known) == {field.name for field in fields(METHODS[name].Settings)}
    assert set(SETTINGS) >= OF_TRAINING


def test_every_method_of_the_papers_tables_has_a_name_here():
    names = {number.method for number in accuracy_numbers() if "reported in" not in number.shown}
    assert names == {*METHOD_SETTINGS, *QUOTED}


def test_a_quoted_method_is_held_against_its_number_however_it_is_trained():
    quoted = config(optimizer="sgd", momentum=0.5, lr=1e-3, epochs=7) | {"method": {"name": "mldg", "inner_lr": 0.5}}
    assert protocol_match(quoted) == []
    for name, value in {
        "size": 112,
        "freeze_features": True,
        "selection": "target",
        "backbone": "mobilenet_v2",
    }.items():
        assert [one.setting for one in protocol_match(quoted | {name: value})] == [name]
    assert "method" in {one.setting for one in protocol_match(quoted | {"method": {"name": "vrex"}})}


@pytest.mark.parametrize("dataset", PAPER_DOMAINS)
@pytest.mark.parametrize("name", [name for name, rule in SETTINGS.items() if isinstance(rule, Fixed | ByDataset)])
def test_each_setting_that_the_paper_fixes_is_looked_at(name, dataset):
    rule = SETTINGS[name].values.get(dataset) if isinstance(SETTINGS[name], ByDataset) else SETTINGS[name]
    base = config(dataset=dataset, **{n: r.values[dataset].values[0] for n, r in SETTINGS.items() if fixed(r, dataset)})
    assert protocol_match(base) == []
    if rule is not None:
        assert [one.setting for one in protocol_match(base | {name: another(rule.values[0])})] == [name]


@pytest.mark.parametrize(
    ("method", "setting"), [(method, name) for method, rules in METHOD_SETTINGS.items() for name in rules]
)
def test_each_setting_of_a_method_is_looked_at(method, setting):
    own = {name: rule.values[0] for name, rule in METHOD_SETTINGS[method].items()}
    assert protocol_match(config() | {"method": {"name": method, **own}}) == []
    changed = own | {setting: another(own[setting])}
    assert [one.setting for one in protocol_match(config() | {"method": {"name": method, **changed}})] == [setting]


def test_equal_settings_by_another_name_differ_in_nothing():
    same = {"lr_masks": 1e-4, "lr_head": 1e-4, "sites": ["layer4.1", "fc"], "precision": 32, "square": True}
    assert protocol_match(config(**same)) == []
    alexnet = {"backbone": "alexnet", "sites": ["classifier.1", "classifier.4", "classifier.6"]}
    assert protocol_match(config(**alexnet)) == []
    assert [one.setting for one in protocol_match(config(sites=alexnet["sites"]))] == ["sites"]


def test_other_methods_and_unknown_settings_are_differences():
    assert [one.setting for one in protocol_match(config() | {"method": {"name": "vrex"}})] == ["method"]
    assert [one.setting for one in protocol_match(config(settings={}) | {"warmup": 3})] == ["warmup"]
    other = {"method": {"name": "aggregate", "mixup": 0.2}}
    assert [one.setting for one in protocol_match(config() | other)] == ["mixup"]
