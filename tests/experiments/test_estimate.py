"""What a plan still costs: from finished runs like its own, or from timed steps."""

from __future__ import annotations

from typing import Any

import pytest

import generated
from domain_masks.experiments import execute_plan
from domain_masks.experiments.estimate import estimate, lines
from domain_masks.progress import ConsoleReporter
from domain_masks.records import MetricsLog
from domain_masks.records.cache import cache_folder
from domain_masks.training.timing import _Timer, measure
from experiments.records import finish

QUIET = ConsoleReporter(quiet=True)
RUN = {"targets": ["dots"], "methods": ["aggregate"], "fast": False}


def right(*_: Any) -> float:
    return 1.0


def test_finished_runs_say_what_the_others_take(plan: Any, data: Any) -> None:
    runs = plan(**RUN, seeds=[0, 1, 2], epochs=6)
    finish(runs[0], generated.DOMAINS, right)  # 10 s of training in one epoch, 1 s of evaluation
    found = estimate(runs, data, QUIET)
    assert found.seconds == pytest.approx(2 * (6 * 10 + 1))
    assert found.basis == {"1 finished run": ["aggregate (small)"]}
    size = sum(path.stat().st_size for path in runs[0].folder.path.rglob("*"))
    assert found.run_bytes == 2 * size
    assert estimate(runs, data, QUIET, at_once=2).seconds == pytest.approx(61)
    assert estimate(runs, data, QUIET, at_once=8).seconds == pytest.approx(61), "no run is divided"
    for epoch in range(1, 5):
        MetricsLog(runs[1].folder.metrics).append({"epoch": epoch})
    assert estimate(runs, data, QUIET).seconds == pytest.approx(61 + 21), "a run that was started lacks two epochs"


def test_a_plan_that_is_done_costs_nothing(plan: Any, data: Any) -> None:
    runs = plan(**RUN)
    finish(runs[0], generated.DOMAINS, right)
    assert list(lines(estimate(runs, data, QUIET), 10**9, 1)) == []


def test_steps_are_timed_where_nothing_is_finished(plan: Any, data: Any) -> None:
    runs = plan(**RUN, seeds=[0, 1], epochs=4)
    found = estimate(runs, data, QUIET)
    assert found.basis == {"a timed step on cpu": ["aggregate (small)"]}
    assert found.seconds > 0
    one, other = (estimate(plan(**RUN, epochs=epochs), data, QUIET).run_bytes for epochs in (1, 9))
    assert one == other > 10_000
    shown = list(lines(found, 10**9, 2))
    assert shown[0].endswith("1.0 GB are free")
    assert "with 2 runs at once" in shown[1]


@pytest.mark.parametrize(("later", "rows"), [(0.05, 16), (1.9, 4)])
def test_the_first_of_several_steps_does_not_count(
    plan: Any, data: Any, monkeypatch: pytest.MonkeyPatch, later: float, rows: int
) -> None:
    """It also allocates memory and chooses kernels, which took most of the time of a step of MobileNetV2."""
    (run,) = plan(**RUN, batch=16)
    now, steps = [0.0], [1.99, later]

    def step(_timer: Any, batch: Any) -> None:
        now[0] += steps.pop(0) if len(steps) > 1 else steps[0]
        taken.append(len(batch))

    taken: list[int] = []
    monkeypatch.setattr(_Timer, "_learn", step)
    monkeypatch.setattr(_Timer, "_now", lambda _timer: now[0])
    assert measure(run.config, data, QUIET).training == pytest.approx(later / rows)
    assert taken[-1] == rows, "a step that would take long is not timed with its whole batch"


def test_the_disk_is_what_the_run_then_takes(plan: Any, data: Any) -> None:
    runs = plan(targets=["dots"], methods=["dmg"])
    guessed = estimate(runs, data, QUIET).run_bytes
    execute_plan(runs, data, QUIET)
    taken = sum(path.stat().st_size for path in runs[0].folder.path.rglob("*") if path.is_file())
    assert 0.5 < guessed / taken < 1.5


def test_frozen_features_are_counted_once_and_not_computed(plan: Any, data: Any) -> None:
    runs = plan(targets=["dots", "plain"], fast=False, freeze_features=True, views=3)
    cost = measure(runs[0].config, data, QUIET)
    found = estimate(runs, data, QUIET)
    assert cost.features > 0
    assert found.feature_bytes == len(data) * (1 + 3) * cost.feature
    assert not [path for path in cache_folder().rglob("*.npy") if path.name != "probe.npy"]


def test_what_cannot_be_timed_is_said(plan: Any, data: Any) -> None:
    runs = plan(**RUN, size=1)
    found = estimate(runs, data, QUIET)
    assert found.unknown
    assert any("not estimated: aggregate (small)" in line for line in lines(found, None, 1))
