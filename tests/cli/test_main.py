"""The command as a user calls it: exit status, one message, and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from PIL import Image

from domain_masks.cli import main
from domain_masks.cli import train as train_module
from domain_masks.cli.data import ACTIONS
from domain_masks.cli.main import COMMANDS
from domain_masks.methods.settings import complete_method
from domain_masks.records.config import parse_config
from domain_masks.settings.of_a_run import default_folder

FAST = ["--fast", "--device", "cpu", "--quiet"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("verb", COMMANDS)
def test_every_command_has_help_with_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"dmg {verb}" in text.split("example:")[1]
    assert "--config" in text


def test_help_lists_every_verb_and_action(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(train_module.__file__).parent
    having_parsers = {path.stem for path in folder.glob("*.py") if "\ndef parser(" in path.read_text()}
    actions = {name.removeprefix("data_") for name in having_parsers if name.startswith("data_")}
    assert set(COMMANDS) == {name for name in having_parsers if not name.startswith("data_")} | {"data"}
    assert set(ACTIONS) == actions
    assert all(action in COMMANDS["data"] for action in ACTIONS)
    for arguments, names in ((["--help"], COMMANDS), (["data", "--help"], ACTIONS)):
        assert main(arguments) == 0
        lines = capsys.readouterr().out.splitlines()
        for name, text in names.items():
            assert sum(line.split() == [name, *text.split()] for line in lines) == 1
        assert max(map(len, lines)) <= 105
    examples = [line.split() for line in lines if line.startswith("  dmg data ")]
    assert [words[2] for words in examples] == list(ACTIONS)
    for action in ACTIONS:
        assert main(["data", action, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"dmg data {action}" in text.split("example:")[1]
        assert "--config" in text


def test_train_without_a_dataset_trains_dmg_on_the_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FAST]) == 0
    out = capsys.readouterr().out
    assert "out of domain" in out
    assert "known domain" in out
    results = json.loads(next(Path("runs").rglob("results.json")).read_text())
    assert (results["dataset"], results["method"]) == ("digits", "dmg")


def test_flags_win_over_yaml_and_the_method_is_merged(capsys: pytest.CaptureFixture[str]) -> None:
    Path("settings.yaml").write_text(
        "epochs: 7\nlr: 0.5\nmethod: {name: dmg, overlap_weight: 0.25, average: probabilities}\n"
    )
    assert (
        main(["train", "--config", "settings.yaml", "--lr", "0.125", "--method.overlap_weight", "1", "--print_config"])
        == 0
    )
    shown = yaml.safe_load(capsys.readouterr().out)
    assert (shown["epochs"], shown["lr"]) == (7, 0.125)
    assert shown["method"]["overlap_weight"] == 1.0
    assert shown["method"]["average"] == "probabilities"
    assert shown["method"]["validation"] == "predictions", "defaults are written out"
    assert main(["train", "--config", "settings.yaml", "--method", "aggregate", "--print_config"]) == 0
    method = yaml.safe_load(capsys.readouterr().out)["method"]
    assert method == complete_method("aggregate", {}), "what the file says is of another method"


def test_printed_config_is_complete_and_can_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--print_config", "--fast"]) == 0
    text = capsys.readouterr().out
    assert all(
        value is not None
        for name, value in yaml.safe_load(text).items()
        if name in ("lr", "epochs", "backbone", "target")
    )
    Path("all.yaml").write_text(text)
    assert main(["train", "--config", "all.yaml", "--quiet", "--out", "run"]) == 0


def images(folder: Path, domains: Sequence[str]) -> Path:
    """Write a manifest of a few images, whose domains may have any name."""
    lines = ["path,label,domain"]
    for index, domain in enumerate(domains):
        for number in range(12):
            path = folder / f"{index}-{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (16, 16), (index * 40, number * 20, 0)).save(path)
            lines.append(f'{path.name},{"xy"[number % 2]},"{domain}"')
    (folder / "list.csv").write_text("\n".join(lines) + "\n")
    return folder / "list.csv"


def test_domains_of_any_name_can_be_held_out(capsys: pytest.CaptureFixture[str]) -> None:
    manifest = images(Path("photos"), ["Berlin, Mitte", "none", "north/south", "Wien"])
    train = ["train", "--dataset", str(manifest), "--backbone", "small", "--weights", "none", "--size", "16"]
    for target, meant in {
        "Berlin, Mitte": ["Berlin, Mitte"],
        "Wien,Berlin, Mitte": ["Wien", "Berlin, Mitte"],
        "none": ["none"],
        "north/south": ["north/south"],
    }.items():
        assert main([*train, "--target", target, "--print_config"]) == 0
        assert yaml.safe_load(capsys.readouterr().out)["target"] == meant
    assert main([*train, *FAST, "--workers", "0", "--target", "north/south"]) == 0
    (results,) = Path("runs").glob("*/results.json")
    assert results.parent.name == "list.csv-north%2Fsouth-dmg-0"
    assert json.loads(results.read_text())["targets"] == ["north/south"]
    capsys.readouterr()
    benchmark = ["benchmark", *train[1:], "--methods", "dmg", "--out", "all"]
    assert main([*benchmark, "--print_config"]) == 0
    Path("benchmark.yaml").write_text(capsys.readouterr().out)
    assert main(["benchmark", "--config", "benchmark.yaml", "--out", "all", "--dry_run"]) == 0
    names = ["Berlin, Mitte", "Wien", "none", "north%2Fsouth"]
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("pending")] == [f"pending dmg/{name}/seed-0" for name in names]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("hf:a/b#x=y", "hf%3Aa%2Fb#x=y-a%2Fb+c-dmg-0"),
        (".", "here-a%2Fb+c-dmg-0"),
        ("photos/..", "here-a%2Fb+c-dmg-0"),
        ("some/photos/", "photos-a%2Fb+c-dmg-0"),
    ],
)
def test_thedefault_folder_lies_in_runs(dataset: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("here").mkdir()
    monkeypatch.chdir("here")
    assert default_folder(parse_config({"dataset": dataset, "target": ["a/b", "c"]})) == Path("runs") / name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["trian", "dmg train"]),
        (["train", "--bacth", "3"], ["--bacth", "--batch"]),
        (["train", "--epochs", "0", "--lr", "nan"], ["epochs", "lr", "2 settings"]),
        (["train", "--method", "dgm"], ["dgm", "'dmg'"]),
        (["train", "--method.overlap_wieght", "1"], ["overlap_wieght", "overlap_weight"]),
        (["train", "--method.overlap_weight"], ["--method.overlap_weight"]),
        (["train", "--dataset", "pcas"], ["pcas", "pacs"]),
        (["train", "--target", "inc"], ["inc", "'ink'"]),
        (["train", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
        (["train", "--resume"], ["--out"]),
        (["train", "--resume", "--out", "nowhere"], ["nowhere"]),
        (["train", "--out", "file"], ["file"]),
        (["train", "--max_time", "soon"], ["max_time"]),
        (["evaluate", "nowhere"], ["nowhere"]),
        (["evaluate"], ["RUN"]),
        (["benchmark", "--seeds", "one"], ["seeds", "'one'"]),
        (["benchmark", "--methods", "dgm"], ["dgm"]),
        (["benchmark", "--devices", "2"], ["--devices"]),
        (["data", "lst"], ["lst", "'list'"]),
        (["data", "list", "nowhere/here"], ["nowhere"]),
        (["methods", "dgm"], ["dgm"]),
    ],
)
def test_misuse_is_one_message_and_status_2(
    arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("dmg: ")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    for word in words:
        assert word in captured.err


def test_occupied_folder(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *FAST, "--out", "run"]
    assert main(command) == 0
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--overwrite"]) == 0
    assert main(["evaluate", "run", "--quiet"]) == 0


def test_benchmark_shows_a_table_and_skips_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "--targets", "ink", "--methods", "dmg", "aggregate", "--out", "bench", "--fast"]
    assert main([*command, "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "2 runs: 2 pending" in shown
    assert "disk: about" in shown
    assert "time: about" in shown
    assert "a timed step on cpu: dmg (small)" in shown
    assert not Path("bench").exists()
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "out of domain" in out
    assert "aggregate" in out
    assert main(command) == 0
    assert capsys.readouterr().err.count("done already") == 2
    assert (Path("bench") / "accuracies.csv").is_file()
    assert main(["benchmark", "--config", "bench/benchmark.yaml", "--out", "bench", "--dry_run"]) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out
    assert main([*command, "--sweep", "method.overlap_weight=0,0.1", "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "3 runs: 2 done, 1 pending" in shown
    assert "dmg (small): 1 finished run" in shown
    assert main([*command, "--sweep", "method.overlap_weight=0,0.1"]) == 0
    table = capsys.readouterr().out
    assert "overlap_weight" in table
    rows = (Path("bench") / "accuracies.csv").read_text().splitlines()
    assert rows[0] == "method,overlap_weight,target,seed,measure,split,accuracy"
    assert len(rows) == 1 + 3 + 3 + 2
    assert len(list(Path("bench").glob("benchmark-*.yaml"))) == 1, "the settings of the benchmark before are kept"


def test_bug_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import domain_masks.cli.methods  # noqa: PLC0415

    def broken(_: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(domain_masks.cli.methods, "main", broken)
    assert main(["methods"]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_methods_and_data_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "dmg"]) == 0
    assert "--method.overlap_weight (default: 0.1)" in capsys.readouterr().out
    assert main(["data", "list"]) == 0
    assert "pacs" in capsys.readouterr().out
    assert main(["data", "list", "digits"]) == 0
    assert "mosaic" in capsys.readouterr().out


def test_interrupted_process_says_how_to_go_on() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "domain_masks", "train", "--epochs", "500", "--out", "run", "--device", "cpu"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not Path("run/checkpoints/last.ckpt").is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert "--resume" in err.splitlines()[-1]
    assert "Traceback" not in err
