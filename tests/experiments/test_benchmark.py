"""Plans, working them off, and the table."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import generated
from domain_masks.errors import DiskFullError, InputError
from domain_masks.experiments import accuracy_table, execute_plan, leave_one_out, summary
from domain_masks.experiments.benchmark_table import overall_in_words
from domain_masks.methods import METHODS
from domain_masks.methods.aggregate import Aggregate
from domain_masks.methods.dmg import DMG
from domain_masks.networks.backbones import BACKBONES
from domain_masks.networks.small import SmallConvNet
from domain_masks.progress import ConsoleReporter
from domain_masks.records.collection import collect
from domain_masks.records.results import held_out_name
from domain_masks.report.runs.accuracies import overall
from domain_masks.report.runs.accuracies import summary as summary_of_report
from domain_masks.report.runs.groups import groups_of
from domain_masks.training import evaluate
from report.made_runs import hold_out, make_run

QUIET = ConsoleReporter(quiet=True)


def test_plan_is_every_method_target_and_seed(plan: Any) -> None:
    runs = plan(seeds=[0, 1])
    assert len(runs) == 3 * 2 * 2
    assert {run.config.target for run in runs} == {("dots",), ("plain",), ("stripes",)}
    assert len({run.folder.path for run in runs}) == len(runs)
    assert all(run.state == "pending" for run in runs)


def test_domains_may_have_commas_slashes_and_be_called_none(data: Any, tmp_path: Path) -> None:
    odd = replace(data, domains=("Berlin, Mitte", "none", "a/b+c"))
    base = generated.config(target=None, fast=True)
    runs = leave_one_out(base, odd, ["dmg"], [], [0], tmp_path)
    assert [run.config.target for run in runs] == [("Berlin, Mitte",), ("none",), ("a/b+c",)]
    assert [run.name for run in runs] == ["dmg/Berlin, Mitte/seed-0", "dmg/none/seed-0", "dmg/a%2Fb%2Bc/seed-0"]
    assert all(run.folder.path.parents[2] == tmp_path for run in runs)
    named = leave_one_out(base, odd, ["dmg"], ["none", "Berlin, Mitte"], [0], tmp_path)
    assert [run.config.target for run in named] == [("none",), ("Berlin, Mitte",)]
    with pytest.raises(InputError, match="unknown held-out domain 'Berlin'"):
        leave_one_out(base, odd, ["dmg"], ["Berlin"], [0], tmp_path)


def test_a_plan_holds_something_out(plan: Any) -> None:
    for target in ("none", ""):
        with pytest.raises(InputError, match=f"unknown held-out domain '{target}'"):
            plan(targets=[target])


def test_settings_of_a_method_go_to_the_methods_that_have_them(plan: Any) -> None:
    runs = plan(method={"name": "dmg", "overlap_weight": 0.5})
    own = {run.config.method_name: run.config.method.to_dict() for run in runs}
    assert own["dmg"]["overlap_weight"] == 0.5
    assert "overlap_weight" not in own["aggregate"]
    with pytest.raises(InputError, match=r"did you mean 'method.overlap_weight'|overlap_wieght"):
        plan(method={"name": "dmg", "overlap_wieght": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["dmg", "dmg"]}, "named twice"),
        ({"methods": ["dgm"]}, "Did you mean 'dmg'"),
        ({"targets": ["strips"]}, "Did you mean 'stripes'"),
        ({"seeds": [1, 1]}, "named twice"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str, plan: Any) -> None:
    with pytest.raises(InputError, match=message):
        plan(**changes)


def test_done_runs_are_skipped_and_others_settings_get_folders_of_their_own(
    data: Any, plan: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = execute_plan(plan(targets=["dots"]), data, ConsoleReporter())
    assert not first.failed
    capsys.readouterr()
    again = execute_plan(plan(targets=["dots"]), data, ConsoleReporter())
    assert again.results == first.results
    assert capsys.readouterr().err.count("done already") == 2
    (other,) = plan(targets=["dots"], methods=["dmg"], lr=0.5)
    assert other.state == "pending"
    assert other.name == f"dmg/dots/seed-0-{other.key[:8]}"
    outcome = execute_plan([other], data, QUIET)
    assert [record.config["lr"] for _, record in outcome.runs] == [0.5]
    assert plan(targets=["dots"], methods=["dmg"], lr=0.5)[0].state == "done"
    assert plan(targets=["dots"], methods=["dmg"])[0].state == "done"


@pytest.mark.parametrize("own", ["method", "backbone"])
def test_finished_runs_of_code_that_was_registered_in_python_are_said(
    own: str, data: Any, plan: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"targets": ["dots"], "methods": ["aggregate"]}
    if own == "method":
        kind = type("Own", (Aggregate,), {"name": "own", "__module__": "__main__"})
        monkeypatch.setitem(METHODS.data, "own", kind)
        changes["methods"] = ["own"]
    else:
        name = "tests.Own"
        monkeypatch.setitem(BACKBONES, name, SmallConvNet)
        changes["backbone"] = name
    note = "use a method or network that Python code registered"
    assert not execute_plan(plan(**changes), data, ConsoleReporter()).failed
    assert note not in capsys.readouterr().err
    execute_plan(plan(**changes), data, ConsoleReporter())
    said = capsys.readouterr().err
    assert said.count("done already") == said.count(note) == 1


def test_what_only_evaluating_applies_to_done_runs_is_said(
    data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Some labels are wrong, so that the sources' images determine a temperature.
    wrong = replace(data, labels=np.where(np.arange(len(data.labels)) % 4 == 0, (data.labels + 1) % 3, data.labels))

    def executed(reporter: ConsoleReporter, **changes: Any) -> Any:
        base = generated.config(target=None, epochs=2, **changes)
        plan = leave_one_out(base, wrong, ["dmg", "aggregate"], ["dots"], [0], tmp_path)
        assert not execute_plan(plan, wrong, reporter).failed
        return plan

    executed(QUIET, domain_classifier=False)
    capsys.readouterr()
    ours, others = executed(ConsoleReporter(), domain_classifier=False, calibrate=True)
    note = "note: {} of these runs were done without {}, which is not applied to them: `dmg evaluate {} {}` does so"
    assert ours.state == "done"
    assert note.format(2, "--calibrate", ours.folder.path, "--calibrate") in capsys.readouterr().err
    for planned in (ours, others):
        evaluate(planned.folder.path, QUIET, dataset=wrong, changes={"calibrate": True})
    capsys.readouterr()
    executed(ConsoleReporter(), calibrate=True)
    classifier = "--domain_classifier"
    assert note.format(1, classifier, ours.folder.path, classifier) in capsys.readouterr().err
    evaluate(ours.folder.path, QUIET, dataset=wrong, changes={"domain_classifier": True})
    executed(ConsoleReporter(), calibrate=True)
    assert "done without" not in capsys.readouterr().err


def test_a_failing_run_is_recorded_tried_again_and_stops_no_other(
    data: Any, plan: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = plan(targets=["dots"])

    def broken(self: Any, batch: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(DMG, "training_loss", broken)
        outcome = execute_plan(runs, data, QUIET)
    assert outcome.failed == {"dmg/dots/seed-0": "ZeroDivisionError: a bug"}
    assert [result.method for result in outcome.results] == ["aggregate"]
    record = json.loads((tmp_path / "dmg/dots/seed-0/failed.json").read_text())
    assert (record["schema"], record["kind"], record["error"]) == (1, "ZeroDivisionError", "ZeroDivisionError: a bug")
    assert "in broken" in record["traceback"]
    assert [entry.reason for entry in collect([tmp_path]).failed] == ["ZeroDivisionError: a bug"]
    again = plan(targets=["dots"])
    assert {run.config.method_name: run.state for run in again} == {"dmg": "failed", "aggregate": "done"}
    assert not execute_plan(again, data, QUIET).failed
    assert not (tmp_path / "dmg/dots/seed-0/failed.json").exists()


def test_a_mistake_that_only_a_run_finds_is_recorded_without_traceback(data: Any, plan: Any, tmp_path: Path) -> None:
    outcome = execute_plan(
        plan(targets=["dots"], methods=["aggregate"], weights=str(tmp_path / "gone.pth")), data, QUIET
    )
    assert "gone.pth" in outcome.failed["aggregate/dots/seed-0"]
    record = json.loads((tmp_path / "aggregate/dots/seed-0/failed.json").read_text())
    assert record["kind"] == "InputError"
    assert "traceback" not in record


def test_a_folder_that_cannot_be_made_is_a_failure(data: Any, plan: Any, tmp_path: Path) -> None:
    (tmp_path / "dmg").write_text("a file")
    outcome = execute_plan(plan(targets=["dots"]), data, QUIET)
    assert "is a file" in outcome.failed["dmg/dots/seed-0"]
    assert [result.method for result in outcome.results] == ["aggregate"]


def test_a_full_disk_ends_everything(data: Any, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    runs = plan(targets=["dots"])
    with monkeypatch.context() as patched:
        patched.setattr("domain_masks.training.checkpoints.torch.save", full)
        patched.setattr("domain_masks.records.files._synchronize", full)
        with pytest.raises(DiskFullError, match="resume with the same command"):
            execute_plan(runs, data, QUIET)
    assert [run.state for run in plan(targets=["dots"])][1] == "pending", "the second would fail as well"


def test_overall_is_the_mean_over_targets_per_seed() -> None:
    rows = [
        {"method": "dmg", "target": target, "seed": seed, "measure": "out of domain", "split": "all", "accuracy": value}
        | {"held_out_domains": 1}
        for (target, seed), value in {("a", 0): 0.5, ("b", 0): 0.7, ("a", 1): 0.6, ("b", 1): 0.9}.items()
    ]
    (row,) = summary(pd.DataFrame(rows)).to_dict("records")
    assert row["a"] == "55.00 ± 7.07"
    assert row["overall"] == "67.50 ± 10.61"
    (single,) = summary(pd.DataFrame(rows[:2])).to_dict("records")
    assert single["overall"] == "60.00"


def test_a_domain_that_is_called_as_a_column_has_one_of_its_own() -> None:
    rows = [
        {"method": "dmg", "target": held_out_name([name]), "seed": 0, "measure": "out of domain", "split": "all"}
        | {"accuracy": accuracy, "held_out_domains": 1}
        for name, accuracy in {"overall": 0.2, "method": 0.4, "c": 0.9}.items()
    ]
    (row,) = summary(pd.DataFrame(rows)).to_dict("records")
    assert row == {
        "measure": "out of domain (all)",
        "method": "dmg",
        "overall (domain)": "20.00",
        "method (domain)": "40.00",
        "c": "90.00",
        "overall": "50.00",
    }


def test_overall_is_over_the_held_out_domains_that_the_report_averages(tmp_path: Path) -> None:
    for target, right in (("sketch", 0.8), ("photo", 0.7)):
        make_run(tmp_path / target, target=target, right=right)
    hold_out(make_run(tmp_path / "pair", target="sketch", right=0.3), ("sketch", "photo"))
    hold_out(make_run(tmp_path / "final", target="sketch", right=0.9), ())
    runs = collect([tmp_path]).runs
    table = accuracy_table([record.results for record in runs])
    row = summary(table).set_index("measure").loc["out of domain (all)"]
    assert {"sketch,photo", "(none held out)"} <= set(row.index)
    assert float(row["overall"]) == pytest.approx((float(row["sketch"]) + float(row["photo"])) / 2, abs=0.01)
    reported = overall(summary_of_report(groups_of(runs)[0]))["accuracy"].tolist()
    assert row["overall"] == f"{100 * reported[0]:.2f}"
    assert overall_in_words(table) in ("overall: over photo, sketch alone", "overall: over sketch, photo alone")
    singles = table[table["held_out_domains"] == 1]
    assert overall_in_words(singles) == ""
    assert summary(singles)["overall"].tolist() == summary(table)["overall"].tolist()


def test_table_has_a_row_per_measure_and_a_column_per_varied_setting(data: Any, plan: Any) -> None:
    outcome = execute_plan(plan(targets=["dots"]), data, QUIET)
    table = accuracy_table(outcome.results, [{"overlap_weight": "0.1"}, {}])
    assert list(table.columns[:3]) == ["method", "overlap_weight", "target"]
    assert table.groupby("method")["overlap_weight"].agg(set).to_dict() == {"dmg": {"0.1"}, "aggregate": {""}}
    assert len(summary(table)) == 5
    assert table.groupby("method")["measure"].apply(list).to_dict() == {
        "aggregate": ["out of domain", "in domain"],
        "dmg": ["out of domain", "in domain", "known domain"],
    }
