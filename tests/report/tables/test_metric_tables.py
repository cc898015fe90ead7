from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from domain_masks.evaluation import expected_calibration_error, macro_f1, metrics, one_vs_rest_auroc
from domain_masks.records import Predictions, RunFolder
from domain_masks.records.collection import collect
from domain_masks.report import build_report
from domain_masks.report.runs.groups import groups_of
from domain_masks.report.tables.metric_tables import metric_tables
from domain_masks.report.tables.table import Table
from report.made_runs import CLASSES, DOMAINS, make_run


def tables_of(path: Path) -> dict[str, Table]:
    (group,) = groups_of(collect([path]).runs)
    return {table.name.removeprefix(f"{group.name}-"): table for table in metric_tables(group)}


def change(run: Path, **content: object) -> None:
    """Change fields of a run's results."""
    file = RunFolder(run).results
    file.write_text(json.dumps({**json.loads(file.read_text()), **content}))


def test_a_run_without_metrics_gets_those_of_its_predictions(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert "metrics" not in json.loads((run / "results.json").read_text())
    found = tables_of(tmp_path)
    (row,) = found["out-of-domain-metrics"].frame.to_dict("records")
    samples = Predictions.load(run / "predictions.npz").select(split="held_out")
    logits = samples.of("predictions")
    assert row["macro_f1"] == pytest.approx(macro_f1(logits, samples.labels))
    assert row["calibration_error"] == pytest.approx(expected_calibration_error(logits, samples.labels))
    assert row["auroc"] == pytest.approx(np.mean(one_vs_rest_auroc(logits, samples.labels)))
    assert row["images"] == len(samples)
    assert not {"top-5", "ECE with temperature"} & {column.title for column in found["out-of-domain-metrics"].columns}
    assert "in-domain-metrics" in found
    areas = found["auroc-1"].frame
    assert set(areas["domain"]) == set(DOMAINS)
    own = areas[areas["domain"] == "sketch"]["auroc"].tolist()
    assert own == pytest.approx(one_vs_rest_auroc(logits, samples.labels))


def test_stored_metrics_and_temperatures_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    fitted = {"predictions": {"value": 2.0, "images": 120}}
    change(run, temperatures=fitted)
    table = tables_of(tmp_path)["out-of-domain-metrics"]
    samples = Predictions.load(run / "predictions.npz").select(split="held_out")
    (row,) = table.frame.to_dict("records")
    expected = expected_calibration_error(samples.of("predictions") / 2, samples.labels)
    assert row["calibrated_error"] == pytest.approx(expected)
    assert "ECE with temperature" in [column.title for column in table.columns]
    assert any("also chose the epoch" in note for note in table.notes)
    # In domain is measured on the images of the fit, and so has no number after it.
    inside = tables_of(tmp_path)["in-domain-metrics"]
    assert "ECE with temperature" not in [column.title for column in inside.columns]
    made = {name: found.model_dump() for name, found in metrics(Predictions.load(run / "predictions.npz")).items()}
    made["out_of_domain"]["macro_f1"] = 0.125
    stored = json.loads(json.dumps(made), parse_constant=str)
    change(run, metrics={name: without_none(part) for name, part in stored.items()})
    assert tables_of(tmp_path)["out-of-domain-metrics"].frame["macro_f1"].tolist() == [0.125]


def without_none(part: object) -> object:
    if isinstance(part, dict):
        return {name: without_none(value) for name, value in part.items() if value is not None}
    return part


def test_means_over_seeds_and_held_out_domains(tmp_path: Path) -> None:
    for target in DOMAINS:
        for seed in (0, 1):
            make_run(tmp_path / f"{target}{seed}", target=target, seed=seed)
    table = tables_of(tmp_path)["out-of-domain-metrics"]
    rows = {row["held_out"]: row for row in table.frame.to_dict("records")}
    assert list(rows) == [*DOMAINS, "overall"]
    assert rows["overall"]["macro_f1"] == pytest.approx(np.mean([rows[name]["macro_f1"] for name in DOMAINS]))
    assert rows["overall"]["images"] == sum(rows[name]["images"] for name in DOMAINS)
    by_seed = [
        macro_f1(part.of("predictions"), part.labels)
        for seed in (0, 1)
        for part in [Predictions.load(tmp_path / f"sketch{seed}" / "predictions.npz").select(split="held_out")]
    ]
    assert rows["sketch"]["macro_f1"] == pytest.approx(np.mean(by_seed))
    assert rows["sketch"]["macro_f1_deviation"] == pytest.approx(np.std(by_seed, ddof=1))


def test_a_class_without_images_is_named_and_has_no_auroc(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file = RunFolder(run).predictions
    before = Predictions.load(file)
    kept = ~((before.splits == "held_out") & (before.labels == 0))
    before.rows(kept).save(file)
    found = tables_of(tmp_path)
    assert any("Classes without images" in note and "sketch 1" in note for note in found["out-of-domain-metrics"].notes)
    row = next(row for row in found["auroc-1"].rows if row[0].text == CLASSES[0])
    place = [column.title for column in found["auroc-1"].columns].index("sketch")
    assert (row[place].text, row[place].value, row[place].detail) == ("–", None, "n = 0")
    # Of one class alone nothing is left of AUROC, and nothing is averaged over the rest.
    replace(before, labels=np.where(before.splits == "held_out", 1, before.labels)).save(file)
    assert tables_of(tmp_path)["out-of-domain-metrics"].frame["auroc"].isna().all()


def test_unreadable_predictions_leave_the_report_without_metrics(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "predictions.npz").write_bytes(b"nothing")
    assert tables_of(tmp_path) == {}
    assert build_report(collect([tmp_path])).tables
