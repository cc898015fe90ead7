import pytest

from domain_masks.records.config import parse_config
from domain_masks.report import protocol_match
from report.made_runs import DMG, PAPER_CONFIG


def config(**changes):
    method = {"name": "dmg", **DMG, **changes.pop("settings", {})}
    return {**parse_config({**PAPER_CONFIG, "target": "sketch", "method": method}).to_dict(), **changes}


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


def test_what_was_not_recorded_is_a_difference():
    found = {one.setting: one.here for one in protocol_match({"dataset": "pacs", "method": "aggregate"})}
    assert found["epochs"] == "not recorded"


def test_aggregate_by_sgd_is_held_against_the_papers_aggregate_by_sgd():
    by_sgd = config(optimizer="sgd", lr=0.01, schedule="constant") | {"method": {"name": "aggregate"}}
    assert protocol_match(by_sgd) == []
    assert [one.setting for one in protocol_match(by_sgd | {"epochs": 3})] == ["epochs"]
