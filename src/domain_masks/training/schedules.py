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


def note_on_length(config: RunConfig, done: int, epochs: int) -> str | None:
    """Return a note where a resumed run has another number of epochs, which would have had other learning rates so far.

    - ``done``: epochs that are done; ``epochs``: how many were planned then
    """
    now, warm = config.epochs or 1, config.warmup_epochs
    names = dict.fromkeys(schedule_of(config, group) for group in ("body", "masks"))
    other = [
        name
        for name in names
        if any(
            SCHEDULES[name](time, epochs - warm, config) != SCHEDULES[name](time, now - warm, config)
            for time in range(done - warm)
        )
    ]
    if not other:
        return None
    return (
        f"note: resumed for {now} epochs instead of {epochs}: the {done} done had the learning rates that schedule "
        f"{', '.join(other)} gives a run of {epochs}, so the result is not that of a run of {now} from the start"
    )
