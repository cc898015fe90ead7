from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.accuracies import overall, summary
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.accuracy_tables import by_target
from report.made_runs import ODD_CONFIG, PAPER_CONFIG, make_benchmark, make_run

OWN_CONFIG = {**PAPER_CONFIG, "backbone": "mobilenet_v2", "size": 112, "freeze_features": True}


def one(frame, **values):
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_a_domain_called_overall_is_not_the_mean(tmp_path: Path) -> None:
    right = {"overall": 0.2, "b": 0.8, "c": 0.8}
    for name, share in right.items():
        make_run(tmp_path / name, target=name, right=share, domains=tuple(right), config=ODD_CONFIG)
    (group,) = groups_of(collect([tmp_path]).runs)
    rows = summary(group).query("measure == 'out_of_domain' and ensemble == 'predictions'").set_index("held_out")
    measured = {name: json.loads((tmp_path / name / "results.json").read_text())["out_of_domain"] for name in right}
    assert rows.index.is_unique
    assert rows.loc["overall (domain)", "accuracy"] == measured["overall"]["accuracy"]
    assert rows.loc["overall", "accuracy"] == pytest.approx(sum(one["accuracy"] for one in measured.values()) / 3)
    report = build_report(collect([tmp_path]))
    (table,) = [table for table in report.tables if table.name.endswith("-out-of-domain")]
    shown = [cell.text for row in table.rows for cell in row] + [column.title for column in table.columns]
    assert "overall (domain)" in shown


def test_overall_is_the_mean_over_held_out_domains_per_seed(benchmark, group, frame):
    row = one(overall(frame), method="dmg")
    seeds = []
    for seed in (0, 1):
        runs = [r.results for r in benchmark.runs if r.results.method == "dmg" and r.results.seed == seed]
        seeds.append(sum(run.out_of_domain.accuracy for run in runs) / len(runs))
    assert row["accuracy"] == pytest.approx(sum(seeds) / 2)
    assert row["deviation"] == pytest.approx(abs(seeds[0] - seeds[1]) / math.sqrt(2))
    assert (row["seeds"], row["runs"], row["images"]) == (2, 8, 160)
    assert row["low"] < row["accuracy"] < row["high"]


def test_the_interval_is_that_of_the_mean_over_seeds(benchmark, group, frame):
    row = one(frame, method="dmg", measure="in_domain", held_out="sketch", ensemble="predictions")
    runs = [r for r in benchmark.runs if r.results.method == "dmg" and r.results.targets == ["sketch"]]
    parts = [run.predictions().select("validation") for run in runs]
    right = [part.of("predictions").argmax(1) == part.labels for part in parts]
    per_image = np.mean(right, axis=0).reshape(3, 40)
    error = math.sqrt(sum(part.var() / 40 for part in per_image)) / 3
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_columns_are_typed(group, frame):
    assert str(frame["accuracy"].dtype) == "Float64"
    assert str(frame["seeds"].dtype) == "Int64"
    assert str(frame["target_labels_used"].dtype) == "boolean"


def test_the_papers_number_stands_beside_only_where_the_protocol_is_the_papers(benchmark, group, frame, tmp_path):
    row = one(overall(frame), method="dmg")
    assert row["paper_accuracy"] == pytest.approx(0.8146)
    assert row["difference"] == pytest.approx(row["accuracy"] - 0.8146)
    inside = one(overall(frame, "in_domain"), method="dmg")
    assert inside["paper_accuracy"] is None or math.isnan(inside["paper_accuracy"])
    table = by_target(group, frame, "out_of_domain")
    assert "dmg: paper" in [row[0].text for row in table.rows]
    (other,) = groups_of(collect([make_benchmark(tmp_path, config=OWN_CONFIG)]).runs)
    assert summary(other)["paper_accuracy"].isna().all()
