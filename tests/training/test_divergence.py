"""Losses that are not finite: read at once on a CPU, and some steps later on an accelerator; never saved."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError
from domain_masks.methods import METHODS as METHOD_CLASSES
from domain_masks.methods.aggregate import Aggregate
from domain_masks.progress import ConsoleReporter
from domain_masks.training import engine, run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.divergence import READ_EVERY, DivergenceWatch, interval_on

IDS = tuple(f"image {number}" for number in range(200))
QUIET = ConsoleReporter(quiet=True)


def alone(here: bool) -> bool:
    return here


def note(watch: DivergenceWatch, step: int, value: float, **options: Any) -> None:
    watch.note(torch.tensor(value), torch.tensor([step, step + 1]), f"step {step}", **options)


def test_a_cpu_is_asked_at_once_and_an_accelerator_seldom() -> None:
    assert interval_on(torch.device("cpu")) == 1
    assert interval_on(torch.device("cuda")) == READ_EVERY > 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_the_first_bad_number_is_named_when_its_time_has_come(value: float) -> None:
    watch = DivergenceWatch(IDS, alone, interval=5)
    for step in range(4):
        note(watch, step, 1.0 if step < 2 else value)
    with pytest.raises(
        DivergedError, match=r"the loss is -?(nan|inf) at step 2, whose images are image 2, image 3\. Look"
    ):
        note(watch, 4, 1.0)
    note(watch, 5, 1.0)
    watch.read()


def test_at_once_means_before_any_weight_is_changed() -> None:
    with pytest.raises(DivergedError, match=r"image 7, image 8\. No weight was changed\. Look"):
        note(DivergenceWatch(IDS, alone), 7, math.nan)


def test_a_limit_has_a_message_of_its_own() -> None:
    watch = DivergenceWatch(IDS, alone, interval=9)
    note(watch, 0, 2.0, limit=2.0, advice=str)
    watch.read()
    note(watch, 1, 2.5, limit=2.0, advice="too large: {:.1f}".format)
    with pytest.raises(DivergedError, match=r"^too large: 2\.5$"):
        watch.read()


def test_other_processes_are_told() -> None:
    watch = DivergenceWatch(IDS, lambda here: True, interval=9)
    watch.read()
    note(watch, 3, 1.0)
    with pytest.raises(DivergedError, match="the loss became NaN or infinite at step 3 on another process"):
        watch.read()


class Poisoned(Aggregate):
    """Its tenth batch has an image that is not a number."""

    def training_loss(self, batch: DomainBatch) -> dict[str, torch.Tensor]:
        if batch.random is not None and batch.random.step == 9:
            batch.images[3] = torch.nan
        return super().training_loss(batch)


@pytest.mark.parametrize("every", [1e-9, 600.0])
def test_nothing_is_saved_of_a_run_whose_losses_are_read_late(
    every: float, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METHOD_CLASSES, "aggregate", Poisoned)
    monkeypatch.setattr(engine, "interval_on", lambda device: READ_EVERY)
    data = generated.dataset()
    config = generated.config(method="aggregate", epochs=3, checkpoint_every=every)
    with pytest.raises(
        DivergedError, match=r"the loss is nan at step 10 \(batch \d of epoch 2\), whose images"
    ) as caught:
        run(config, tmp_path / "r", dataset=data, reporter=QUIET)
    assert "is whole" in str(caught.value)
    kept = load_checkpoint(tmp_path / "r" / "checkpoints" / "last.ckpt")
    assert all(torch.isfinite(value).all() for value in kept["method"].values() if torch.is_tensor(value))
    assert kept["progress"]["epochs_done"] == 1
    assert (kept["progress"]["batches_done"] == 0) == (every == 600)


def test_a_gradient_without_a_norm_stops_the_run_too(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Steep(Aggregate):
        """A finite loss with an infinite gradient."""

        def training_loss(self, batch: DomainBatch) -> dict[str, torch.Tensor]:
            terms = super().training_loss(batch)
            zero = (terms["classification"] * 0).sqrt()
            return {"classification": terms["classification"], "steep": zero}

    monkeypatch.setitem(METHOD_CLASSES, "aggregate", Steep)
    with pytest.raises(DivergedError, match=r"the norm of the gradient is nan at step 1 .*No weight was changed"):
        run(generated.config(method="aggregate", clip=1.0), tmp_path / "r", dataset=generated.dataset(), reporter=QUIET)
