"""``dmg train``: flags over a YAML, complete settings printed and read again, what it says, how it is resumed."""

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
from domain_masks.methods.settings import complete_method

FAST = ["--fast", "--device", "cpu"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--print_config"]) == 0
    return capsys.readouterr().out


def test_train_without_a_dataset_trains_dmg_on_the_digits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FAST, "--quiet"]) == 0
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


def test_a_printed_run_prints_itself_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "train", "--root", "data", "--weights", "w.pth", "--target", "ink")
    (tmp_path / "settings.yaml").write_text(text)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert printed(capsys, "train", "--config", "../settings.yaml") == text
    assert f"root: {tmp_path / 'data'}" in text


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
    assert main([*train, *FAST, "--quiet", "--workers", "0", "--target", "north/south"]) == 0
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
    ("words", "expected"),
    [
        (
            ["train", "--bacth", "3", "--epochs", "0", "--optimizer", "adm"],
            ["3 settings", "--batch", "epochs", "'adam'"],
        ),
        (["train", "--epochs", "0", "--method.overlap_wieght", "1"], ["2 settings", "method.overlap_weight?"]),
        (["train", "--views", "5", "--momentum", "0.5"], ["2 settings", "views", "momentum"]),
        (["train", "--quiet", "--verbose"], ["--quiet", "--verbose"]),
        (
            ["benchmark", "--seeds", "one", "--epochs", "0", "--targts", "ink"],
            ["3 settings", "--targets", "'one'", "epochs"],
        ),
        (["benchmark", "--methods", "dgm", "--seeds", "1", "1"], ["2 settings", "'dmg'", "'1' is named twice"]),
        (["train", "--config", "."], ["cannot be read"]),
        (["train", "--config", ""], ["cannot be read"]),
    ],
)
def test_mistakes_come_in_one_message(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.count("dmg: ") == 1
    for word in expected:
        assert word in captured.err


def test_quiet_shows_the_result_alone_and_verbose_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FAST, "--quiet", "--out", "quiet"]) == 0
    quiet = capsys.readouterr()
    assert quiet.err == ""
    assert main(["train", *FAST, "--verbose", "--out", "verbose"]) == 0
    verbose = capsys.readouterr()
    assert "overlap_epsilon: 0.0" in verbose.err
    assert "IoU of pairs" in verbose.out
    assert "IoU of pairs" not in quiet.out
    assert set(quiet.out.splitlines()[:-1]) <= set(verbose.out.splitlines())


def test_a_log_file_is_plain_and_has_a_line_per_epoch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["train", "--epochs", "2", "--device", "cpu", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert [line.split()[1] for line in err.splitlines() if line.startswith("epoch ") and "loss" in line] == [
        "1/2",
        "2/2",
    ]
    assert "Warning" not in err


def test_occupied_folder(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", *FAST, "--quiet", "--out", "run"]
    assert main(command) == 0
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--resume"]) == 0
    assert main([*command, "--overwrite"]) == 0
    assert main(["evaluate", "run", "--quiet"]) == 0


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
