"""How far a run is: epochs, batches, and the best epoch by now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from domain_masks.methods import Method
from domain_masks.records.config import RunConfig
from domain_masks.training.epoch_means import LOSS_TERM, Total
from domain_masks.training.phases import PhasePlan, deciding_phase, phases_of, plan_phases

_EQUAL = 1e-9
"""Accuracies that differ by less are equal: means over domains that are rounded differently."""
EpochChoice = Literal["best", "newest", "never"]


@dataclass
class Progress:
    """How far a run is.

    - ``batches_done``: batches of the running epoch that were trained on
    - ``totals``: the sums of the loss terms, and of other numbers, in the running epoch over all processes
    - ``best_epoch``: the epoch, counted from 1, with the ``best_accuracy`` of its phase; None where none was selected yet
    - ``history``: validation accuracy of every epoch
    - ``patience_from``: how many epochs are done where patience starts to count, with the phase that the model will come from
    - ``phase_starts``: how many epochs are done where each of the method's phases starts
    - ``average``: the steps that the weights of the best epoch are an average over; None without averaging
    - ``average_has_ended``: whether no later step of the training can belong to the average
    - ``stopped_by``: the callback that made the last epoch the last one; empty where none did
    - ``is_fitted``: whether the method was fitted in closed form, which has no epochs
    """

    epochs_done: int = 0
    batches_done: int = 0
    totals: dict[str, Total] = field(default_factory=dict)
    best_epoch: int | None = None
    best_accuracy: float = -1.0
    seconds: float = 0.0
    history: list[float] = field(default_factory=list)
    patience_from: int = 0
    phase_starts: list[int] = field(default_factory=list)
    average: dict[str, Any] | None = None
    average_has_ended: bool = False
    stopped_by: str = ""
    is_fitted: bool = False

    def finish_epoch(
        self, accuracy: float, phases: PhasePlan, average: dict[str, Any] | None = None, choice: EpochChoice = "best"
    ) -> bool:
        """Record the accuracy of the epoch that ends; returns whether it is the best so far.

        An epoch is compared only with those of its own phase, and is not a candidate where its phase does not select.

        - ``average``: the steps that its weights are an average over; None without averaging
        - ``choice``: select the ``best`` epoch by accuracy, the ``newest`` one, or ``never`` this one
        """
        index = self.epochs_done
        self.epochs_done, self.batches_done, self.totals = index + 1, 0, {}
        self.history.append(accuracy)
        start, best = phases.start(index), self.best_epoch or 0
        improved = phases.phase(index).selects and choice != "never"
        improved = improved and (best <= start or choice == "newest" or accuracy > self.best_accuracy + _EQUAL)
        if improved:
            self.best_epoch, self.best_accuracy, self.average = self.epochs_done, accuracy, average
        # No epoch counts before or after that phase.
        self.patience_from = start if phases.decides(index) and choice != "never" else self.epochs_done
        return improved

    def is_complete(self, config: RunConfig, epochs: int) -> bool:
        """Whether training is complete: all ``epochs`` are done, or it was stopped by patience or time."""
        return self.is_fitted or self.epochs_done >= epochs or bool(self.reason_to_stop(config))

    def reason_to_stop(self, config: RunConfig) -> str:
        """Return why training stops before its last epoch; empty within an epoch, which is always finished."""
        if not self.epochs_done or self.batches_done:
            return ""
        without = self.epochs_done - max(self.best_epoch or 0, self.patience_from)
        if config.patience is not None and without >= config.patience:
            return f"no better epoch for {config.patience} epochs"
        if config.max_time is not None and self.seconds >= config.max_time and self.epochs_done < (config.epochs or 1):
            return f"the time of {config.max_time:g} s is over"
        if self.stopped_by:
            return f"callback {self.stopped_by} stopped it"
        if self.average_has_ended:
            return "the valley of the validation loss has ended, and with it the average"
        return ""

    def has_reached_the_deciding_phase(self, method: Method) -> bool:
        """Whether the best epoch belongs to the last phase that selects, from which the model is taken."""
        deciding = deciding_phase(phases_of(method))
        starts = self.phase_starts or [0]
        return self.best_epoch is not None and (deciding == 0 or self.best_epoch > starts[deciding])

    @property
    def epochs_begun(self) -> int:
        """Epochs that are done or running."""
        return self.epochs_done + bool(self.batches_done)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a checkpoint."""
        values = {name: value for name, value in vars(self).items() if name != "totals"}
        sums = {name: total.total for name, total in self.totals.items()}
        return values | {"sums": sums, "rows": {name: total.rows for name, total in self.totals.items()}}

    @property
    def place(self) -> str:
        """The position of the run, in words."""
        if self.is_fitted:
            return "the end of the fit"
        if self.batches_done:
            return f"batch {self.batches_done} of epoch {self.epochs_done + 1}"
        return f"the end of epoch {self.epochs_done}" if self.epochs_done else "the beginning"


def read_progress(values: Mapping[str, Any]) -> Progress:
    """Return the progress that a checkpoint holds, of this or an older version."""
    known = {name: value for name, value in values.items() if name in Progress.__dataclass_fields__}
    sums, rows = values.get("sums", {}), values.get("rows", {})
    if isinstance(rows, int):
        # From an older version: only the loss terms, all over the same rows.
        totals = {f"{LOSS_TERM}{name}": Total(total, rows) for name, total in sums.items()}
    else:
        totals = {name: Total(total, rows[name]) for name, total in sums.items()}
    return Progress(**known, totals=totals)


def plan_of(progress: Progress, epochs_before: int, method: Method, epochs: int) -> PhasePlan:
    """Return the phases of a run that is resumed with ``epochs`` in all; those that have started stay where they were.

    - ``epochs_before``: how many epochs were planned; for checkpoints of older versions, which do not record phase starts

    Raises InputError where there are too few for the phases that have not started.
    """
    before = progress.phase_starts or plan_phases(method, max(epochs_before, len(phases_of(method)))).starts
    return plan_phases(method, epochs, progress.epochs_begun, before)
