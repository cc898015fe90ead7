"""Every setting under its other names, in flags, YAML and Python; two at once are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from domain_masks.cli import main
from domain_masks.cli.parser import own_names
from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, parse_config, read_settings
from domain_masks.records.spellings import SYNONYMS, canonical, spelled, suggestion
from domain_masks.settings.benchmark import BENCHMARK_LISTS
from domain_masks.settings.benchmark_lists import check_benchmark
from domain_masks.settings.validation import check_settings

FLAGS_OF_OTHERS = {"out", "top", "jobs", "images", "no_images"}
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_means_one_setting_and_is_none_itself() -> None:
    others = [other for names in SYNONYMS.values() for other in names]
    assert len(others) == len(set(others))
    assert not set(others) & {*RunConfig.model_fields, *BENCHMARK_LISTS}
    assert set(SYNONYMS) <= {*RunConfig.model_fields, *BENCHMARK_LISTS, *FLAGS_OF_OTHERS}


def test_the_documentation_shows_the_table() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ((?:`\w+`(?:, )?)+) \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert {name: tuple(re.findall(r"`(\w+)`", text)) for name, text in rows.items()} == dict(SYNONYMS)


def test_what_a_command_has_for_something_else_is_no_other_name() -> None:
    assert spelled("model", RunConfig.model_fields) == "backbone"
    assert spelled("model", ("model", "backbone")) == "model"
    assert spelled("nothing", ("lr",)) == "nothing"


SAME = {
    "lr": 0.5,
    "batch": 8,
    "workers": 0,
    "backbone": "small",
    "weight_decay": 0.25,
    "lr_masks": 0.125,
    "epochs": 3,
    "size": 16,
    "optimizer": "sgd",
    "target": "ink",
}


@pytest.mark.parametrize("name", SAME)
def test_each_name_is_taken_everywhere(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = parse_config({name: SAME[name]})
    checked = check_settings({name: SAME[name]})
    for other in (*SYNONYMS.get(name, ()), name):
        for spelling in (other, other.replace("_", "-")):
            assert check_settings({spelling: SAME[name]}) == checked
            Path("a.yaml").write_text(f"{spelling}: {SAME[name]}\n")
            assert parse_config(read_settings(Path("a.yaml"))) == wanted
            assert check_benchmark({spelling: SAME[name]}, {})[0] == wanted
            assert own_names([f"--{spelling}", "x"], [f"--{name}"]) == ([f"--{name}", "x"], [])
            assert own_names([f"--{spelling}=x"], [f"--{name}"]) == ([f"--{name}=x"], [])
    assert main(["train", "--config", "a.yaml", f"--{other.replace('_', '-')}", str(SAME[name]), "--print-config"]) == 0
    assert f"\n{name}: {SAME[name]}" in capsys.readouterr().out.replace("target:\n- ", "target: ")


def test_settings_of_methods_and_of_sweeps_have_hyphens_too(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ({"overlap-weight": 0.5}, {"overlap_weight": 0.5}):
        config = check_settings({"method": {"name": "dmg", **given}})
        assert config.method.given == {"overlap_weight": 0.5}
    lists = {"methods": [{"name": "dmg", "sparsity-weight": 0.5}], "sweep": ["method.overlap-weight=0,1", "wd=0,1"]}
    _, checked = check_benchmark({}, lists)
    assert checked.methods == [{"name": "dmg", "sparsity_weight": 0.5}]
    assert checked.sweep == {"method.overlap_weight": [0, 1], "weight_decay": [0, 1]}
    assert main(["train", "--method.overlap-weight", "0.5", "--no-verify", "--print-config"]) == 0
    shown = capsys.readouterr().out
    assert "overlap_weight: 0.5" in shown
    assert "verify: false" in shown


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lr": 1, "learning_rate": 2}, ("lr", "learning_rate")),
        ({"batch_size": 1, "batch-size": 1}, ("batch_size", "batch-size")),
        ({"method": {"name": "dmg", "overlap_weight": 0, "overlap-weight": 0}}, ("method.overlap_weight", "overlap-weight")),
    ],
)  # fmt: skip
def test_two_spellings_at_once_are_one_message(
    values: dict[str, Any], words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for check in (check_settings, lambda given: check_benchmark(given, {})):
        with pytest.raises(InputError, match="two spellings") as caught:
            check(values)
        assert all(word in str(caught.value) for word in words)
    flags = []
    for name, value in values.items():
        own = (
            {f"method.{key}": one for key, one in value.items() if key != "name"} if name == "method" else {name: value}
        )
        flags += [word for key, one in own.items() for word in (f"--{key}", str(one))]
    assert main(["train", *flags]) == 2
    error = capsys.readouterr().err
    assert error.count("dmg: ") == 1
    assert "two spellings" in error


def test_a_flag_wins_over_a_yaml_however_they_are_spelled(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.yaml").write_text("learning_rate: 0.5\nmethod: {name: dmg, overlap-weight: 0.25}\n")
    words = ["--config", "a.yaml", "--lr", "0.125", "--method.overlap_weight", "1", "--print_config"]
    assert main(["train", *words]) == 0
    shown = capsys.readouterr().out
    assert "\nlr: 0.125" in shown
    assert "overlap_weight: 1.0" in shown
    Path("b.yaml").write_text("lr: 0.5\nlearning-rate: 0.25\n")
    assert main(["train", "--config", "b.yaml"]) == 2
    assert "b.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("learning_rat", "lr"),
        ("batchsize", "batch"),
        ("bacth", "batch"),
        ("num_worker", "workers"),
        ("optimzer", "optimizer"),
        ("wieght_decay", "weight_decay"),
        ("epoch", "epochs"),
        ("datset", "dataset"),
        ("back-bone", "backbone"),
        ("xyzzy", None),
        ("warm-up", "warmup_epochs"),
        ("dropout", None),
        ("steps", None),
        ("source", None),
        ("num_classes", None),
        ("save_dir", None),
        ("checkpoint", "checkpoint_every"),
        ("learning", "learn"),
    ],
)
def test_suggestions_are_what_was_meant(given: str, meant: str | None) -> None:
    assert suggestion(given, RunConfig.model_fields) == meant


def test_unknown_names_are_left_to_the_check() -> None:
    assert canonical({"a": 1}, ()) == ({"a": 1}, [])
