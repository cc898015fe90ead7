"""One epoch's training and validation, which can be interrupted and resumed between any two batches."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.masks import mask_statistics
from domain_masks.methods import Method
from domain_masks.progress import Reporter
from domain_masks.records.metrics_log import mask_columns
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.epoch_means import LOGGED, LOSS_TERM, EpochMeans
from domain_masks.training.global_batch import gather_names, global_batch_step
from domain_masks.training.live_numbers import LiveNumbers
from domain_masks.training.reestimation import reestimate
from domain_masks.training.run_progress import EpochChoice, Progress
from domain_masks.training.signals import Interruption
from domain_masks.training.sources import Sources
from domain_masks.training.state import RunState


@dataclass(frozen=True)
class Measured:
    """The validation of an epoch's final weights, or of their average.

    - ``accuracies``: source -> accuracy; ``masks``: columns of ``metrics.csv``
    - ``average``: what the weights are an average of; None where they are none
    """

    accuracies: dict[str, float]
    masks: dict[str, float]
    average: dict[str, Any] | None = None
    choice: EpochChoice = "best"


@dataclass(frozen=True)
class EpochLoop:
    """One epoch's training and validation, which can be interrupted and resumed between any two batches."""

    method: Method
    sources: Sources
    engine: TrainingEngine
    state: RunState
    interruption: Interruption
    reporter: Reporter
    began: float
    live: LiveNumbers
    uncut: set[str] = field(default_factory=set)
    reported: set[str] = field(default_factory=set)

    def train(self, progress: Progress) -> tuple[dict[str, float], float | None]:
        """Train on the remaining batches of the epoch; returns the means of logged numbers, and images per second.

        Terms of the loss are called ``loss/NAME``, other numbers ``log/NAME``. Images per second are None where an interrupted
        run had done all batches.
        """
        engine, fabric, epoch = self.engine, self.engine.fabric, progress.epochs_done
        if line := engine.frozen.describe(epoch):
            self.reporter.say(line)
        self.method.train()
        self.sources.train.set_epoch(epoch)
        self.sources.train.set_start(progress.batches_done)
        means = EpochMeans(fabric, progress.totals)
        # An epoch whose batches are all done has no further step that would record the position.
        engine.begin(epoch, max(0, progress.batches_done - 1))
        if progress.batches_done:
            self._close_segment_if_due(progress, means)
        self.live.begin_epoch()
        started, rows = time.monotonic(), 0
        left = engine.steps_per_epoch - progress.batches_done
        batches = self.reporter.track(self.sources.train, left, f"epoch {epoch + 1}/{engine.epochs}")
        for index, raw in enumerate(batches, progress.batches_done):
            if index == engine.steps_per_epoch:
                break
            batch = self.sources.prepare(raw)
            engine.begin(epoch, index, len(batch) if batch.random is None else batch.random.total)
            numbers = self._step(batch)
            for name, value in numbers.items():
                means.add(name, value, len(batch))
            rows += len(batch)
            terms = {name: value for name, value in numbers.items() if name.startswith(LOSS_TERM)}
            self.live.step(terms, engine.rates, len(batch) * fabric.world_size, engine.global_step)
            progress.batches_done = index + 1
            if engine.at_accumulation_boundary and index + 1 < engine.steps_per_epoch:
                self._close_segment_if_due(progress, means)
                self.checkpoint_if_due(progress, means)
        with self.state.saying_what_is_kept():
            engine.finish_epoch()
        self._close_segment_if_due(progress, means)
        self._report_separate_draws()
        progress.totals = means.totals()
        epoch_means = {name: total.mean for name, total in progress.totals.items()}
        return epoch_means, rows * fabric.world_size / (time.monotonic() - started) if rows else None

    def _report_separate_draws(self) -> None:
        names = gather_names(self.engine.fabric, self.uncut)
        self.uncut.clear()
        if new := [name for name in names if name not in self.reported]:
            self.reported.update(new)
            self.reporter.say(
                f"note: {', '.join(new)}: drawn separately by each process, as its tensors do not have the rows of the batch: "
                "the run depends on the number of processes"
            )

    def _step(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Take one training step; returns the terms of the loss, and the numbers that the method logged."""
        engine, fabric = self.engine, self.engine.fabric
        try:
            step = global_batch_step(fabric, engine.config, batch)
            with self.state.saying_what_is_kept(), engine.autocast(), step as uncut:
                terms = self.method.step(batch, engine)
            self.uncut.update(uncut)
        except InputError:
            raise
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                f"batch normalisation takes no statistics of {len(batch)} image on a map of one pixel: use a larger "
                "--batch or --size"
            ) from error
        logged = {f"{LOGGED}{name}": value for name, value in engine.logged.items()}
        return {f"{LOSS_TERM}{name}": term for name, term in terms.items()} | logged

    def measure(self, progress: Progress) -> Measured:
        """Validate the present weights, or their average with batch-norm statistics estimated again."""
        engine, average = self.engine, self.engine.average
        if average is None:
            return Measured(self.validate(progress)[0], _of_masks(self.method))
        if not average.has_started(engine.global_step, engine.phase_steps):
            return Measured(self.validate(progress)[0], _of_masks(self.method), choice="never")
        with average.in_place():
            images = reestimate(engine, self._first_batches(progress), self._within_a_step)
            accuracies, _ = self.validate(progress)
            average.measured = copy.deepcopy(self.method.state_dict())
            masks = _of_masks(self.method)
        summary = average.summary() | {"batch_norm_images": images}
        return Measured(accuracies, masks, summary, "newest" if engine.config.average == "swad" else "best")

    def _first_batches(self, progress: Progress) -> Iterator[DomainBatch]:
        """Yield the first training batches of the epoch again, as they were."""
        self.sources.train.set_epoch(progress.epochs_done)
        for raw, _ in zip(self.sources.train, range(self.engine.steps_per_epoch), strict=False):
            yield self.sources.prepare(raw)

    def _within_a_step(self, batch: DomainBatch, function: Callable[[], object]) -> None:
        engine = self.engine
        with engine.autocast(), global_batch_step(engine.fabric, engine.config, batch) as uncut:
            function()
        self.uncut.update(uncut)

    def _close_segment_if_due(self, progress: Progress, means: EpochMeans) -> None:
        """Close a segment of SWAD where it is due, with the validation loss of the present weights."""
        engine, average = self.engine, self.engine.average
        if average is not None and average.is_due(engine.global_step, engine.phase_steps):
            average.close_segment(self.validate(progress, means)[1], engine.global_step)

    def validate(self, progress: Progress, means: EpochMeans | None = None) -> tuple[dict[str, float], float]:
        """Return source -> accuracy on its validation images, and the mean over sources of their cross entropy.

        Both are computed from the predictions by which the method selects epochs.
        """
        method, fabric, names = self.method, self.engine.fabric, self.sources.names
        correct = torch.zeros(len(names), device=fabric.device)
        count, losses = torch.zeros_like(correct), torch.zeros_like(correct)
        training = method.training
        method.eval()
        with torch.inference_mode(), fabric.autocast():
            for raw in self.sources.validation():
                batch = self.sources.prepare(raw)
                if batch.labels is None or batch.domains is None:
                    raise ValueError("expected validation batches with labels and domains")
                logits = method.validation_logits(batch)
                hits = logits.argmax(-1).eq(batch.labels).to(correct.dtype)
                correct.index_add_(0, batch.domains, hits)
                entropy = functional.cross_entropy(logits.float(), batch.labels, reduction="none")
                losses.index_add_(0, batch.domains, entropy.to(losses.dtype))
                count.index_add_(0, batch.domains, torch.ones_like(hits))
                if fabric.world_size == 1:
                    self.checkpoint_if_due(progress, means)
        method.train(training)
        if fabric.world_size > 1:
            correct, count, losses = fabric.all_reduce((correct, count, losses), reduce_op="sum")
        # In double precision: rounded to single, equal means over domains of two epochs could differ.
        shares, seen = (correct.cpu().double() / count.cpu().clamp(min=1)).tolist(), count > 0
        accuracies = {
            name: share for name, share, has_images in zip(names, shares, seen.tolist(), strict=True) if has_images
        }
        return accuracies, float((losses[seen] / count[seen]).mean())

    def checkpoint_if_due(self, progress: Progress, means: EpochMeans | None = None, saved: bool = False) -> None:
        """Write a checkpoint within the epoch where a signal was received or one is due; then re-raise the signal."""
        interrupted, due = self.interruption.poll(self.state.is_due)
        if not interrupted and not due:
            return
        if not saved:
            progress.seconds = time.monotonic() - self.began
            if means is not None:
                progress.totals = means.totals()
            self.state.save(progress)
        if interrupted:
            self.reporter.say(f"interrupted at {progress.place}: {self.state.folder.last} is written")
            self.interruption.reraise_signal()


def _of_masks(method: Method) -> dict[str, float]:
    row: dict[str, float] = {}
    for site, logits in method.mask_logits().items():
        row |= mask_columns(site, mask_statistics(logits, method.context.sources))
    return row
