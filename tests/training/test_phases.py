"""Phases: their epochs, the one that the model comes from, and that a resumed run never returns to an earlier one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import generated
from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods import Phase
from domain_masks.training import evaluate, run
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.phases import PhasePlan, phases_of, plan_phases
from domain_masks.training.run_progress import Progress, read_progress
from methods.contract import of
from training import other_methods
from training.other_methods import TwoPhases


class Silent:
    """Says nothing; ends the run, as Ctrl-C would, after an epoch if told to."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.stop_at = stop_at

    def say(self, line: str) -> None:
        if self.stop_at is not None and line.startswith(self.stop_at):
            raise KeyboardInterrupt

    def track(self, items: Iterable[Any], _total: int, _what: str) -> Iterator[Any]:
        yield from items


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(10)


@pytest.fixture(autouse=True)
def methods() -> Iterator[None]:
    TwoPhases.seen.clear()
    with other_methods.registered(TwoPhases):
        yield


def plan(shares: list[float], epochs: int, **options: Any) -> tuple[int, ...]:
    kind = type("Planned", (TwoPhases,), {"kinds": tuple(Phase(str(share), share) for share in shares)})
    return plan_phases(of(kind), epochs, **options).starts


@pytest.mark.parametrize(
    ("shares", "epochs", "starts"),
    [
        ([1.0], 1, (0,)),
        ([0.3, 0.7], 10, (0, 3)),
        ([0.5, 0.5], 5, (0, 2)),
        ([0.1, 0.9], 2, (0, 1)),
        ([0.9, 0.1], 2, (0, 1)),
        ([0.9, 0.05, 0.05], 3, (0, 1, 2)),
        ([0.9, 0.05, 0.05], 10, (0, 8, 9)),
        ([1 / 3, 1 / 3, 1 / 3], 3, (0, 1, 2)),
        ([0.1, 0.2, 0.7], 10, (0, 1, 3)),
    ],
)
def test_every_phase_has_an_epoch(shares: list[float], epochs: int, starts: tuple[int, ...]) -> None:
    assert plan(shares, epochs) == starts


@pytest.mark.parametrize(
    ("started", "epochs", "starts"),
    [
        (4, 8, (0, 2)),  # the second has started: it stays where it was
        (3, 8, (0, 2)),
        (2, 8, (0, 4)),  # it has not: it is moved as in a run of 8 epochs
        (1, 8, (0, 4)),
        (2, 3, (0, 2)),  # and it never begins before what is done
    ],
)
def test_phases_never_go_back_with_more_epochs(started: int, epochs: int, starts: tuple[int, ...]) -> None:
    assert plan([0.5, 0.5], 4) == (0, 2)
    assert plan([0.5, 0.5], epochs, started=started, before=(0, 2)) == starts


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(InputError, match=r"epochs: .* 2 phases .*expected 2 or more, got 1"):
        plan([0.5, 0.5], 1)
    with pytest.raises(InputError, match=r"expected 5 or more, as 4 have started, got 4"):
        plan([0.5, 0.5], 4, started=4, before=(0, 4))


@pytest.mark.parametrize(
    "kinds",
    [
        (),
        (Phase("a", 0.5),),
        (Phase("a", 1.5), Phase("b", -0.5)),
        (Phase("a", 0.5), Phase("b", 0.6)),
        (Phase("a", 0.5, selects=False), Phase("b", 0.5, selects=False)),
    ],
)
def test_phases_that_cannot_be_are_refused(kinds: tuple[Phase, ...]) -> None:
    with pytest.raises(InputError, match="phases of method 'two_phases': expected"):
        phases_of(of(type("Odd", (TwoPhases,), {"kinds": kinds})))


