"""The numbers of ``metrics.csv`` as TensorBoard events."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from domain_masks.progress import Reporter
from domain_masks.records.metrics_log import EPOCH

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardWriter:
    """Writes TensorBoard's event files; the step of an event is the epoch, counted from 1.

    Where writing fails, it reports that once and the run continues. ``first``: the epoch to be written next; events of it and
    of later epochs in earlier files are hidden.
    """

    def __init__(self, folder: Path, first: int, reporter: Reporter) -> None:
        self._folder, self._first = folder, first
        self._reporter = reporter
        self._writer: SummaryWriter | None = None
        self._ended = False

    def add(self, row: Mapping[str, float | int | str]) -> None:
        """Add the row of an epoch; only numbers are written."""
        if self._ended:
            return
        try:
            if self._writer is None:
                # Imported with the first row, so that it does not delay the first training step.
                from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

                self._writer = SummaryWriter(str(self._folder), purge_step=self._first)
            for name, value in row.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, int(row[EPOCH]))
            self._writer.flush()
        except OSError as error:
            self._give_up(error.strerror or str(error))
        except UnicodeError:
            self._give_up("it needs a folder whose name is UTF-8")

    def close(self) -> None:
        """Flush and close the file."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            self._give_up(error.strerror or str(error))

    def _give_up(self, reason: str) -> None:
        self._writer, self._ended = None, True
        self._reporter.say(f"no more events for TensorBoard ({reason}): the run continues without them")
