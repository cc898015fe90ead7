"""The training loop: epochs of steps, validation on the sources, the best epoch, and a checkpoint after each epoch."""

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
from domain_masks.errors import DivergedError, InputError
from domain_masks.masks import mask_statistics
from domain_masks.methods import Method
from domain_masks.methods.tensor_files import load_tensors
from domain_masks.progress import Reporter
from domain_masks.records.metrics_log import EPOCH, LOSS, VALIDATION_ACCURACY, MetricsLog, mask_columns
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.checkpoints import best_checkpoint
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.epoch_means import LOGGED, LOSS_TERM, EpochMeans
from domain_masks.training.experiment import Experiment
from domain_masks.training.global_batch import gather_names, global_batch_step
from domain_masks.training.phases import planned_epochs
from domain_masks.training.reestimation import reestimate
from domain_masks.training.run_progress import Choice, Progress
from domain_masks.training.signals import Interruption
from domain_masks.training.sources import Sources
from domain_masks.training.state import RunState
from domain_masks.training.tensorboard import TensorBoardWriter
from domain_masks.training.weight_average import describe_average

FAST_BATCHES = 2


def fit(experiment: Experiment, folder: RunFolder, checkpoint: CheckpointState | None, started: float) -> Progress:
    """Train the method and leave ``last.ckpt`` and ``best.ckpt`` in the run folder; the method has the best weights then.

    - ``checkpoint``: where to resume; None starts the training
    - ``started``: when the run was, in seconds of the monotonic clock

    Where weights are averaged, it is the average that is validated, chosen and kept in ``best.ckpt``; ``last.ckpt`` holds both.

    The best epoch is the first with the highest mean over source domains of the validation accuracy, among those of the last
    phase that selects. A checkpoint is written after each epoch, within an epoch every ``config.checkpoint_every`` seconds, and
    when a signal asks the run to end, which then does what it would have done at once (Ctrl-C raises KeyboardInterrupt).

    Raises DivergedError where the loss is NaN or infinite, RunFolderError where a checkpoint cannot be written; what was
    saved before is kept.
    """
    config, method, fabric, reporter = experiment.config, experiment.method, experiment.fabric, experiment.reporter
    sources = experiment.sources()
    # Images are verified and frozen features computed before the first step; a resumed run had done so before.
    experiment.note_preparation(time.monotonic() - started)
    epochs = planned_epochs(config, method)
    steps = min(FAST_BATCHES, len(sources.train)) if config.fast else len(sources.train)
    engine = TrainingEngine(fabric, method, config, epochs, steps, sources.ids)
    state = RunState(method, engine, config, folder, experiment.provenance)
    progress = state.restore(checkpoint)
    log = MetricsLog(folder.metrics)
    board = None
    if fabric.is_global_zero:
        counted_from_zero = log.truncate(progress.epochs_done)
        # Events of a run that counted its epochs from 0 are hidden, and written again counted from 1.
        board = TensorBoardWriter(folder.tensorboard, 0 if counted_from_zero else progress.epochs_done + 1, reporter)
        for row in log.read() if counted_from_zero else ():
            board.add(row)
    with Interruption(fabric) as interruption:
        began = time.monotonic() - progress.seconds
        if engine.average is not None:
            each = " of each phase" if len(engine.phases.phases) > 1 else ""
            reporter.say(
                f"the model is an average of the weights{each}: {describe_average(config, len(engine.phase_steps))}"
            )
        loop = _Loop(method, sources, engine, state, interruption, reporter, began)
        # At the head: a run that had come to its end before it was interrupted must not train on when it is resumed.
        while progress.epochs_done < epochs and not progress.reason_to_stop(config):
            try:
                means, images_per_second = loop.train(progress)
                measured = loop.measure(progress)
            except RuntimeError:
                if interruption.received is None:
                    raise
                # The signal went to the whole group and took the processes that read images along.
                reporter.say(f"interrupted in epoch {progress.epochs_done + 1}. {state.kept}")
                interruption.reraise_signal()
                raise
            accuracy = sum(measured.accuracies.values()) / len(measured.accuracies)
            progress.seconds = time.monotonic() - began
            in_last_phase = engine.phase_steps.stop == epochs * steps
            progress.average_has_ended = in_last_phase and engine.average is not None and engine.average.has_ended
            improved = progress.finish_epoch(accuracy, engine.phases, measured.average, measured.choice)
            epoch = progress.epochs_done
            row = _row(engine, epoch, means, measured, progress)
            # The row first: what is surplus is dropped by a resumed run, what is missing would stay so.
            state.log(log, {**row, "images_per_second": images_per_second})
            if board is not None:
                board.add(row)
            state.save(progress, improved)
            reporter.say(
                f"epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {row[LOSS]:.4f}  "
                f"validation {100 * accuracy:6.2f} %{' (best)' if improved else '       '}  "
                f"{progress.seconds + experiment.provenance.preparation:.1f} s so far"
            )
            if reason := progress.reason_to_stop(config):
                reporter.say(f"stopped after epoch {epoch}: {reason}")
            loop.checkpoint_if_due(progress, saved=True)
    if board is not None:
        board.close()
    load_tensors(method, best_checkpoint(folder, progress, method)["method"])
    return progress


