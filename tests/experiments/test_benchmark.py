"""Plans, working them off, and the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import generated
from domain_masks.errors import InputError, RunFolderError
from domain_masks.experiments import accuracy_table, leave_one_out, summary, work_off
from domain_masks.progress import ConsoleReporter


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(per_class=10)


def plan(data: Any, out: Path, **changes: Any) -> Any:
    base = generated.config(
        target=None, fast=True, **{key: value for key, value in changes.items() if key in ("lr", "method")}
    )
    return leave_one_out(
        base,
        data,
        changes.get("methods", ["dmg", "aggregate"]),
        changes.get("targets", []),
        changes.get("seeds", [0]),
        out,
    )


def test_plan_is_every_method_target_and_seed(data: Any, tmp_path: Path) -> None:
    runs = plan(data, tmp_path, seeds=[0, 1])
    assert len(runs) == 3 * 2 * 2
    assert {run.config.target for run in runs} == {("dots",), ("plain",), ("stripes",)}
    assert len({run.folder.path for run in runs}) == len(runs)
    assert all(run.state == "open" for run in runs)


def test_domains_may_have_commas_slashes_and_be_called_none(data: Any, tmp_path: Path) -> None:
    odd = replace(data, domains=("Berlin, Mitte", "none", "a/b+c"))
    runs = plan(odd, tmp_path, methods=["dmg"])
    assert [run.config.target for run in runs] == [("Berlin, Mitte",), ("none",), ("a/b+c",)]
    assert [run.name for run in runs] == ["dmg/Berlin, Mitte/seed-0", "dmg/none/seed-0", "dmg/a%2Fb%2Bc/seed-0"]
    assert all(run.folder.path.parents[2] == tmp_path for run in runs)
    named = plan(odd, tmp_path, methods=["dmg"], targets=["none", "Berlin, Mitte"])
    assert [run.config.target for run in named] == [("none",), ("Berlin, Mitte",)]
    with pytest.raises(InputError, match="unknown held-out domain 'Berlin'"):
        plan(odd, tmp_path, targets=["Berlin"])


def test_a_plan_holds_something_out(data: Any, tmp_path: Path) -> None:
    for target in ("none", ""):
        with pytest.raises(InputError, match=f"unknown held-out domain '{target}'"):
            plan(data, tmp_path, targets=[target])


def test_settings_of_a_method_go_to_the_methods_that_have_them(data: Any, tmp_path: Path) -> None:
    runs = plan(data, tmp_path, method={"name": "dmg", "overlap_weight": 0.5})
    own = {run.config.method_name: run.config.method_settings for run in runs}
    assert own["dmg"]["overlap_weight"] == 0.5
    assert own["aggregate"] == {}
    with pytest.raises(InputError, match=r"did you mean 'method.overlap_weight'|overlap_wieght"):
        plan(data, tmp_path, method={"name": "dmg", "overlap_wieght": 0.5})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["dmg", "dmg"]}, "named twice"),
        ({"methods": ["dgm"]}, "Did you mean 'dmg'"),
        ({"targets": ["strips"]}, "Did you mean 'stripes'"),
        ({"seeds": [1, 1]}, "named twice"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str, data: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        plan(data, tmp_path, **changes)


def test_done_runs_are_skipped_and_other_settings_refused(
    data: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = plan(data, tmp_path, targets=["dots"])
    first = work_off(runs, data, ConsoleReporter())
    assert not first.failed
    capsys.readouterr()
    again = work_off(plan(data, tmp_path, targets=["dots"]), data, ConsoleReporter())
    assert again.results == first.results
    assert capsys.readouterr().err.count("done already") == 2
    with pytest.raises(RunFolderError, match="lr"):
        work_off(plan(data, tmp_path, targets=["dots"], lr=0.5), data, ConsoleReporter())


def test_a_failing_run_does_not_stop_the_others(data: Any, tmp_path: Path) -> None:
    runs = plan(data, tmp_path, targets=["dots"])
    (tmp_path / "dmg" / "dots").mkdir(parents=True)
    (tmp_path / "dmg" / "dots" / "seed-0").write_text("a file")
    outcome = work_off(runs, data, ConsoleReporter(quiet=True))
    assert list(outcome.failed) == ["dmg/dots/seed-0"]
    assert [result.method for result in outcome.results] == ["aggregate"]


def test_overall_is_the_mean_over_targets_per_seed() -> None:
    rows = [
        {"method": "dmg", "target": target, "seed": seed, "measure": "out of domain", "split": "all", "accuracy": value}
        for (target, seed), value in {("a", 0): 0.5, ("b", 0): 0.7, ("a", 1): 0.6, ("b", 1): 0.9}.items()
    ]
    (row,) = summary(pd.DataFrame(rows)).to_dict("records")
    assert row["a"] == "55.00 ± 7.07"
    assert row["overall"] == "67.50 ± 10.61"
    (single,) = summary(pd.DataFrame(rows[:2])).to_dict("records")
    assert single["overall"] == "60.00"


def test_table_has_a_row_per_measure(data: Any, tmp_path: Path) -> None:
    outcome = work_off(plan(data, tmp_path, targets=["dots"]), data, ConsoleReporter(quiet=True))
    table = accuracy_table(outcome.results)
    assert table.groupby("method")["measure"].apply(list).to_dict() == {
        "aggregate": ["out of domain", "in domain"],
        "dmg": ["out of domain", "in domain", "known domain"],
    }
