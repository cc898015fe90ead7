"""Learning-rate schedules as pure functions of the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol


class ScheduleSettings(Protocol):
    """The settings of a run that these schedules use."""

    schedule_decay: float
    schedule_gamma: float
    schedule_power: float


def constant(_time: int, _total: int, _config: ScheduleSettings) -> float:
    """Return 1."""
    return 1.0


def exponential(time: int, _total: int, config: ScheduleSettings) -> float:
    """Return decay^t: the paper's for PACS, with decay 0.99 per epoch."""
    return float(config.schedule_decay**time)


def inverse(time: int, _total: int, config: ScheduleSettings) -> float:
    """Return 1 / (1 + γ t)^p: the paper's for DomainNet, with γ = 1e-4 and p = 0.75."""
    return float((1.0 + config.schedule_gamma * time) ** -config.schedule_power)


def cosine(time: int, total: int, _config: ScheduleSettings) -> float:
    """Return (1 + cos(π t / T)) / 2."""
    return 0.5 * (1.0 + math.cos(math.pi * time / max(1, total)))


SCHEDULES: dict[str, Callable[[int, int, Any], float]] = {
    "constant": constant,
    "exponential": exponential,
    "inverse": inverse,
    "cosine": cosine,
}
"""Name -> factor of the learning rate at time t (epochs or steps done, from 0) of T in all.

The setting ``schedule`` accepts whatever name is here; a schedule gets all settings of the run.
"""
