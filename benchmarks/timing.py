"""Interleaved timing: A B C B A C ... in one process, compared by paired ratios.

Load on the machine slows neighbouring calls alike, so that a ratio of neighbours is more reliable than two means. Every round
has its own order, as a call is faster or slower after some others, which leave memory and caches in another state.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

Seconds = Sequence[float]
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class Budget:
    """The duration of a measurement: rounds of all calls for ``seconds``, at least ``rounds``, after ``warm_up``."""

    seconds: float
    rounds: int = 5
    warm_up: int = 2

    def share(self, parts: int) -> Budget:
        """Return the budget of one of ``parts`` comparisons."""
        return Budget(self.seconds / parts, self.rounds, self.warm_up)


@dataclass(frozen=True)
class Conditions:
    """The conditions of every benchmark.

    - ``budget``: of one benchmark, which divides it between its comparisons
    - ``device``: where the network computes
    - ``fast``: smoke run: small images and batches, numbers that mean nothing
    - ``root``: PACS's folder or its parent; None where images are to be generated
    - ``compile``: whether training steps are measured by ``torch.compile`` as well
    """

    budget: Budget
    device: torch.device
    fast: bool
    root: str | None = None
    compile: bool = False


@dataclass(frozen=True)
class Measurement:
    """One line of the output: the measurement, the baseline, and the ratio of every round.

    - ``ratios``: one per round
    - ``orientation``: the absolute numbers, which depend on the machine
    """

    name: str
    baseline: str
    ratios: Seconds
    orientation: str

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The ratios' 25 %, 50 % and 75 %, interpolated linearly."""
        lower, median, upper = np.percentile(self.ratios, [25, 50, 75]).tolist()
        return lower, median, upper

    @property
    def bound(self) -> float | None:
        """The 95 % bound: the median ratio is below it with 95 % confidence, whatever its distribution; None below 5 rounds."""
        count, below = len(self.ratios), 0.0
        for place, ratio in enumerate(sorted(self.ratios)):
            below += math.comb(count, place) / 2**count
            if below >= _CONFIDENCE:
                return ratio
        return None


def interleave(
    calls: Mapping[str, Callable[[], object]],
    budget: Budget,
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Run all ``calls`` once per round, in random order; returns name -> seconds of ``clock`` per round, of one length."""
    order, random = list(calls.items()), Random(0)
    for _ in range(budget.warm_up):
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    done = 0
    while done < budget.rounds or time.perf_counter() - began < budget.seconds:
        random.shuffle(order)
        for name, call in order:
            _wait_for(device)
            started = clock()
            call()
            _wait_for(device)
            seconds[name].append(clock() - started)
        done += 1
    return seconds


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def compare(name: str, baseline: str, seconds: Mapping[str, Seconds], measured: str, against: str) -> Measurement:
    """Compare two names in ``seconds``: how many times as long ``measured`` took as ``against``."""
    times, others = seconds[measured], seconds[against]
    ratios = [time_taken / other for time_taken, other in zip(times, others, strict=True)]
    return Measurement(name, baseline, ratios, f"{milliseconds(times)} against {milliseconds(others)}")


def milliseconds(seconds: Seconds) -> str:
    """Return the median as text, in milliseconds."""
    return f"{1000 * float(np.median(seconds)):.4g} ms"


def as_line(measurement: Measurement) -> str:
    """Return a measurement as one line of text."""
    lower, median, upper = measurement.quartiles
    return (
        f"{measurement.name}: {_number(median)} [{_number(lower)}–{_number(upper)}] of {measurement.baseline} "
        f"({measurement.orientation}; 95 % bound {_bound(measurement)}; {len(measurement.ratios)} rounds)"
    )


def as_table(measurements: Sequence[Measurement]) -> Iterator[str]:
    """Yield the lines of a Markdown table of ratios, without absolute times, which depend on the machine."""
    yield "| measured | against | ratio (median) | 25 %–75 % | 95 % bound | rounds |"
    yield "|---|---|---:|---:|---:|---:|"
    for measurement in measurements:
        lower, median, upper = measurement.quartiles
        yield (
            f"| {measurement.name} | {measurement.baseline} | {_number(median)} | {_number(lower)}–{_number(upper)} "
            f"| {_bound(measurement)} | {len(measurement.ratios)} |"
        )


def _bound(measurement: Measurement) -> str:
    return "–" if measurement.bound is None else _number(measurement.bound)


def _number(ratio: float) -> str:
    """Return a ratio with three decimals, or with three digits where it is below 0.1 or above 10."""
    return f"{ratio:.3f}" if 0.1 <= ratio < 10 else f"{ratio:.3g}"
