"""Settings and their YAML: a complete file of any run is read back as it was."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, parse_config, read_config
from domain_masks.records.yaml_files import parse_yaml

names = st.text(string.ascii_letters + string.digits + "_-. :#'\"\\äß漢", min_size=1, max_size=8) | st.sampled_from(
    ["no", "on", "1e-4", "007", "null", "~", "none", "1:30"]
)
rates = st.floats(min_value=1e-12, max_value=1e3)
counts = st.integers(1, 10**6)
STRATEGIES: dict[str, st.SearchStrategy[Any]] = {
    "dataset": names.filter(lambda text: not text.startswith("~/")),
    "root": st.none() | names.map(Path),
    "target": st.none() | st.lists(names, max_size=3).map(tuple),
    "split_seed": st.integers(0, 2**63 - 1),
    "in_domain_test": st.sampled_from(["official", "validation-half"]),
    "recipe": st.just("paper"),
    "recalibrate_bn": st.booleans(),
    "calibrate": st.booleans(),
    "sampling": st.sampled_from(["pooled", "balanced"]),
    "augmentation": st.none() | names,
    "square": st.none() | st.booleans(),
    "size": st.none() | st.integers(1, 4096),
    "sites": st.lists(names, max_size=3).map(tuple),
    "batch": counts | st.just("auto"),
    "method": st.fixed_dictionaries({"name": st.just("dmg")}, optional={"overlap_weight": rates, "average": names}),
    "weights": st.none() | names.filter(lambda text: not text.startswith("~/")),
    "lr": st.none() | rates,
    "weight_decay": st.none() | st.floats(0, 1),
    "schedule": st.none() | st.sampled_from(["constant", "cosine"]),
    "max_time": st.none() | rates,
    "patience": st.none() | counts,
    "momentum": st.floats(0, 1, exclude_max=True),
    "precision": st.sampled_from(["32", "bf16", "16"]),
    "skip_bad": st.booleans(),
    "seed": st.integers(0, 2**63 - 1),
}


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({}, optional=STRATEGIES))
def test_settings_come_back_from_their_yaml(values: dict[str, Any]) -> None:
    config = parse_config(values)
    again = parse_yaml(config.to_yaml(), "f")
    assert again.pop("schema") == 1
    assert set(again) == set(RunConfig.model_fields)
    assert parse_config(again) == config


def test_a_file_is_written_and_read(tmp_path: Path) -> None:
    config = parse_config({"target": ["no", "1e-4"], "lr": 1e-5, "method": {"name": "dmg", "overlap_weight": 1e-6}})
    config.write(tmp_path / "config.yaml")
    assert parse_config(read_config(tmp_path / "config.yaml")) == config


def test_all_mistakes_come_in_one_message() -> None:
    with pytest.raises(InputError) as caught:
        parse_config({"epochs": 0, "lr": "nan", "optimizer": "adm", "bacth": 3, "target": False, "schedule": "cosin"})
    message = str(caught.value)
    assert message.startswith("6 settings are wrong:")
    assert "did you mean batch?" in message
    assert "did you mean 'adam'?" in message
    assert "did you mean 'cosine'?" in message
    assert "target: " in message


def test_a_long_value_is_not_shown_whole() -> None:
    with pytest.raises(InputError) as caught:
        parse_config({"epochs": "x" * 5000})
    assert len(str(caught.value)) < 300


def test_the_home_folder_is_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    config = parse_config({"root": "~/data", "weights": "~/w.pth", "dataset": "~/photos", "init_from": "~/run"})
    assert (config.root, config.init_from) == (Path("/somewhere/data"), Path("/somewhere/run"))
    assert (config.weights, config.dataset) == ("/somewhere/w.pth", "/somewhere/photos")


def test_a_batch_is_a_number_or_auto() -> None:
    assert parse_config({"batch": "32"}).batch == 32
    assert parse_config({"batch": "auto"}).batch == "auto"
    for wrong in ("0", "atuo", -1):
        with pytest.raises(InputError, match="batch: "):
            parse_config({"batch": wrong})
