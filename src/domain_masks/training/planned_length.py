"""What a run has done so far that depends on its planned number of epochs: told where it is resumed for another number."""

from __future__ import annotations

from collections.abc import Iterator

from domain_masks.methods import Method
from domain_masks.records.config import RunConfig
from domain_masks.training.checkpoint_state import CheckpointState
from domain_masks.training.phases import PhasePlan, plan_phases, planned_epochs
from domain_masks.training.run_progress import plan_of
from domain_masks.training.schedules import rate_factor, schedule_of
from domain_masks.training.weight_average import decay_of, interval_of, swa_start


def note_on_length(config: RunConfig, method: Method, checkpoint: CheckpointState, steps_per_epoch: int) -> str | None:
    """Return a note where a run that is resumed for another number of epochs would have been trained otherwise so far.

    It names what would have been different in a run of that number from the start, over the steps that are done.
    """
    now = planned_epochs(config, method)
    before = planned_epochs(config.model_copy(update={"epochs": checkpoint.epochs}), method)
    progress = checkpoint.progress
    done = progress.epochs_done * steps_per_epoch + progress.batches_done
    if now == before or not done:
        return None
    plans = plan_of(progress, checkpoint.epochs, method, before), plan_phases(method, now)
    other = [
        *_rates(config, range(done), before, now, steps_per_epoch),
        *_phases(plans, progress.epochs_begun),
        *_average(config, plans, done, steps_per_epoch),
        *_weight(method, range(done), before * steps_per_epoch, now * steps_per_epoch),
    ]
    if not other:
        return None
    return (
        f"note: resumed for {now} epochs instead of {before}: what is done had {', '.join(other)} of a run of {before}, so the "
        f"result is not that of a run of {now} from the start"
    )


def _rates(config: RunConfig, steps: range, before: int, now: int, steps_per_epoch: int) -> Iterator[str]:
    # Within an epoch, the rates of a schedule that counts epochs are equal.
    looked_at = steps if config.schedule_unit == "step" else steps[::steps_per_epoch]
    groups = {schedule_of(config, group): group for group in ("body", "masks")}
    for schedule, group in groups.items():
        if any(
            rate_factor(config, step // steps_per_epoch, step, before, steps_per_epoch, group)
            != rate_factor(config, step // steps_per_epoch, step, now, steps_per_epoch, group)
            for step in looked_at
        ):
            yield f"the learning rates of schedule {schedule}"


def _phases(plans: tuple[PhasePlan, PhasePlan], epochs_begun: int) -> Iterator[str]:
    planned, other = plans
    if any(planned.index(epoch) != other.index(epoch) for epoch in range(epochs_begun)):
        yield "the phases"


def _average(config: RunConfig, plans: tuple[PhasePlan, PhasePlan], done: int, steps_per_epoch: int) -> Iterator[str]:
    epoch = (done - 1) // steps_per_epoch
    planned, other = (range(plan.start(epoch) * steps_per_epoch, plan.end(epoch) * steps_per_epoch) for plan in plans)
    if config.average == "ema" and decay_of(config, len(planned)) != decay_of(config, len(other)):
        yield "the decay of ema"
    elif config.average == "swad" and interval_of(config, len(planned)) != interval_of(config, len(other)):
        yield "the interval of swad"
    elif config.average == "swa":
        starts = swa_start(config, planned), swa_start(config, other)
        if starts[0] != starts[1] and done > min(starts):
            yield "the start of swa"


def _weight(method: Method, steps: range, planned: int, other: int) -> Iterator[str]:
    if any(method.weight_at(step / planned) != method.weight_at(step / other) for step in steps):
        yield f"the weight that method {method.name} changes over the training"
