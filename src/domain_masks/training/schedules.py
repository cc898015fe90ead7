"""The learning rate's factor at a moment of a run; the schedules themselves are :data:`domain_masks.schedules.SCHEDULES`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from domain_masks.errors import InputError
from domain_masks.schedules import SCHEDULES

if TYPE_CHECKING:
    from domain_masks.records.config import RunConfig

__all__ = ["SCHEDULES", "rate_factor"]


def schedule_of(config: RunConfig, group: str) -> str:
    """Return the name of the schedule that a group of parameters follows: ``masks`` may have one of its own."""
    if group == "masks" and config.schedule_masks != "same":
        return config.schedule_masks
    return config.schedule or "constant"


def rate_factor(
    config: RunConfig, epoch: int, step: int, epochs: int, steps_per_epoch: int, group: str = "body"
) -> float:
    """Return the factor of the learning rate of ``group`` in ``epoch`` at the global ``step``, both from 0.

    Raises InputError where the schedule gives none.
    """
    name = schedule_of(config, group)
    schedule = SCHEDULES[name]
    if config.schedule_unit == "epoch":
        factor = schedule(epoch, epochs, config)
    else:
        factor = schedule(step, epochs * steps_per_epoch, config)
    if not math.isfinite(factor) or factor < 0:
        raise InputError(
            f"schedule {name!r} gave {factor} in epoch {epoch + 1}: expected a number of 0 or more, by which the "
            "learning rate is multiplied"
        )
    return factor
