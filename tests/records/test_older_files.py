"""Files of schema 1, in which epochs were counted from 0, mean the same as ever: as they were written, and gone on from."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import generated
from domain_masks.errors import RunFolderError
from domain_masks.records import Analysis, MetricsLog, Results, RunFolder
from domain_masks.records.collection import collect
from domain_masks.report.report_builder import build_report
from domain_masks.training import evaluate, run
from domain_masks.training.checkpoints import load_checkpoint

SCHEMA_1 = Path(__file__).parent / "schema_1"
"""Run folders as they were written: one that has finished, and one that stopped after two of four epochs."""
FINISHED = RunFolder(SCHEMA_1 / "finished")


class Stop(Exception):  # noqa: N818 - no error
    pass


class Silent:
    def __init__(self, stop_at: str = "") -> None:
        self.stop_at = stop_at

    def say(self, line: str) -> None:
        if self.stop_at and line.startswith(self.stop_at):
            raise Stop

    def track(self, items: Any, total: int, what: str) -> Any:
        yield from items


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_best_epoch_of_old_results() -> None:
    accuracies = [float(row["validation_accuracy"]) for row in rows_of(FINISHED.metrics)]
    results = Results.read(FINISHED.results)
    assert json.loads(FINISHED.results.read_text())["best_epoch"] == 2
    assert results.best_epoch == 1 + accuracies.index(max(accuracies)) == 3
    assert (results.epochs_run, results.to_dict()["schema"]) == (4, 2)


def test_old_results_are_written_again_as_new_ones(tmp_path: Path) -> None:
    Results.read(FINISHED.results).write(tmp_path / "results.json")
    written = json.loads((tmp_path / "results.json").read_text())
    assert (written["schema"], written["best_epoch"]) == (2, 3)
    assert Results.read(tmp_path / "results.json") == Results.read(FINISHED.results)


@pytest.mark.parametrize("best", [-1, True, "2", None])
def test_old_results_with_no_epoch_as_best_epoch_are_refused(tmp_path: Path, best: Any) -> None:
    content = json.loads(FINISHED.results.read_text()) | {"best_epoch": best}
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match="best_epoch: "):
        Results.read(tmp_path / "results.json")


def test_old_results_without_a_best_epoch(tmp_path: Path) -> None:
    content = json.loads(FINISHED.results.read_text())
    del content["best_epoch"]
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert Results.read(tmp_path / "results.json").best_epoch is None


def test_the_rows_of_an_old_analysis() -> None:
    before = json.loads(FINISHED.analysis.read_text())["epochs"]
    found = Analysis.read(FINISHED.analysis)
    assert found.epochs is not None
    assert [row["epoch"] for row in before] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [row.epoch for row in found.epochs] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert [row.activated for row in found.epochs] == [row["activated"] for row in before]


def test_an_old_table_of_metrics(tmp_path: Path) -> None:
    log = MetricsLog(shutil.copy(FINISHED.metrics, tmp_path))
    before = [float(row["loss"]) for row in rows_of(log.path)]
    assert [(row["epoch"], row["loss"]) for row in log.read()] == list(enumerate(before, start=1))
    log.append({"epoch": 5, "loss": 0.25})
    assert [(row["epoch"], row["loss"]) for row in log.read()] == list(enumerate([*before, 0.25], start=1))
    assert [row["epoch"] for row in rows_of(log.path)] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("done", range(5))
def test_an_old_table_is_cut_where_the_run_stood(tmp_path: Path, done: int) -> None:
    log = MetricsLog(shutil.copy(FINISHED.metrics, tmp_path))
    before = [row["loss"] for row in log.read()]
    assert log.truncate(done)
    assert [(row["epoch"], row["loss"]) for row in log.read()] == list(enumerate(before[:done], start=1))
    assert not log.truncate(done)


@pytest.mark.parametrize(("name", "best"), [("finished", 3), ("begun", 1)])
def test_old_checkpoints(tmp_path: Path, name: str, best: int) -> None:
    kept = json.loads((SCHEMA_1 / name / "progress.json").read_text())
    torch.save({"schema": 2, "progress": kept["progress"]}, tmp_path / "last.ckpt")
    torch.save({"schema": 2, "method": {}, "epoch": kept["best"]}, tmp_path / "best.ckpt")
    assert load_checkpoint(tmp_path / "last.ckpt")["progress"] == {**kept["progress"], "best_epoch": best}
    assert load_checkpoint(tmp_path / "best.ckpt")["epoch"] == best


def test_an_old_checkpoint_of_the_first_epoch_has_no_best_one(tmp_path: Path) -> None:
    torch.save(
        {"schema": 2, "progress": {"epochs_done": 0, "batches_done": 1, "best_epoch": -1}}, tmp_path / "last.ckpt"
    )
    assert load_checkpoint(tmp_path / "last.ckpt")["progress"]["best_epoch"] is None


def test_a_report_of_an_old_and_a_new_run(tmp_path: Path) -> None:
    for name in ("old", "new"):
        shutil.copytree(SCHEMA_1 / "finished", tmp_path / name)
    new = RunFolder(tmp_path / "new")
    Results.read(new.results).write(new.results)
    assert MetricsLog(new.metrics).truncate(4)
    Analysis.read(new.analysis).write(new.analysis)
    report = build_report(collect([tmp_path]))
    (runs,) = [table for table in report.tables if table.name == "runs"]
    assert runs.frame["best_epoch"].tolist() == [3, 3]
    place = [column.title for column in runs.columns].index("best epoch")
    assert [row[place].text for row in runs.rows] == ["3", "3"]
    courses = [figure for figure in report.figures for panel in figure.panels if panel.x_label == "epoch"]
    assert courses
    for figure in courses:
        assert all(series.x == (1.0, 2.0, 3.0, 4.0) for panel in figure.panels for series in panel.series)


def as_schema_1(folder: RunFolder) -> None:
    """Turn a run that stopped or finished into one of the older version."""
    rows = [{**row, "epoch": int(row["epoch"]) - 1} for row in rows_of(folder.metrics)]
    with folder.metrics.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    for path in (folder.last, folder.best):
        state = torch.load(path, weights_only=True)
        if "epoch" in state:
            state["epoch"] -= 1
        if "progress" in state:
            state["progress"]["best_epoch"] -= 1
        torch.save({**state, "schema": 2}, path)
    if folder.results.exists():
        content = json.loads(folder.results.read_text())
        folder.results.write_text(json.dumps({**content, "schema": 1, "best_epoch": content["best_epoch"] - 1}))
    if folder.tensorboard.exists():
        shutil.rmtree(folder.tensorboard)
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        with SummaryWriter(str(folder.tensorboard)) as writer:
            for row in rows:
                writer.add_scalar("loss", float(row["loss"]), int(row["epoch"]))
        for path in folder.tensorboard.iterdir():
            # Of an earlier time, by which files are put in order.
            path.rename(path.with_name(re.sub(r"tfevents\.\d+", "tfevents.1000000000", path.name)))


def untimed(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "images_per_second")} for row in rows
    ]


def test_an_old_run_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: PLC0415

    settings, data = generated.config(epochs=4), generated.dataset(8)
    whole = run(settings, tmp_path / "whole", dataset=data, reporter=Silent())
    with pytest.raises(Stop):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent(stop_at="epoch 3"))
    as_schema_1(RunFolder(tmp_path / "run"))
    resumed = run(settings, tmp_path / "run", dataset=data, reporter=Silent(), resume=True)
    assert resumed.results.best_epoch == whole.results.best_epoch
    assert resumed.folder.model.read_bytes() == whole.folder.model.read_bytes()
    assert untimed(rows_of(resumed.folder.metrics)) == untimed(rows_of(whole.folder.metrics))
    assert load_checkpoint(resumed.folder.best)["epoch"] == whole.results.best_epoch
    events = EventAccumulator(str(resumed.folder.tensorboard)).Reload().Scalars("loss")
    assert [event.step for event in events] == [1, 2, 3, 4]


def test_an_old_run_that_is_evaluated_again(tmp_path: Path) -> None:
    data = generated.dataset(8)
    before = run(generated.config(epochs=2), tmp_path / "run", dataset=data, reporter=Silent()).results
    as_schema_1(RunFolder(tmp_path / "run"))
    assert Results.read(tmp_path / "run" / "results.json").best_epoch == before.best_epoch
    after = evaluate(tmp_path / "run", Silent(), dataset=data)
    assert after.results.best_epoch == before.best_epoch
    written = json.loads(after.folder.results.read_text())
    assert (written["schema"], written["best_epoch"]) == (2, before.best_epoch)


EMPTIED = {
    "overall_iou": 0.0,
    "pairwise_iou": {"a|b": 0.0, "a|c": 0.0, "b|c": 0.0},
    "activated": {"a": 0.0, "b": 0.0, "c": 0.25},
    "kinds": {"off": 0.75, "shared": 0.0, "specific": 0.25},
}


def test_two_empty_masks_of_an_old_run_overlap(tmp_path: Path) -> None:
    content = json.loads(FINISHED.results.read_text()) | {"masks": {"head": EMPTIED}}
    masks = (Results.from_dict(content).masks or {})["head"]
    assert masks.pairwise_iou == {"a|b": 1.0, "a|c": 0.0, "b|c": 0.0}
    assert masks.overall_iou == pytest.approx(1 / 3)
    assert masks.average_activated == pytest.approx(0.25 / 3)
    assert Results.from_dict(content | {"schema": 2}).to_dict()["masks"] == {"head": EMPTIED}
    full = {name: dict.fromkeys(EMPTIED[name], 0.0) for name in ("pairwise_iou", "activated")}
    masks = (Results.from_dict(content | {"masks": {"head": {**EMPTIED, **full}}}).masks or {})["head"]
    assert masks.overall_iou == 1.0
    old = json.loads(FINISHED.analysis.read_text())
    site = next(iter(old["sites"].values()))
    row = {**old["epochs"][0], "activated": EMPTIED["activated"], "overall_iou": 0.0}
    analysis = Analysis.from_dict({**old, "sites": {"head": {**site, **EMPTIED}}, "epochs": [row]})
    assert (analysis.sites or {})["head"].overall_iou == pytest.approx(1 / 3)
    assert (analysis.epochs or [])[0].overall_iou == pytest.approx(1 / 3)
    (tmp_path / "metrics.csv").write_text(
        "epoch,mask_iou/head,mask_activated/head/a,mask_activated/head/b,mask_activated/head/c\n0,0.0,0.0,0.0,0.25\n"
    )
    assert MetricsLog(tmp_path / "metrics.csv").read()[0]["mask_iou/head"] == pytest.approx(1 / 3)
