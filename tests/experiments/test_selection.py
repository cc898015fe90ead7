"""Which of the swept settings a benchmark reports, and which runs a rule adds to the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import generated
from domain_masks.cli.benchmark_output import show_outcome
from domain_masks.errors import InputError
from domain_masks.experiments import BenchmarkOutcome, PlannedRun
from domain_masks.experiments import plan as planned_by
from domain_masks.experiments.selection import CHOSEN, RULE, select
from domain_masks.records.collection import read_run
from domain_masks.settings.benchmark_lists import check_lists
from experiments.records import finish

FOUR = ("dots", "extra", "plain", "stripes")
TARGETS = ["dots", "plain"]


@pytest.fixture
def four(data: Any) -> Any:
    """Four domains, of which two sources are left where two are held out."""
    return replace(data, domains=FOUR, domain_indices=np.arange(len(data)) % len(FOUR))


def plan(four: Any, out: Path, rule: str | None = None, **varied: Any) -> list[PlannedRun]:
    base = generated.config(target=None)
    lists = {"methods": ["dmg", "aggregate"], "targets": TARGETS, "seeds": [0], "select": rule, **varied}
    checked, mistakes = check_lists(base, base.method, lists)
    assert not mistakes
    return planned_by(base, four, checked, out)


def accuracy(planned: PlannedRun, split: str, domain: str) -> float:
    """The weight 0 is best on validation, 0.1 on held-out sources, 1 on the targets."""
    weight = float(planned.variation.get("overlap_weight", 0.5))
    if split == "validation":
        return {0.0: 0.9, 0.1: 0.8, 1.0: 0.7}.get(weight, 0.5)
    if domain in TARGETS and not planned.is_inner:
        return {0.0: 0.1, 0.1: 0.2, 1.0: 0.3}.get(weight, 0.4)
    return {0.0: 0.5, 0.1: 0.6, 1.0: 0.4}.get(weight, 0.5)


SWEEP = {"method.overlap_weight": [0, 0.1, 1]}


def finished(runs: list[PlannedRun]) -> list[Any]:
    for run in runs:
        finish(run, FOUR, accuracy)
    return [(run, read_run(run.folder)) for run in runs]


def test_inner_runs_hold_out_every_source_as_well_once_each(four: Any, tmp_path: Path) -> None:
    runs = plan(four, tmp_path, "leave-one-domain-out", sweep=SWEEP)
    inner = [run for run in runs if run.is_inner]
    assert {run.config.method_name for run in inner} == {"dmg"}, "aggregate has nothing to choose between"
    held_out = [tuple(sorted(run.config.target or ())) for run in inner]
    pairs = {("dots", "extra"), ("dots", "plain"), ("dots", "stripes"), ("extra", "plain"), ("plain", "stripes")}
    assert set(held_out) == pairs
    assert len(inner) == 3 * len(pairs), "dots with plain is plain with dots"
    assert not any(run.is_inner for run in plan(four, tmp_path, "source-validation", sweep=SWEEP))
    assert not any(run.is_inner for run in plan(four, tmp_path, "leave-one-domain-out"))


def test_too_few_domains_are_named(data: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more"):
        plan(data, tmp_path, "leave-one-domain-out", sweep=SWEEP)


@pytest.mark.parametrize(
    ("rule", "weight", "shown"),
    [("source-validation", 0.0, 0.1), ("leave-one-domain-out", 0.1, 0.2), ("oracle", 1.0, 0.3)],
)
def test_each_rule_chooses_by_what_it_may_look_at(
    rule: str, weight: float, shown: float, four: Any, tmp_path: Path
) -> None:
    found = select(finished(plan(four, tmp_path, rule, sweep=SWEEP)), rule)
    assert found is not None
    assert not found.problems
    outside = found.table[found.table["measure"] == "out of domain"]
    assert outside["target"].tolist() == TARGETS
    assert outside["accuracy"].tolist() == pytest.approx([shown, shown])
    assert set(outside[CHOSEN]) == {f"dmg, overlap_weight {weight:g}"}
    assert set(outside[RULE]) == {"ORACLE" if rule == "oracle" else rule}


def test_named_variants_are_not_chosen_between(four: Any, tmp_path: Path) -> None:
    variants = [{}, {"name": "SGD", "methods": ["aggregate"], "optimizer": "sgd"}]
    runs = finished(plan(four, tmp_path, variants=variants))
    assert select(runs, "source-validation") is None
    swept = finished(plan(four, tmp_path / "swept", variants=variants, sweep={"lr": [0.1, 0.2]}))
    found = select(swept, "source-validation")
    assert found is not None
    assert sorted(set(zip(found.table["method"], found.table["variant"], strict=True))) == [
        ("aggregate", ""), ("aggregate", "SGD"), ("dmg", ""),
    ]  # fmt: skip


def test_the_oracle_is_marked_wherever_it_shows(four: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = BenchmarkOutcome(finished(plan(four, tmp_path, "oracle", sweep=SWEEP)))
    assert show_outcome(outcome, "generated", tmp_path, "oracle") == 0
    lines = capsys.readouterr().out.splitlines()
    (title,) = (line for line in lines if line.startswith("chosen by"))
    assert "ORACLE" in title
    assert "whose labels are used" in title
    rows = [line for line in lines[lines.index(title) :] if line.strip().startswith("out of domain")]
    assert rows
    assert all("ORACLE" in row for row in rows)
    written = (tmp_path / "selected.csv").read_text().splitlines()
    assert all("ORACLE" in row for row in written[1:])


def test_a_choice_that_lacks_a_run_is_a_problem_and_no_crash(
    four: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = plan(four, tmp_path, "leave-one-domain-out", sweep=SWEEP)
    outcome = BenchmarkOutcome(finished([run for run in runs if not run.is_inner]), {"dmg/lost": "the disk was gone"})
    assert show_outcome(outcome, "generated", tmp_path, "leave-one-domain-out") == 1
    shown = capsys.readouterr().out
    assert "nothing chosen: dmg: selection rule 'leave-one-domain-out'" in shown
    assert "failed: dmg/lost: the disk was gone" in shown
