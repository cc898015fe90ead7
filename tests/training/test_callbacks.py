"""Callbacks see a run and may stop it; they change nothing that it computes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import domain_masks as dm
from domain_masks.errors import InputError
from domain_masks.records import MetricsLog
from domain_masks.training import Callback, EpochEnd, Run, TrainStart
from trees_of_images import clean

SETTINGS: dict[str, Any] = {
    "target": "sketch",
    "epochs": 2,
    "batch": 16,
    "size": 32,
    "backbone": "small",
    "weights": "none",
    "device": "cpu",
    "workers": 0,
    "quiet": True,
    "verify": False,
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return SETTINGS | {"dataset": clean(tmp_path_factory.mktemp("images"))}


class Meddler(Callback):
    """Draws from every global generator, sets modes, and leaves gradients."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_train_start(self, start: TrainStart) -> None:
        self._meddle()
        self.seen.append((start.epochs_done, start.epochs))

    def on_epoch_end(self, epoch: EpochEnd) -> None:
        self._meddle()
        assert not epoch.method.training
        epoch.method.train()
        assert not torch.is_grad_enabled()
        self.seen.append((epoch.epoch, epoch.metrics["validation_accuracy"], epoch.is_best))

    def on_train_end(self, run: Run) -> None:
        self._meddle()
        self.seen.append(run.folder.results.is_file())

    def _meddle(self) -> None:
        torch.manual_seed(7)
        np.random.seed(7)
        random.seed(7)


def test_a_run_with_callbacks_is_the_run_without_them(tmp_path: Path, settings: dict[str, Any]) -> None:
    meddler, losses = Meddler(), []
    plain = dm.train(**settings, out=tmp_path / "plain")
    states = np.random.get_state()[1].tolist(), random.getstate(), torch.get_rng_state()
    called = dm.train(
        **settings, out=tmp_path / "called", callbacks=[meddler, lambda epoch: losses.append(epoch.metrics["loss"])]
    )
    assert np.random.get_state()[1].tolist() == states[0]
    assert random.getstate() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    assert called.folder.model.read_bytes() == plain.folder.model.read_bytes()
    rows = MetricsLog(plain.folder.metrics).read()
    assert losses == [row["loss"] for row in rows]
    assert [entry[:2] for entry in meddler.seen[1:-1]] == [(row["epoch"], row["validation_accuracy"]) for row in rows]
    assert (meddler.seen[0], meddler.seen[-1]) == ((0, 2), True)


def test_a_callback_stops_the_run_for_good(tmp_path: Path, settings: dict[str, Any]) -> None:
    def early(epoch: EpochEnd) -> bool:
        return epoch.epoch == 1

    run = dm.train(**settings, out=tmp_path / "run", callbacks=early)
    assert run.results.epochs_run == 1
    assert "after epoch 1 by the callback early" in "".join(note.text for note in run.results.notes or ())
    # Interrupted while it was measured: it must not train further.
    run.folder.results.unlink()
    again = dm.train(out=tmp_path / "run", resume=True, quiet=True)
    assert again.results.epochs_run == 1


def test_an_exception_ends_the_run_which_can_be_resumed(tmp_path: Path, settings: dict[str, Any]) -> None:
    def broken(epoch: EpochEnd) -> None:
        raise KeyError(epoch.epoch)

    with pytest.raises(KeyError):
        dm.train(**settings, out=tmp_path / "run", callbacks=[broken])
    started = []

    class Start(Callback):
        def on_train_start(self, start: TrainStart) -> None:
            started.append(start.epochs_done)

    run = dm.train(out=tmp_path / "run", resume=True, quiet=True, callbacks=Start())
    assert (started, run.results.epochs_run) == ([1], 2)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (3, r"callbacks: expected functions of an epoch, or objects of a subclass of dm.training.Callback, got 3"),
        (Meddler, r"got the class Meddler: give an object, Meddler\(\)"),
        (
            type("Wrong", (Callback,), {"on_epoch_ends": print})(),
            r"Wrong.on_epoch_ends is never called: .*on_epoch_end\?",
        ),
    ],
)
def test_what_is_no_callback_is_one_message(
    tmp_path: Path, settings: dict[str, Any], callback: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        dm.train(**settings, out=tmp_path / "run", callbacks=[callback])
    assert not (tmp_path / "run").exists()
