"""The whole state of a run at one moment: what ``last.ckpt`` and ``best.ckpt`` hold, and how a run goes on from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from domain_masks.errors import DivergedError, RunFolderError
from domain_masks.methods import Method
from domain_masks.methods.build import complete_method
from domain_masks.records.config import NOT_COMPUTED, RunConfig
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.engine import TrainingEngine, on_main_process

REPEATABLE = {"epochs", "patience", "max_time", *NOT_COMPUTED}
"""Settings that a resumed run may change."""


@dataclass
class Progress:
    """How far a run is.

    - ``batches_done``: batches of the running epoch that have been learned from
    - ``sums``: the terms of the loss in the running epoch, added up over ``rows`` pictures
    - ``best_epoch``: which one, counted from 1, had the ``best_accuracy``; None before the first
    - ``history``: validation accuracy of every epoch
    """

    epochs_done: int = 0
    batches_done: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    rows: int = 0
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)

    def finish_epoch(self, accuracy: float) -> bool:
        """Note the accuracy of the epoch that ends; returns whether it is the best so far."""
        self.epochs_done, self.batches_done, self.sums, self.rows = self.epochs_done + 1, 0, {}, 0
        self.history.append(accuracy)
        improved = accuracy > self.best_accuracy
        if improved:
            self.best_epoch, self.best_accuracy = self.epochs_done, accuracy
        return improved

    def is_complete(self, config: RunConfig) -> bool:
        """Whether training has come to its end: all epochs are done, or it was stopped by patience or time."""
        return self.epochs_done >= (1 if config.fast else config.epochs or 1) or bool(self.reason_to_stop(config))

    def reason_to_stop(self, config: RunConfig) -> str:
        """Say why training ends before its last epoch; nothing within an epoch, which is finished in any case."""
        if not self.epochs_done or self.batches_done:
            return ""
        if config.patience is not None and self.epochs_done - (self.best_epoch or 0) >= config.patience:
            return f"no better epoch for {config.patience} epochs"
        if config.max_time is not None and self.seconds >= config.max_time and self.epochs_done < (config.epochs or 1):
            return f"the time of {config.max_time:g} s is over"
        return ""

    @property
    def place(self) -> str:
        """Say where the run stands."""
        if self.batches_done:
            return f"batch {self.batches_done} of epoch {self.epochs_done + 1}"
        return f"the end of epoch {self.epochs_done}" if self.epochs_done else "the beginning"


def read_progress(values: Mapping[str, Any]) -> Progress:
    """Return the progress that a checkpoint holds, of this or an older version."""
    return Progress(**{name: value for name, value in values.items() if name in Progress.__dataclass_fields__})


@dataclass(frozen=True)
class Restored:
    """What a run that goes on, or is measured again, takes from its checkpoint in place of the files that it began from.

    - ``method``: the method's weights
    - ``facts``: see :class:`~domain_masks.training.experiment.Experiment`; empty in checkpoints of older versions
    """

    method: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, folder: RunFolder, config: RunConfig) -> Restored:
        """Read ``last.ckpt``; raises RunFolderError where it is damaged, newer, or of other settings."""
        state = _read_state(folder, config)
        return cls(state["method"], state.get("facts", {}))


class RunState:
    """Saves and restores everything that a run needs to go on bit for bit: weights, optimisers, place in the data.

    Randomness and order need no state: both are keyed by the seed and the place.
    """

    def __init__(
        self,
        method: Method,
        engine: TrainingEngine,
        config: RunConfig,
        folder: RunFolder,
        facts: Mapping[str, Any],
    ) -> None:
        self.fabric = engine.fabric
        self.facts = dict(facts)
        self.method = method
        self.engine = engine
        self.config = config
        self.folder = folder
        self._saved: str | None = None
        self._saved_at = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether the time between two checkpoints within an epoch is over."""
        return time.monotonic() - self._saved_at >= self.config.checkpoint_every

    def save(self, progress: Progress, best: bool = False) -> None:
        """Write ``last.ckpt``, and ``best.ckpt`` where the epoch that just ended is the best; all processes call it together.

        Raises DivergedError where a weight is not finite, RunFolderError where the files cannot be written; what was
        saved before is still there.
        """
        self._refuse_broken_weights(progress)
        weights = self.method.state_dict()
        # In the middle of an epoch the running statistics of batch norm differ from process to process.
        buffers = self._buffers_of_all() if progress.batches_done and self.fabric.world_size > 1 else None

        def write() -> None:
            self._check_folder()
            state = {
                "method": weights,
                "buffers": buffers,
                "engine": self.engine.state_dict(),
                "progress": vars(progress),
                "config": self.config.model_dump(mode="json"),
                "facts": self.facts,
            }
            # In this order: of the best epoch, the last checkpoint can make the best one again.
            save_checkpoint(self.folder.last, state)
            if best:
                self._save_best(weights, progress)

        self._write_or_fail_together(write)
        self._saved = progress.place
        self._saved_at = time.monotonic()

    def log(self, log: MetricsLog, row: Mapping[str, float | int | str]) -> None:
        """Add a row to ``metrics.csv``; raises RunFolderError that says what is kept where it cannot be written.

        All processes call it together, the first one writes.
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

    def restore(self) -> Progress:
        """Take over ``last.ckpt``; a fresh state where there is none.

        Raises RunFolderError for a checkpoint that is damaged, newer, or of other settings.
        """
        if not self.folder.last.is_file():
            return Progress()
        state = _read_state(self.folder, self.config)
        try:
            self.method.load_state_dict(state["method"])
            self._restore_buffers(state.get("buffers"))
            self.engine.load_state_dict(state["engine"])
            progress = read_progress(state["progress"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise RunFolderError(
                f"{self.folder.last} does not fit its own settings ({type(error).__name__}): the run was made by another "
                "version or changed by hand. Begin again with --overwrite"
            ) from error
        self._saved = progress.place
        if progress.epochs_done and progress.best_epoch == progress.epochs_done and not progress.batches_done:
            on_main_process(self.fabric, lambda: self._mend_best(state["method"], progress))
        return progress

    def _save_best(self, weights: Mapping[str, Tensor], progress: Progress) -> None:
        save_checkpoint(self.folder.best, {"method": weights, "epoch": progress.best_epoch})

    def _mend_best(self, weights: Mapping[str, Tensor], progress: Progress) -> None:
        """Write ``best.ckpt`` where the run ended between the two checkpoints."""
        try:
            if load_checkpoint(self.folder.best).get("epoch") == progress.best_epoch:
                return
        except RunFolderError:
            pass
        self._save_best(weights, progress)

    def _refuse_broken_weights(self, progress: Progress) -> None:
        broken = [name for name, value in self.method.state_dict().items() if not _is_finite(value)]
        if broken:
            raise DivergedError(
                f"the weights became NaN or infinite before {progress.place} ({', '.join(broken[:3])}"
                f"{', ...' if len(broken) > 3 else ''}). {self.kept} Try a lower --lr, --clip 1, or --precision 32"
            )

    @property
    def kept(self) -> str:
        """Say which checkpoint there is to go on from."""
        if self._saved is None:
            return "No checkpoint had been written before."
        return f"The checkpoint of {self._saved} is whole: {self.folder.last}. Go on from it with --resume."

    def _check_folder(self) -> None:
        if not self.folder.path.is_dir():
            # Made anew it would hold half a run, or lie below the place where a disk was mounted.
            raise RunFolderError(f"the run folder {self.folder.path} has vanished: expected it to stay where it is")

    def _buffers_of_all(self) -> dict[str, Tensor]:
        gathered = {}
        for name, buffer in self.method.named_buffers():
            parts = [torch.empty_like(buffer) for _ in range(self.fabric.world_size)]
            torch.distributed.all_gather(parts, buffer)
            gathered[name] = torch.stack(parts)
        return gathered

    def _restore_buffers(self, buffers: Mapping[str, Tensor] | None) -> None:
        """Give every process its own running statistics again, where there are as many as before."""
        if not buffers or next(iter(buffers.values())).shape[0] != self.fabric.world_size:
            return
        for name, buffer in self.method.named_buffers():
            buffer.copy_(buffers[name][self.fabric.global_rank])


def _read_state(folder: RunFolder, config: RunConfig) -> dict[str, Any]:
    """Read ``last.ckpt``; raises RunFolderError where it is damaged, newer, lacks a part, or is of other settings."""
    state = load_checkpoint(folder.last)
    parts = ("method", "engine", "progress", "config")
    if missing := [name for name in parts if not isinstance(state.get(name), Mapping)]:
        raise RunFolderError(
            f"{folder.last} is no checkpoint of a run: expected method, engine, progress and config in it, got no "
            f"{', '.join(missing)}. Begin again with --overwrite"
        )
    _refuse_other_settings(config, state["config"], folder)
    return state


def _refuse_other_settings(config: RunConfig, there: Mapping[str, Any], folder: RunFolder) -> None:
    """Raise RunFolderError where a setting that decides what a run computes differs from that of its checkpoint."""
    here = config.model_dump(mode="json")
    # Settings that an older version did not have were at their defaults.
    before = RunConfig().model_dump(mode="json") | dict(there)
    method = dict(before["method"])
    before["method"] = complete_method(method.pop("name"), method)
    changed = [
        f"{name} (was {before[name]!r}, now {value!r})"
        for name, value in here.items()
        if name not in REPEATABLE and before[name] != value
    ]
    if changed:
        raise RunFolderError(
            f"{folder.path} holds a run with other settings: {', '.join(changed)}. Resume with the same settings, or name "
            "another folder with --out"
        )


def _is_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
