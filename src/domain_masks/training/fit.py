"""The training loop: epochs of steps, validation on the sources, the best epoch, and a checkpoint after each epoch."""

from __future__ import annotations

import time
from collections.abc import Mapping

from domain_masks.methods.tensor_files import load_tensors
from domain_masks.progress import Reporter
from domain_masks.records.counts import duration
from domain_masks.records.metrics_log import EPOCH, LOSS, VALIDATION_ACCURACY, MetricsLog
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.callbacks import Callbacks, EpochEnd, TrainStart
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.checkpoints import best_checkpoint
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.epoch_loop import EpochLoop, Measured
from domain_masks.training.epoch_means import LOSS_TERM
from domain_masks.training.experiment import Experiment
from domain_masks.training.launching import on_main_process
from domain_masks.training.live_numbers import LiveNumbers
from domain_masks.training.phases import planned_epochs
from domain_masks.training.planned_length import note_on_length
from domain_masks.training.run_logs import RunLogs
from domain_masks.training.run_progress import Progress
from domain_masks.training.signals import Interruption
from domain_masks.training.state import RunState
from domain_masks.training.tensorboard import TensorBoardWriter
from domain_masks.training.weight_average import describe_average

FAST_BATCHES = 2
_MOST_SOURCES = 6
"""Sources whose validation accuracy is shown after every epoch."""


