"""Whether losses are still finite, without a synchronisation with the GPU in every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from domain_masks.devices import exact
from domain_masks.errors import DivergedError

READ_EVERY = 100
"""Losses on an accelerator between two times that the host waits for them."""
_NAMED = 64

Advice = Callable[[float], str]
"""Number -> the message: what is wrong with it, and what to do."""


@dataclass(frozen=True)
class _Noted:
    """A number that has to be finite and at most ``limit``, of a step at ``place`` on the rows ``ids``."""

    value: Tensor
    limit: float
    ids: Tensor
    place: str
    what: str
    advice: Advice | None


def interval_on(device: torch.device) -> int:
    """Return after how many numbers on ``device`` they are read: at once on a CPU, which costs nothing."""
    return 1 if device.type == "cpu" else READ_EVERY


class DivergenceWatch:
    """Refuses losses that are NaN, infinite or too large, and names the batch that gave them.

    With an interval of 1 a number is read when it is noted, before any weight is changed. On an accelerator that would make the
    host wait in every step until the device has done all that was queued: numbers stay there until :meth:`read`, which is
    called after ``interval`` of them, and before anything that depends on them is saved.

    - ``ids``: the name of every row of the dataset, for messages
    - ``anywhere``: whether something holds on any process; they all call it together
    """

    def __init__(self, ids: Sequence[str], anywhere: Callable[[bool], bool], interval: int = 1) -> None:
        self._ids = ids
        self._anywhere = anywhere
        self._interval = interval
        self._noted: list[_Noted] = []

    def note(
        self,
        value: Tensor,
        ids: Tensor,
        place: str,
        what: str = "the loss",
        limit: float = math.inf,
        advice: Advice | None = None,
    ) -> None:
        """Note one number of a step; raises DivergedError as :meth:`read` does where it is time to read.

        - ``value``: one number; ``what``: how a message calls it
        - ``limit``: what it may be at most
        - ``ids``: of the rows that it was computed from, (n,)
        - ``advice``: a message in the place of the usual one
        """
        self._noted.append(_Noted(value.detach().reshape(()), limit, ids, place, what, advice))
        if len(self._noted) >= self._interval:
            self.read()

    def read(self) -> None:
        """Read what was noted; raises DivergedError for the first number that is wrong on any process."""
        noted, self._noted = self._noted, []
        if not noted:
            return
        values = torch.stack([exact(one.value) for one in noted]).tolist()
        wrong = [(one, value) for one, value in zip(noted, values, strict=True) if not _is_fine(value, one.limit)]
        if not self._anywhere(bool(wrong)):
            return
        if not wrong:
            raise DivergedError(f"{noted[-1].what} became NaN or infinite at {noted[-1].place} on another process")
        raise DivergedError(self._message(*wrong[0]))

    def _message(self, noted: _Noted, value: float) -> str:
        if noted.advice is not None:
            return noted.advice(value)
        rows = noted.ids.tolist()
        names = [self._ids[row] if row < len(self._ids) else f"row {row}" for row in rows[:_NAMED]]
        more = f", ... ({len(rows) - _NAMED} more)" if len(rows) > _NAMED else ""
        unchanged = "No weight was changed. " if self._interval == 1 else ""
        return (
            f"{noted.what} is {value} at {noted.place}, whose images are {', '.join(names)}{more}. {unchanged}"
            "Look at the images, or try a lower --lr, --clip 1, or --precision 32."
        )


def _is_fine(value: float, limit: float) -> bool:
    return math.isfinite(value) and value <= limit
