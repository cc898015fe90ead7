"""The lists of a benchmark: checked with the settings, each method with its own."""

from __future__ import annotations

from typing import Any

import pytest

from domain_masks.errors import InputError
from domain_masks.methods import METHODS
from domain_masks.records.config import parse_config
from domain_masks.settings.benchmark_lists import check_benchmark
from domain_masks.settings.sweeps import without_mask_settings


def checked(lists: dict[str, Any], flags: dict[str, Any] | None = None, **values: Any) -> Any:
    return check_benchmark(values, lists, flags)[1]


def test_single_values_and_lists_of_lists() -> None:
    lists = checked({"methods": "aggregate", "targets": [["ink", "paper"], "mosaic"], "seeds": "3"})
    assert (lists.methods, lists.targets, lists.seeds) == ([{"name": "aggregate"}], ["ink,paper", "mosaic"], [3])


def test_flags_win_over_a_methods_own_settings_and_those_over_shared_ones() -> None:
    shared = {"name": "dmg", "overlap_weight": 0.5, "average": "probabilities"}
    lists = checked({"methods": [{"name": "dmg", "overlap_weight": 1}, "multi_headed"]}, method=shared)
    assert lists.methods == [
        {"name": "dmg", "overlap_weight": 1, "average": "probabilities"},
        {"name": "multi_headed", "average": "probabilities"},
    ]
    lists = checked({"methods": [{"name": "dmg", "overlap_weight": 1}]}, {"overlap_weight": "2"}, method=shared)
    assert lists.methods[0]["overlap_weight"] == "2"


def test_settings_of_the_files_method_may_stay_where_others_are_run() -> None:
    assert checked({"methods": ["aggregate"]}, method={"name": "dmg", "overlap_weight": 0.5}).methods == [
        {"name": "aggregate"}
    ]


def test_all_mistakes_come_in_one_message() -> None:
    lists = {"methods": ["dgm", "aggregate", "aggregate", 3], "seeds": ["one", "1", "1"], "targets": ["ink", "ink"]}
    with pytest.raises(InputError) as caught:
        check_benchmark(
            {"epochs": 0, "views": 8, "augmentation": "digist"},
            lists,
            {"overlap_wieght": "1"},
            ["--bacth: no such flag"],
        )
    message = str(caught.value)
    words = (
        "--bacth",
        "epochs",
        "'digits'",
        "'dmg'",
        "'aggregate' is named twice",
        "got 3",
        "'one'",
        "'1' is named twice",
    )
    for word in (*words, "'ink' is named twice", "method.overlap_wieght"):
        assert word in message
    with pytest.raises(InputError, match=r"(?s)devices: expected 1.*lr_masks: none of the methods"):
        check_benchmark({"devices": 2, "lr_masks": 1.0}, {"methods": ["aggregate"]})
    with pytest.raises(InputError, match=r"schedule_masks: none of the methods"):
        check_benchmark({"schedule_masks": "constant"}, {"methods": ["aggregate"]})


def test_what_is_of_masks_goes_to_methods_that_have_them() -> None:
    base = parse_config({"sites": "paper", "lr_masks": 0.1, "schedule_masks": "constant"})
    assert without_mask_settings(base, METHODS["dmg"]) == base
    assert without_mask_settings(base, METHODS["dmg"], {"masks": "shared"}) == base
    fixed = without_mask_settings(base, METHODS["dmg"], {"masks": "fixed"})
    assert (fixed.lr_masks, fixed.schedule_masks, fixed.sites) == (None, "same", base.sites)
    without = without_mask_settings(base, METHODS["aggregate"])
    assert (without.sites, without.lr_masks, without.schedule_masks) == ((), None, "same")
    frozen = parse_config({"sites": "paper", "freeze_features": True})
    assert without_mask_settings(frozen, METHODS["aggregate"]).sites == ("paper",), "they say where frozen features end"