def fit(
    experiment: Experiment,
    folder: RunFolder,
    checkpoint: CheckpointState | None,
    started: float,
    callbacks: Callbacks,
    logs: RunLogs,
) -> Progress:
    """Train the method and leave ``last.ckpt`` and ``best.ckpt`` in the run folder.

    The method then has the best weights, on the first process alone.

    - ``checkpoint``: where to resume; None starts the training
    - ``started``: when the run was started, in seconds of the monotonic clock
    - ``callbacks``: called at the start and after every epoch, which they may make the last one
    - ``logs``: services that every epoch is logged to, on the first process

    Where weights are averaged, the average is validated, selected and saved in ``best.ckpt``; ``last.ckpt`` holds both.

    The best epoch is the first with the highest mean over source domains of the validation accuracy, among those of the last
    phase that selects. A checkpoint is written after each epoch, within an epoch every ``config.checkpoint_every`` seconds, and
    when a signal asks the run to end, which is then re-raised (Ctrl-C raises KeyboardInterrupt).

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
    board = _board(experiment, folder, log, progress.epochs_done, logs)
    with Interruption(fabric) as interruption:
        began = time.monotonic() - progress.seconds
        _announce(engine, checkpoint, reporter)
        callbacks.train_start(fabric, TrainStart(folder, config, epochs, progress.epochs_done, method))
        live = LiveNumbers(reporter, epochs * steps, progress.epochs_done * steps + progress.batches_done)
        loop = EpochLoop(method, sources, engine, state, interruption, reporter, began, live)
        # Checked before each epoch: a run that was complete when it was interrupted must not train further when resumed.
        while progress.epochs_done < epochs and not progress.reason_to_stop(config):
            try:
                means, images_per_second = loop.train(progress)
                measured = loop.measure(progress)
            except RuntimeError:
                if interruption.received is None:
                    raise
                # The signal went to the whole process group and ended the workers that read images.
                reporter.say(f"interrupted in epoch {progress.epochs_done + 1}. {state.kept}")
                interruption.reraise_signal()
                raise
            accuracy = sum(measured.accuracies.values()) / len(measured.accuracies)
            # The first process's, as all have to stop after the same epoch where --max_time is over.
            progress.seconds = fabric.broadcast(time.monotonic() - began)
            in_last_phase = engine.phase_steps.stop == epochs * steps
            progress.average_has_ended = in_last_phase and engine.average is not None and engine.average.has_ended
            improved = progress.finish_epoch(accuracy, engine.phases, measured.average, measured.choice)
            epoch = progress.epochs_done
            row = _row(engine, epoch, means, measured, progress)
            # The row before the checkpoint: a resumed run drops surplus rows, but could not restore a missing one.
            timed = row if images_per_second is None else {**row, "images_per_second": images_per_second}
            state.log(log, timed)
            if board is not None:
                board.add(row)
            logs.add(timed)
            state.save(progress, improved)
            times = _times(
                images_per_second, experiment.provenance.preparation + progress.seconds, live.left(epoch * steps)
            )
            reporter.say(f"{_epoch_line(progress, epochs, float(row[LOSS]), measured.accuracies)}  {times}")
            ended = EpochEnd(epoch, epochs, timed, improved, method, folder)
            _stop_if_any(callbacks.epoch_end(fabric, ended), progress, state, reporter)
            if reason := progress.reason_to_stop(config):
                reporter.say(f"stopped after epoch {epoch}: {reason}")
            loop.checkpoint_if_due(progress, saved=True)
    if board is not None:
        board.close()
    on_main_process(fabric, lambda: load_tensors(method, best_checkpoint(folder, progress, method)["method"]))
    return progress


def _times(images_per_second: float | None, taken: float, left: float | None) -> str:
    """Return speed, and seconds taken and left; without those that an epoch that was trained before does not show."""
    speed = "" if images_per_second is None else f"{images_per_second:.0f} images/s  "
    remaining = f", {duration(left)} left" if left else ""
    return f"{speed}{taken:.1f} s so far{remaining}"


def _announce(engine: TrainingEngine, checkpoint: CheckpointState | None, reporter: Reporter) -> None:
    """Say what other planned epochs than before mean for a resumed run, and of which steps the model is an average."""
    if checkpoint is not None and (
        line := note_on_length(engine.config, engine.method, checkpoint, engine.steps_per_epoch)
    ):
        reporter.say(line)
    if engine.average is not None:
        each = " of each phase" if len(engine.phases.phases) > 1 else ""
        steps = len(engine.phase_steps)
        reporter.say(f"the model is an average of the weights{each}: {describe_average(engine.config, steps)}")


def _stop_if_any(stopping: str, progress: Progress, state: RunState, reporter: Reporter) -> None:
    """Make the epoch that has ended the last one, also of a run that is resumed from here, where a callback says so."""
    if not stopping:
        return
    if not progress.has_reached_the_deciding_phase(state.method):
        reporter.say(
            f"callback {stopping} does not stop the run: the model is taken from a later phase, or a later average"
        )
        return
    progress.stopped_by = stopping
    state.save(progress)


def _epoch_line(progress: Progress, epochs: int, loss: float, accuracies: Mapping[str, float]) -> str:
    """Return what an epoch brought: its loss, the validation accuracy with that of each source, and the best epoch so far."""
    epoch, best = progress.epochs_done, progress.best_epoch
    marked = " (best)"
    if best != epoch:
        marked = "" if best is None else f" (best {100 * progress.best_accuracy:.2f} in epoch {best})"
    of_each = "  ".join(f"{name} {100 * accuracy:.1f}" for name, accuracy in accuracies.items())
    sources = f": {of_each}" if 1 < len(accuracies) <= _MOST_SOURCES else ""
    return (
        f"epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {loss:.4f}  "
        f"validation {100 * progress.history[-1]:6.2f} %{marked}{sources}"
    )


def _board(
    experiment: Experiment, folder: RunFolder, log: MetricsLog, epochs_done: int, logs: RunLogs
) -> TensorBoardWriter | None:
    """Drop the epochs that are trained again from ``log``, and give the others to ``logs``; returns TensorBoard's writer."""
    if not experiment.fabric.is_global_zero:
        return None
    counted_from_zero = log.truncate(epochs_done)
    logs.catch_up(log.read())
    if "tensorboard" not in experiment.config.logger:
        return None
    # Events of a run that counted its epochs from 0 are hidden, and written again counted from 1.
    board = TensorBoardWriter(folder.tensorboard, 0 if counted_from_zero else epochs_done + 1, experiment.reporter)
    for row in log.read() if counted_from_zero else ():
        board.add(row)
    return board


def _row(
    engine: TrainingEngine, epoch: int, means: dict[str, float], measured: Measured, progress: Progress
) -> dict[str, float]:
    row: dict[str, float] = {EPOCH: epoch, "step": engine.global_step + 1}
    row |= {f"lr/{name}": rate for name, rate in engine.rates.items()}
    row |= {LOSS: sum(value for name, value in means.items() if name.startswith(LOSS_TERM))} | means
    row |= {VALIDATION_ACCURACY: progress.history[-1]}
    row |= {f"{VALIDATION_ACCURACY}/{name}": value for name, value in measured.accuracies.items()}
    return row | measured.masks | {"seconds": progress.seconds}
