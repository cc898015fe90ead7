"""A method with its settings is flat in files, and its own settings object once it is checked."""

from __future__ import annotations

import pickle

import pytest

from domain_masks.methods.descriptions.masks import DMGSettings
from domain_masks.methods.settings import with_settings
from domain_masks.records.config import parse_config
from domain_masks.records.method_choice import MethodChoice


def test_it_is_flat_in_files_and_complete_once_checked() -> None:
    config = parse_config({"method": {"name": "dmg", "overlap_weight": "0.5"}})
    assert config.to_dict()["method"] == {"name": "dmg", "overlap_weight": "0.5"}
    checked = with_settings(config)
    assert isinstance(checked.method.settings, DMGSettings)
    assert checked.method.settings.overlap_weight == 0.5
    assert checked.to_dict()["method"]["validation"] == "predictions"
    assert checked.method.given == {"overlap_weight": "0.5"}, "what was not given stays apart from it"
    assert with_settings(checked) is checked, "it is checked once"
    assert with_settings(parse_config(checked.to_dict())) == checked


def test_a_name_alone_and_mistakes() -> None:
    assert MethodChoice.read("aggregate") == MethodChoice("aggregate") == MethodChoice.read({"name": "aggregate"})
    assert MethodChoice("aggregate") != MethodChoice("dmg")
    for wrong in (3, {"overlap_weight": 1}, {"name": 3}, ["dmg"]):
        with pytest.raises(ValueError, match="expected the name of a method"):
            MethodChoice.read(wrong)


def test_it_reaches_another_process_as_plain_values() -> None:
    checked = with_settings(parse_config({"method": "dmg"}))
    sent = pickle.loads(pickle.dumps(checked))
    assert sent.method.settings is None
    assert with_settings(sent) == checked