def followed(accuracies: list[float], phases: PhasePlan, patience: int | None = None) -> tuple[Progress, int]:
    """Return the progress after epochs of such accuracies, and after how many it was to stop."""
    progress, config = Progress(), generated.config(epochs=phases.epochs, patience=patience)
    for accuracy in accuracies:
        progress.finish_epoch(accuracy, phases)
        if progress.reason_to_stop(config):
            break
    return progress, progress.epochs_done


def test_the_best_epoch_is_of_the_last_phase_that_selects() -> None:
    two = PhasePlan((Phase("a", 0.5), Phase("b", 0.5)), (0, 2), 4)
    assert followed([0.9, 0.95, 0.1, 0.2], two)[0].best_epoch == 4
    assert followed([0.9, 0.95], two)[0].best_epoch == 2
    prepared = PhasePlan((Phase("a", 0.5, selects=False), Phase("b", 0.5)), (0, 2), 4)
    assert followed([0.9, 0.95], prepared)[0].best_epoch is None
    assert followed([0.9, 0.95, 0.3, 0.2], prepared)[0].best_epoch == 3
    followed_by = PhasePlan((Phase("a", 0.5), Phase("b", 0.5, selects=False)), (0, 2), 4)
    progress, _ = followed([0.5, 0.6, 0.99, 0.99], followed_by)
    assert (progress.best_epoch, progress.best_accuracy) == (2, 0.6)


def test_patience_counts_in_the_phase_that_the_model_is_of() -> None:
    two = PhasePlan((Phase("a", 0.5), Phase("b", 0.5)), (0, 4), 8)
    assert followed([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.3, 0.4], two, patience=1)[1] == 8
    assert followed([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1], two, patience=2)[1] == 7
    tail = PhasePlan((Phase("a", 0.5), Phase("b", 0.5, selects=False)), (0, 4), 8)
    assert followed([0.1, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1, 0.1], tail, patience=1)[1] == 8
    assert followed([0.5, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1], tail, patience=2)[1] == 3


def test_a_phase_that_begins_anew_is_not_beaten_by_the_one_before(data: Any, tmp_path: Path) -> None:
    done = run(
        generated.config(method="two_phases", epochs=4, patience=1), tmp_path / "run", dataset=data, reporter=Silent()
    )
    assert done.results.best_epoch is not None
    assert done.results.best_epoch > 2
    best = load_checkpoint(done.folder.best)
    assert best["epoch"] == done.results.best_epoch
    assert bool(best["method"]["begun_again"])


def test_a_smoke_run_gives_each_phase_an_epoch(data: Any, tmp_path: Path) -> None:
    done = run(generated.config(method="two_phases", fast=True), tmp_path / "run", dataset=data, reporter=Silent())
    assert TwoPhases.seen == ["0:first", "0:first", "1:second", "1:second"]
    assert done.results.epochs_run == 2
    assert evaluate(done.folder.path, Silent(), dataset=data).results.epochs_run == 2


def test_fewer_epochs_than_phases_leave_no_folder(data: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 phases \(first, second\)"):
        run(generated.config(method="two_phases", epochs=1), tmp_path / "run", dataset=data, reporter=Silent())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("older", [False, True], ids=["of today", "older"])
def test_more_epochs_go_on_in_the_phase_that_runs(data: Any, tmp_path: Path, older: bool) -> None:
    settings = generated.config(method="two_phases", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent("epoch 3"))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    if older:
        state = load_checkpoint(last)
        for name in ("phase_starts", "patience_from", "is_fitted"):
            del state["progress"][name]
        for name in ("waiting", "processes", "phase", "weighted"):
            del state["engine"][name]
        save_checkpoint(last, state)
    TwoPhases.seen.clear()
    longer = settings.model_copy(update={"epochs": 7})
    done = run(longer, tmp_path / "run", resume=True, dataset=data, reporter=Silent())
    assert {place.partition(":")[2] for place in TwoPhases.seen} == {"second"}
    assert done.results.epochs_run == 7
    assert load_checkpoint(last)["progress"]["phase_starts"] == [0, 2]


def test_fewer_epochs_that_leave_a_phase_out_change_nothing(data: Any, tmp_path: Path) -> None:
    settings = generated.config(method="two_phases", epochs=6)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent("epoch 3"))
    before = (tmp_path / "run" / "config.yaml").read_text()
    with pytest.raises(InputError, match="expected 4 or more, as 3 have started, got 3"):
        run(
            settings.model_copy(update={"epochs": 3}),
            tmp_path / "run",
            resume=True,
            dataset=data,
            reporter=Silent(),
        )
    assert (tmp_path / "run" / "config.yaml").read_text() == before


