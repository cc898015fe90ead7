"""What is shown of an epoch while it runs: loss, learning rate, images per second, and the time left of the run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from domain_masks.progress import Reporter
from domain_masks.records.counts import duration

EVERY = 0.5
"""Seconds between two updates, so that they cost nothing."""


class Glimpse:
    """The latest number of a device that is known on the host, without waiting for it.

    On a GPU a number is copied behind the work that is queued, and read once it has arrived.
    """

    def __init__(self) -> None:
        self.value: float | None = None
        self._copy: Tensor | None = None
        self._arrived: Any = None

    def look(self, number: Callable[[], Tensor]) -> None:
        """Take the number of an earlier call if it is there, and send for the one that ``number`` returns, ()."""
        if self._arrived is not None:
            if not self._arrived.query():
                return
            if self._copy is not None:
                self.value = float(self._copy)
            self._arrived = None
        found = number().detach().float().reshape(())
        if found.device.type != "cuda":
            self.value = float(found)
            return
        if self._copy is None:
            self._copy = torch.empty((), pin_memory=True)
        self._copy.copy_(found, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record(torch.cuda.current_stream(found.device))


class Pace:
    """Keeps the reporter's note on a stage of several parts up to date: images per second, and the time left of all parts."""

    def __init__(self, reporter: Reporter, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._note: Callable[[str], None] | None = getattr(reporter, "note", None)
        self._what = what
        self._clock = clock
        self._total = self._done = 0
        self._began = self._last = 0.0

    def begin(self, total: int) -> None:
        """Start a stage of ``total`` images."""
        self._total, self._done = total, 0
        self._began = self._last = self._clock()

    def add(self, images: int) -> None:
        """Note that further ``images`` are done."""
        self._done += images
        now = self._clock()
        if self._note is None or now - self._last < EVERY:
            return
        self._last = now
        speed = self._done / (now - self._began)
        left = max(0, self._total - self._done) / speed
        self._note(f"{speed:.0f} images/s  all {self._what} {duration(left)} left")


class LiveNumbers:
    """Keeps the reporter's note on the running epoch up to date, at most every :data:`EVERY` seconds.

    - ``steps``: of the whole run; ``done``: those of them that an interrupted run had done
    """

    def __init__(self, reporter: Reporter, steps: int, done: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._note: Callable[[str], None] | None = getattr(reporter, "note", None)
        self._steps, self._first = steps, done
        self._clock = clock
        self._began = self._epoch_began = self._last = clock()
        self._rows = 0
        self._loss = Glimpse()

    def begin_epoch(self) -> None:
        """Start to count the images per second of an epoch."""
        self._epoch_began, self._rows = self._clock(), 0

    def step(self, terms: Mapping[str, Tensor], rates: Mapping[str, float], rows: int, step: int) -> None:
        """Note a step, from 0, of ``rows`` images over all processes, the terms of its loss and its learning rates."""
        self._rows += rows
        now = self._clock()
        if self._note is None or now - self._last < EVERY or not terms:
            return
        self._last = now
        self._loss.look(lambda: torch.stack([term.detach() for term in terms.values()]).sum())
        parts = [] if self._loss.value is None else [f"loss {self._loss.value:.3f}"]
        rate = rates.get("body", next(iter(rates.values()), None))
        parts += [] if rate is None else [f"lr {rate:.1e}"]
        parts.append(f"{self._rows / max(1e-9, now - self._epoch_began):.0f} images/s")
        if (left := self.left(step + 1)) is not None:
            parts.append(f"run {duration(left)} left")
        self._note("  ".join(parts))

    def left(self, done: int) -> float | None:
        """Return the seconds that the run still needs after ``done`` steps, at its speed so far; None where there is none yet.

        Validation counts, from the first epoch on that was validated.
        """
        here = done - self._first
        if here <= 0:
            return None
        return max(0.0, (self._clock() - self._began) / here * (self._steps - done))
