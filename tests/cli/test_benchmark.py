"""``dmg benchmark``: its complete settings, its plan, its table, and runs that are done."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from domain_masks.cli import main
from domain_masks.cli.benchmark_output import _summary_lines
from domain_masks.records.yaml_files import parse_yaml


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
    assert multi_headed == {
        "name": "multi_headed",
        "average": "logits",
        "validation": "predictions",
        "batch_norm": "learned",
    }
    assert (content["targets"], content["seeds"]) == (["ink,paper"], [0, 2])
    assert (content["sites"], content["lr_masks"], content["epochs"]) == (["paper"], 0.1, 20)
    assert not {"target", "seed", "method"} & set(content)
    Path("all.yaml").write_text(text)
    assert printed(capsys, "benchmark", "--config", "all.yaml") == text
    assert "overlap_weight: 0.25" in printed(
        capsys, "benchmark", "--config", "all.yaml", "--method.overlap_weight", "0.25"
    )


def test_a_yaml_of_another_command(capsys: pytest.CaptureFixture[str]) -> None:
    Path("many.yaml").write_text("methods: [dmg, aggregate]\nseeds: [0]\nepochs: 0\n")
    assert main(["train", "--config", "many.yaml"]) == 2
    message = capsys.readouterr().err
    assert "methods, seeds: only `dmg benchmark`" in message
    assert "epochs" in message
    Path("one.yaml").write_text("target: ink\nseed: 3\n")
    assert main(["benchmark", "--config", "one.yaml", "--dry_run"]) == 0
    assert "not used from one.yaml: target, seed" in capsys.readouterr().err


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
    assert "1 finished run: dmg (small)" in shown
    assert main([*command, "--sweep", "method.overlap_weight=0,0.1"]) == 0
    table = capsys.readouterr().out
    assert "overlap_weight" in table
    rows = (Path("bench") / "accuracies.csv").read_text().splitlines()
    assert rows[0] == (
        "method,overlap_weight,target,seed,measure,split,accuracy,images,macro_f1,top_5,auroc,calibration_error,"
        "calibrated_error,worst_group_accuracy,held_out_domains"
    )
    assert len(rows) == 1 + 3 + 3 + 2
    assert len(list(Path("bench").glob("benchmark-*.yaml"))) == 1, "the settings of the benchmark before are kept"


def test_overall_says_what_it_is_over_where_targets_are_mixed() -> None:
    shared = {"method": "dmg", "seed": 0, "measure": "out of domain", "split": "all", "accuracy": 0.5}
    rows = [{**shared, "target": "a", "held_out_domains": 1}, {**shared, "target": "b", "held_out_domains": 1}]
    assert len(_summary_lines(pd.DataFrame(rows))) == 2
    mixed = pd.DataFrame([*rows, {**shared, "target": "a,b", "held_out_domains": 2}])
    assert _summary_lines(mixed)[-1] == "overall: over a, b alone"