@pytest.mark.parametrize("stop", ["epoch 1", "epoch 2"])
def test_interrupted_phases_end_bit_for_bit_alike(data: Any, tmp_path: Path, stop: str) -> None:
    settings = generated.config(method="two_phases", epochs=3, optimizer="sgd", lr=0.05)
    whole = run(settings, tmp_path / "whole", dataset=data, reporter=Silent())
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent(stop))
    resumed = run(settings, tmp_path / "run", resume=True, dataset=data, reporter=Silent())
    assert resumed.folder.model.read_bytes() == whole.folder.model.read_bytes()
    assert resumed.results.best_epoch == whole.results.best_epoch


def test_no_epoch_to_choose_yet_is_said(data: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = (Phase("first", 0.5, selects=False), Phase("second", 0.5))
    monkeypatch.setattr(TwoPhases, "kinds", kinds)
    settings = generated.config(method="two_phases", epochs=4)
    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent("epoch 1"))
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    with pytest.raises(RunFolderError, match="no epoch yet that the model could be of"):
        evaluate(tmp_path / "run", Silent(), dataset=data)
    assert run(settings, tmp_path / "run", resume=True, dataset=data, reporter=Silent()).results.best_epoch > 2


@pytest.mark.parametrize("fresh", [False, True])
def test_a_phase_can_begin_with_fresh_optimisers(fresh: bool) -> None:
    kinds = (Phase("first", 0.5), Phase("second", 0.5, fresh_optimizers=fresh))
    method, config = of(type("Fresh", (TwoPhases,), {"kinds": kinds})), generated.config(optimizer="sgd", lr=0.1)
    engine = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=2)

    def step(epoch: int, index: int) -> bool:
        engine.begin(epoch, index)
        for parameter in method.parameters():
            parameter.grad = torch.ones_like(parameter)
        before = next(method.parameters()).detach().clone()
        engine.update()
        # The second step in a row goes further by what the momentum remembers.
        return bool((before - next(method.parameters())).max() > 0.15)

    assert [step(0, 0), step(0, 1)] == [False, True]
    assert [step(1, 0), step(1, 1)] == ([False, True] if fresh else [True, True])
    again = TrainingEngine(launch(config), method, config, epochs=2, steps_per_epoch=2)
    again.load_state_dict(engine.state_dict(), epochs_begun=2)
    engine = again
    assert step(1, 1)


def test_older_progress_is_read() -> None:
    old = {"epochs_done": 2, "batches_done": 3, "sums": {"classification": 6.0}, "rows": 12, "best_epoch": 1}
    progress = read_progress(old)
    assert progress.totals["loss/classification"].mean == 0.5
    assert read_progress(progress.to_dict()) == progress


def test_a_run_that_time_ends_before_the_models_phase_is_not_finished(data: Any, tmp_path: Path) -> None:
    settings = generated.config(method="two_phases", epochs=4, max_time="0.001s")
    with pytest.raises(RunFolderError, match=r"no epoch yet that the model could be of.*--max_time"):
        run(settings, tmp_path / "run", dataset=data, reporter=Silent())
    assert not (tmp_path / "run" / "results.json").exists()
    more = settings.model_copy(update={"max_time": None})
    assert run(more, tmp_path / "run", resume=True, dataset=data, reporter=Silent()).results.best_epoch > 2