@dataclass(frozen=True)
class _Measured:
    """What validation says of the weights that an epoch ends with, or of their average.

    - ``accuracies``: source -> accuracy; ``masks``: columns of ``metrics.csv``
    - ``average``: what the weights are an average of; None where they are none
    """

    accuracies: dict[str, float]
    masks: dict[str, float | int | str]
    average: dict[str, Any] | None = None
    choice: Choice = "best"


@dataclass(frozen=True)
class _Loop:
    """One epoch's training and validation, which can be left and entered again between any two batches."""

    method: Method
    sources: Sources
    engine: TrainingEngine
    state: RunState
    interruption: Interruption
    reporter: Reporter
    began: float
    uncut: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)

    def train(self, progress: Progress) -> tuple[dict[str, float], float]:
        """Learn from the rest of the running epoch; returns the means of what its steps gave, and images per second.

        The terms of the loss are called ``loss/NAME``, other numbers ``log/NAME``.
        """
        engine, fabric, epoch = self.engine, self.engine.fabric, progress.epochs_done
        self.method.train()
        self.sources.train.set_epoch(epoch)
        self.sources.train.set_start(progress.batches_done)
        means = EpochMeans(fabric, progress.totals)
        # An epoch whose batches are all done has no step that would say where it stands.
        engine.begin(epoch, max(0, progress.batches_done - 1))
        if progress.batches_done:
            self._look_for_valley(progress, means)
        begun, rows = time.monotonic(), 0
        left = engine.steps_per_epoch - progress.batches_done
        batches = self.reporter.track(self.sources.train, left, f"epoch {epoch + 1}")
        for index, raw in enumerate(batches, progress.batches_done):
            if index == engine.steps_per_epoch:
                break
            batch = self.sources.prepare(raw)
            engine.begin(epoch, index, len(batch) if batch.random is None else batch.random.total)
            for name, value in self._step(batch).items():
                means.add(name, value, len(batch))
            rows += len(batch)
            progress.batches_done = index + 1
            if engine.at_accumulation_boundary and index + 1 < engine.steps_per_epoch:
                self._look_for_valley(progress, means)
                self.checkpoint_if_due(progress, means)
        engine.finish_epoch()
        self._look_for_valley(progress, means)
        self._say_what_is_drawn_apart()
        progress.totals = means.totals()
        epoch_means = {name: total.mean for name, total in progress.totals.items()}
        return epoch_means, rows * fabric.world_size / (time.monotonic() - begun)

    def _say_what_is_drawn_apart(self) -> None:
        names = gather_names(self.engine.fabric, self.uncut)
        self.uncut.clear()
        if new := [name for name in names if name not in self.told]:
            self.told.update(new)
            self.reporter.say(
                f"note: {', '.join(new)}: drawn by each process for itself, for what has not the rows of the batch: the run is "
                "not that of another number of processes"
            )

    def _step(self, batch: DomainBatch) -> dict[str, Tensor]:
        """Let the method learn from one batch; returns the terms of its loss, and what it logged."""
        engine, fabric = self.engine, self.engine.fabric
        try:
            with fabric.autocast(), global_batch_step(fabric, engine.config, batch) as uncut:
                terms = self.method.step(batch, engine)
            self.uncut.update(uncut)
        except DivergedError as error:
            raise DivergedError(f"{error} {self.state.kept}") from error
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

    def measure(self, progress: Progress) -> _Measured:
        """Validate the weights as they are, or their average, for which batch norm takes its statistics anew."""
        engine, average = self.engine, self.engine.average
        if average is None:
            return _Measured(self.validate(progress)[0], _of_masks(self.method))
        if not average.has_begun(engine.global_step, engine.phase_steps):
            return _Measured(self.validate(progress)[0], _of_masks(self.method), choice="never")
        with average.in_place():
            images = reestimate(engine, self._first_batches(progress), self._as_a_step)
            accuracies, _ = self.validate(progress)
            average.measured = copy.deepcopy(self.method.state_dict())
            masks = _of_masks(self.method)
        summary = average.summary() | {"batch_norm_images": images}
        return _Measured(accuracies, masks, summary, "newest" if engine.config.average == "swad" else "best")

    def _first_batches(self, progress: Progress) -> Iterator[DomainBatch]:
        """Yield the first training batches of the epoch again, as they were."""
        self.sources.train.set_epoch(progress.epochs_done)
        for raw, _ in zip(self.sources.train, range(self.engine.steps_per_epoch), strict=False):
            yield self.sources.prepare(raw)

    def _as_a_step(self, batch: DomainBatch, function: Callable[[], object]) -> None:
        fabric = self.engine.fabric
        with fabric.autocast(), global_batch_step(fabric, self.engine.config, batch) as uncut:
            function()
        self.uncut.update(uncut)

    def _look_for_valley(self, progress: Progress, means: EpochMeans) -> None:
        """Close a segment of SWAD where it is time to, by the validation loss of the weights as they are."""
        engine, average = self.engine, self.engine.average
        if average is not None and average.is_due(engine.global_step, engine.phase_steps):
            average.close_segment(self.validate(progress, means)[1], engine.global_step)

    def validate(self, progress: Progress, means: EpochMeans | None = None) -> tuple[dict[str, float], float]:
        """Return source -> accuracy on its validation images, and the mean over sources of their cross entropy.

        Both by the predictions that the method chooses epochs with.
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
        shares, seen = (correct / count.clamp(min=1)).tolist(), count > 0
        accuracies = {name: share for name, share, one in zip(names, shares, seen.tolist(), strict=True) if one}
        return accuracies, float((losses[seen] / count[seen]).mean())

    def checkpoint_if_due(self, progress: Progress, means: EpochMeans | None = None, saved: bool = False) -> None:
        """Save the running epoch where a signal came or it is time to; then let the signal act."""
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


def _row(
    engine: TrainingEngine, epoch: int, means: dict[str, float], measured: _Measured, progress: Progress
) -> dict[str, float | int | str]:
    row: dict[str, float | int | str] = {EPOCH: epoch, "step": engine.global_step + 1}
    row |= {f"lr/{name}": rate for name, rate in engine.rates.items()}
    row |= {LOSS: sum(value for name, value in means.items() if name.startswith(LOSS_TERM))} | means
    row |= {VALIDATION_ACCURACY: progress.history[-1]}
    row |= {f"{VALIDATION_ACCURACY}/{name}": value for name, value in measured.accuracies.items()}
    return row | measured.masks | {"seconds": progress.seconds}


def _of_masks(method: Method) -> dict[str, float | int | str]:
    row: dict[str, float | int | str] = {}
    for site, logits in method.mask_logits().items():
        row |= mask_columns(site, mask_statistics(logits, method.context.sources))
    return row
