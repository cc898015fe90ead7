"""Learning-rate schedules as pure functions of the time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domain_masks.records.config import RunConfig


def constant(_time: int, _total: int, _config: RunConfig) -> float:
    """Return 1."""
    return 1.0


def exponential(time: int, _total: int, config: RunConfig) -> float:
    """Return decay^t: the paper's for PACS, with decay 0.99 per epoch."""
    return float(config.schedule_decay**time)


def inverse(time: int, _total: int, config: RunConfig) -> float:
    """Return 1 / (1 + γ t)^p: the paper's for DomainNet, with γ = 1e-4 and p = 0.75."""
    return float((1.0 + config.schedule_gamma * time) ** -config.schedule_power)


def cosine(time: int, total: int, _config: RunConfig) -> float:
    """Return (1 + cos(π t / T)) / 2."""
    return 0.5 * (1.0 + math.cos(math.pi * time / max(1, total)))


SCHEDULES: dict[str, Callable[[int, int, RunConfig], float]] = {
    "constant": constant,
    "exponential": exponential,
    "inverse": inverse,
    "cosine": cosine,
}
"""Name -> factor of the learning rate at time t (epochs or steps done, from 0) of T in all."""


def schedule_of(config: RunConfig, group: str) -> str:
    """Return the name of the schedule that a group of parameters follows: ``masks`` may have one of its own."""
    if group == "masks" and config.schedule_masks != "same":
        return config.schedule_masks
    return config.schedule or "constant"


def rate_factor(
    config: RunConfig, epoch: int, step: int, epochs: int, steps_per_epoch: int, group: str = "body"
) -> float:
    """Return the factor of the learning rate of ``group`` in ``epoch`` at the global ``step``, both from 0."""
    schedule = SCHEDULES[schedule_of(config, group)]
    if config.schedule_unit == "epoch":
        return schedule(epoch, epochs, config)
    return schedule(step, epochs * steps_per_epoch, config)
