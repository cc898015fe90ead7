"""The numbers of ``metrics.csv`` for TensorBoard as well."""

from __future__ import annotations

from pathlib import Path

from domain_masks.progress import Reporter


class Board:
    """Writes TensorBoard's event files; where that fails, it says so once and the run goes on without."""

    def __init__(self, folder: Path, epochs_done: int, reporter: Reporter) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        self._reporter = reporter
        self._writer: SummaryWriter | None = None
        try:
            self._writer = SummaryWriter(str(folder), purge_step=epochs_done)
        except OSError as error:
            self._give_up(error)

    def add(self, row: dict[str, float | int | str], epoch: int) -> None:
        """Add the row of an epoch; numbers alone are shown."""
        if self._writer is None:
            return
        try:
            for name, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Write what is left."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        self._reporter.say(f"no more events for TensorBoard ({error.strerror or error}): the run goes on without them")
