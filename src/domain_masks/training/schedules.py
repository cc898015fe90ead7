"""The learning-rate factor at a step of a run; the schedules themselves are :data:`domain_masks.schedules.SCHEDULES`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from domain_masks.errors import InputError
from domain_masks.schedules import SCHEDULES

if TYPE_CHECKING:
    from domain_masks.records.config import RunConfig


def schedule_of(config: RunConfig, group: str) -> str:
    """Return the name of the schedule that a group of parameters follows: ``masks`` may have one of its own."""
    if group == "masks" and config.schedule_masks != "same":
        return config.schedule_masks
    return config.schedule or "constant"


def rate_factor(
    config: RunConfig, epoch: int, step: int, epochs: int, steps_per_epoch: int, group: str = "body"
) -> float:
    """Return the factor of the learning rate of ``group`` in ``epoch`` at the global ``step``, both from 0.

    It rises linearly over the steps of the ``warmup_epochs``, at whose end it is 1; the schedule's time starts there.

    Raises InputError where the schedule returns no number of 0 or more.
    """
    name = schedule_of(config, group)
    warm = config.warmup_epochs
    if epoch < warm:
        return (step + 1) / (warm * steps_per_epoch)
    if config.schedule_unit == "epoch":
        factor = SCHEDULES[name](epoch - warm, epochs - warm, config)
    else:
        factor = SCHEDULES[name](step - warm * steps_per_epoch, (epochs - warm) * steps_per_epoch, config)
    if not math.isfinite(factor) or factor < 0:
        raise InputError(
            f"schedule {name!r} gave {factor} in epoch {epoch + 1}: expected a number of 0 or more, by which the "
            "learning rate is multiplied"
        )
    return factor
