"""One YAML says any run, mistakes come together, and the output is for whoever reads it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain_masks.cli import main
from domain_masks.records.yaml_files import parse_yaml

FAST = ["--fast", "--device", "cpu"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--print_config"]) == 0
    return capsys.readouterr().out


def test_a_printed_benchmark_is_complete_and_prints_itself(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "benchmark",
        "--methods",
        "dmg",
        "multi_headed",
        "--sites",
        "paper",
        "--lr_masks",
        "0.1",
        "--targets",
        "ink,paper",
    ]
    text = printed(capsys, *words, "--method.overlap_weight", "0.5", "--seeds", "0", "2")
    content = parse_yaml(text, "f")
    dmg, multi_headed = content["methods"]
    assert (dmg["overlap_weight"], dmg["validation"]) == (0.5, "predictions")
    assert multi_headed == {"name": "multi_headed", "average": "logits", "validation": "predictions"}
    assert (content["targets"], content["seeds"]) == (["ink,paper"], [0, 2])
    assert (content["sites"], content["lr_masks"], content["epochs"]) == (["paper"], 0.1, 20)
    assert not {"target", "seed", "method"} & set(content)
    Path("all.yaml").write_text(text)
    assert printed(capsys, "benchmark", "--config", "all.yaml") == text
    assert "overlap_weight: 0.25" in printed(
        capsys, "benchmark", "--config", "all.yaml", "--method.overlap_weight", "0.25"
    )


def test_a_printed_run_prints_itself_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "train", "--root", "data", "--weights", "w.pth", "--target", "ink")
    (tmp_path / "settings.yaml").write_text(text)
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    assert printed(capsys, "train", "--config", "../settings.yaml") == text
    assert f"root: {tmp_path / 'data'}" in text


def test_a_yaml_of_the_other_verb(capsys: pytest.CaptureFixture[str]) -> None:
    Path("many.yaml").write_text("methods: [dmg, aggregate]\nseeds: [0]\nepochs: 0\n")
    assert main(["train", "--config", "many.yaml"]) == 2
    message = capsys.readouterr().err
    assert "methods, seeds: only `dmg benchmark`" in message
    assert "epochs" in message
    Path("one.yaml").write_text("target: ink\nseed: 3\n")
    assert main(["benchmark", "--config", "one.yaml", "--dry_run"]) == 0
    assert "not used from one.yaml: target, seed" in capsys.readouterr().err


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


def test_evaluate_under_an_ensemble(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *FAST, "--quiet", "--out", "run"]) == 0
    before = Path("run/results.json").read_text()
    shown = capsys.readouterr().out
    assert main(["evaluate", "run", "--quiet", "--ensemble", "masks"]) == 0
    out = capsys.readouterr().out
    assert "ensemble      masks" in out
    masks = next(line for line in shown.splitlines() if "by ensemble" in line).split("masks ")[1].split()[0]
    assert f"{masks} %" in next(line for line in out.splitlines() if line.startswith("out of domain"))
    assert main(["evaluate", "run", "--quiet", "--ensemble", "known:ink"]) == 0
    assert "in domain" in capsys.readouterr().out
    assert json_without_seconds(before) == json_without_seconds(Path("run/results.json").read_text())
    for ensemble, words in {
        "known:mosaic": ["held out", "known:ink, known:paper, known:outline"],
        "mask": ["Did you mean 'masks'?"],
        "known:inc": ["Did you mean 'known:ink'?"],
    }.items():
        assert main(["evaluate", "run", "--ensemble", ensemble]) == 2
        message = capsys.readouterr().err
        assert all(word in message for word in words), message
    assert main(["evaluate", "run", "--verbose", "--ensemble", "weighted"]) == 0
    shown = capsys.readouterr().out
    assert "ensemble      weighted" in shown
    assert "images whose nearest source, by the domain classifier, is theirs)" in shown
    assert main(["train", *FAST, "--quiet", "--out", "bare", "--no_domain_classifier"]) == 0
    assert "weighted" not in capsys.readouterr().out
    assert main(["evaluate", "bare", "--quiet"]) == 0
    assert "weighted" not in capsys.readouterr().out
    assert main(["evaluate", "bare", "--quiet", "--ensemble", "weighted"]) == 0
    assert "out of domain" in capsys.readouterr().out
    assert main(["train", *FAST, "--quiet", "--out", "plain", "--method", "aggregate"]) == 0
    assert main(["evaluate", "plain", "--ensemble", "weighted"]) == 2
    assert "the run's method has none" in capsys.readouterr().err
    assert main(["evaluate", "plain", "--ensemble", "masks"]) == 2
    assert "the run's method has none, expected one of predictions" in capsys.readouterr().err


def json_without_seconds(text: str) -> dict[str, Any]:
    import json  # noqa: PLC0415

    return {name: value for name, value in json.loads(text).items() if name != "seconds"}


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


def test_verbose_shows_where_an_error_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--epochs", "0", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err


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


@pytest.mark.parametrize("closing", ["2>&-", ">&-", "2>&- >&-"])
@pytest.mark.parametrize("words", ["--help", "train --help", "train --epochs 0"])
def test_closed_outputs_give_no_traceback(closing: str, words: str) -> None:
    command = f'"$0" -m domain_masks {words} {closing}'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "epochs" in words else 0), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_broken_pipe_gives_no_traceback() -> None:
    command = '"$0" -m domain_masks train --help | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
