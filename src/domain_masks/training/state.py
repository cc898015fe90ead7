"""The whole state of a run at one moment, saved as ``last.ckpt`` and ``best.ckpt``, and restored."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from domain_masks.errors import DivergedError, RunFolderError
from domain_masks.methods import Method
from domain_masks.methods.extra_state import check_extra_state, tensors_in
from domain_masks.processes import stacked
from domain_masks.records.config import RunConfig
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.checkpoint_state import MEASURED, CheckpointState, unfit
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.conditions import Conditions, add_part, conditions
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import on_main_process
from domain_masks.training.provenance import KEY, Provenance
from domain_masks.training.run_progress import Progress, plan_of


class RunState:
    """Saves and restores everything that a run needs to be resumed bit for bit: weights, optimisers, position in the data.

    Random numbers and the order of the data need no state: both are keyed by the seed and the position. ``learner`` is the
    engine, or only Fabric for a method that is fitted without one.
    """

    def __init__(
        self,
        method: Method,
        learner: TrainingEngine | Fabric,
        config: RunConfig,
        folder: RunFolder,
        provenance: Provenance,
    ) -> None:
        self.engine = learner if isinstance(learner, TrainingEngine) else None
        self.fabric = learner.fabric if isinstance(learner, TrainingEngine) else learner
        self.provenance = provenance
        self.parts: list[Conditions] = [conditions(self.fabric)]
        self.method = method
        self.config = config
        self.folder = folder
        self._infinite = infinite_buffers(method) if provenance.not_finite is None else provenance.not_finite
        self._saved: str | None = None
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the time between two checkpoints within an epoch is over."""
        return time.monotonic() - self._saved_at >= self.config.checkpoint_every

    def save(self, progress: Progress, best: bool = False) -> None:
        """Write ``last.ckpt``, and ``best.ckpt`` where the epoch that just ended is the best; all processes call it together.

        The best weights are those that were validated: where weights are averaged, the average.

        Raises DivergedError where a loss or a weight is not finite, RunFolderError where the files cannot be written; what was
        saved before is still there.
        """
        if self.engine is not None:
            with self.saying_what_is_kept():
                self.engine.refuse_divergence()
        self._refuse_broken_weights(progress)
        check_extra_state(self.method)
        weights, engine = self._weights(), {} if self.engine is None else self.engine.state_dict()
        average = None if self.engine is None else self.engine.average
        measured = None if average is None else average.measured
        # Within an epoch the running statistics of batch norm differ between processes.
        buffers = None
        if progress.batches_done and self.fabric.world_size > 1:
            buffers = {name: stacked(buffer) for name, buffer in self.method.named_buffers()}

        def write() -> None:
            self._check_folder()
            state = {
                "method": weights,
                "buffers": buffers,
                "engine": engine,
                "progress": progress.to_dict(),
                "config": self.config.model_dump(mode="json"),
                KEY: self.provenance.to_dict(),
                "conditions": self.parts,
                **({MEASURED: measured} if best and measured is not None else {}),
            }
            # In this order, as best.ckpt can be restored from the last.ckpt of the same epoch.
            save_checkpoint(self.folder.last, state)
            if best:
                self._save_best(weights if measured is None else measured, progress)

        self._write_or_fail_together(write)
        self._saved = progress.place
        self._saved_at = time.monotonic()

    def _weights(self) -> Mapping[str, Any]:
        """Return the weights that training continues with, also while the method holds their average."""
        average = None if self.engine is None else self.engine.average
        return self.method.state_dict() if average is None or average.training_state is None else average.training_state

    def log(self, log: MetricsLog, row: Mapping[str, float | int | str]) -> None:
        """Add a row to ``metrics.csv``; raises RunFolderError that names the last checkpoint where it cannot be written.

        All processes call it together; the first one writes.
        """

        def write() -> None:
            self._check_folder()
            log.append(row)

        self._write_or_fail_together(write)

    def _write_or_fail_together(self, write: Callable[[], None]) -> None:
        try:
            on_main_process(self.fabric, write)
        except RunFolderError as error:
            raise type(error)(f"{error}. {self.kept}") from error

    def restore(self, checkpoint: CheckpointState | None) -> Progress:
        """Restore the state of a checkpoint, whose weights the method has already; return a fresh state where there is none.

        Raises RunFolderError for a checkpoint that does not fit its own settings.
        """
        engine = self.engine
        if engine is None:
            raise ValueError("expected an engine to resume with, got none")
        if checkpoint is None:
            return Progress(phase_starts=list(engine.phases.starts))
        progress = checkpoint.progress
        engine.phases = plan_of(progress, checkpoint.epochs, self.method, engine.epochs)
        progress.phase_starts = list(engine.phases.starts)
        try:
            self._restore_buffers(checkpoint.buffers)
            engine.load_state_dict(checkpoint.engine, progress.epochs_begun)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise unfit(self.folder, error) from error
        self.parts = add_part(checkpoint.parts, self.parts[-1])
        self._saved = progress.place
        if progress.epochs_done and progress.best_epoch == progress.epochs_done and not progress.batches_done:
            best = checkpoint.method if checkpoint.measured is None else checkpoint.measured
            on_main_process(self.fabric, lambda: self._restore_best(best, progress))
        return progress

    def _save_best(self, weights: Mapping[str, Any], progress: Progress) -> None:
        save_checkpoint(self.folder.best, {"method": weights, "epoch": progress.best_epoch})

    def _restore_best(self, weights: Mapping[str, Any], progress: Progress) -> None:
        """Write ``best.ckpt`` where the run ended between the two checkpoints."""
        try:
            if load_checkpoint(self.folder.best).get("epoch") == progress.best_epoch:
                return
        except RunFolderError:
            pass
        self._save_best(weights, progress)

    def _refuse_broken_weights(self, progress: Progress) -> None:
        broken = [
            name for name, kinds in _not_finite(self.method).items() if not {*kinds} <= {*self._infinite.get(name, ())}
        ]
        if broken:
            named = f"{', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''}"
            advice = "Try a lower --lr, --clip 1, or --precision 32"
            if progress.is_fitted:
                advice = "Check how the method handles a class or a domain with few images"
            raise DivergedError(
                f"the weights became NaN or infinite before {progress.place} ({named}). {self.kept} {advice}"
            )

    @contextmanager
    def saying_what_is_kept(self) -> Iterator[None]:
        """Add to a DivergedError of the block which checkpoint there is to resume from."""
        try:
            yield
        except DivergedError as error:
            raise DivergedError(f"{error} {self.kept}") from error

    @property
    def kept(self) -> str:
        """A sentence on the checkpoint that the run can be resumed from."""
        if self._saved is None:
            return "No checkpoint had been written before."
        return f"The checkpoint of {self._saved} is whole: {self.folder.last}. Resume from it with --resume."

    def _check_folder(self) -> None:
        if not self.folder.path.is_dir():
            # Created again, it would hold half a run, or lie below the mount point of an unmounted disk.
            raise RunFolderError(f"the run folder {self.folder.path} has vanished: expected it to stay where it is")

    def _restore_buffers(self, buffers: Mapping[str, Tensor] | None) -> None:
        """Restore each process's running statistics, where there are as many processes as before."""
        if not buffers or next(iter(buffers.values())).shape[0] != self.fabric.world_size:
            return
        for name, buffer in self.method.named_buffers():
            buffer.copy_(buffers[name][self.fabric.global_rank])


def infinite_buffers(method: Method) -> dict[str, list[str]]:
    """Return the buffers that hold infinity or NaN, and which of these values.

    A buffer of a new method may hold them, such as a running minimum without a value; it is broken where training puts them
    in. Parameters may never hold them.
    """
    return {name: kinds for name, kinds in _not_finite(method).items() if name not in dict(method.named_parameters())}


def _not_finite(method: Method) -> dict[str, list[str]]:
    by_name = {}
    for name, value in tensors_in(method.state_dict()).items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            kinds = {"inf": torch.isposinf(value), "-inf": torch.isneginf(value), "nan": torch.isnan(value)}
            by_name[name] = [kind for kind, where in kinds.items() if bool(where.any())]
    return by_name
