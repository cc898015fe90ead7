"""The engine that methods learn on: Lightning Fabric underneath, and nothing of it visible to a method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError, unknown
from domain_masks.methods import Method
from domain_masks.processes import sum_over_processes
from domain_masks.records.config import RunConfig
from domain_masks.training.accumulation import Accumulation, average_gradients
from domain_masks.training.class_weighting import WeightingWatch
from domain_masks.training.divergence import DivergenceWatch, interval_on
from domain_masks.training.freezing import FrozenEpochs
from domain_masks.training.hooks import Hooks
from domain_masks.training.number_formats import autocast
from domain_masks.training.optimizers import (
    base_rate,
    build_optimizer,
    layer_scales,
    optimizers_of,
    trained_groups,
)
from domain_masks.training.phases import plan_phases
from domain_masks.training.schedules import rate_factor
from domain_masks.training.weight_average import WeightAverage


class TrainingEngine:
    """Optimisers, learning rates, gradients: what a method asks for while it learns (the protocol ``Engine``).

    Gradients are averaged over processes here and not by a wrapper around the method, so that methods may run their
    network in any order, several times, or in inner loops. Within a step the parameters hold the gradients of that step
    alone; accumulated gradients are kept apart, and gradients that no update used are dropped.

    Raises InputError where the optimisers do not train every parameter once, or the epochs are too few for the phases.
    """

    def __init__(
        self,
        fabric: Fabric,
        method: Method,
        config: RunConfig,
        epochs: int,
        steps_per_epoch: int,
        ids: Sequence[str] = (),
    ) -> None:
        self.fabric = fabric
        self.method = method
        self.config = config
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.phases = plan_phases(method, epochs)
        self._divergence = DivergenceWatch(ids, self._anywhere, interval_on(fabric.device))
        self._epoch = 0
        self._batch_index = 0
        self._rows = 0
        self._ids = torch.zeros(0, dtype=torch.int64)
        self._hooks = Hooks(method, config.seed, fabric.device)
        self._updated: set[str] = set()
        self._rates: dict[str, float] = {}
        self._logged: dict[str, list[Tensor]] = {}
        self.frozen = FrozenEpochs(method, config.freeze_epochs, config.unfreeze_every)
        self._groups = trained_groups(method)
        self._kinds = optimizers_of(method)
        self._scales = layer_scales(method, config.layer_decay)
        self.optimizers = self._build_optimizers()
        self._accumulated = {name: Accumulation(parameters) for name, parameters in self._trained().items()}
        self._list_parameters()
        self._watch = WeightingWatch(method)
        self.average = None if config.average == "none" else WeightAverage(method, config, self._trained())

    def _build_optimizers(self) -> dict[str, Any]:
        # An optimiser whose parameters are all frozen is not built; naming it is no error.
        chosen = {name: groups for name, groups in self._groups.items() if groups}
        return {
            name: self.fabric.setup_optimizers(build_optimizer(groups, self._kinds[name], self.config, self._scales))
            for name, groups in chosen.items()
        }

    def _trained(self) -> dict[str, list[nn.Parameter]]:
        return {
            name: [parameter for group in groups.values() for parameter in group]
            for name, groups in self._groups.items()
            if groups
        }

    def _list_parameters(self) -> None:
        """List the method's parameters, and those that no optimiser has: finding them takes a millisecond, in every step."""
        trained = {id(parameter) for waiting in self._accumulated.values() for parameter in waiting.parameters}
        named = list(self.method.named_parameters())
        self._parameters = [parameter for _, parameter in named]
        self._untrained = [(name, parameter) for name, parameter in named if id(parameter) not in trained]

    @property
    def epoch(self) -> int:
        """Index of the running epoch, from 0."""
        return self._epoch

    @property
    def global_step(self) -> int:
        """Index of the running step over all epochs, from 0."""
        return self._epoch * self.steps_per_epoch + self._batch_index

    @property
    def steps(self) -> int:
        """Steps of the whole training as planned."""
        return self.epochs * self.steps_per_epoch

    @property
    def progress(self) -> float:
        """Fraction of the training that is done, in [0, 1]."""
        return self.global_step / max(1, self.steps)

    @property
    def phase(self) -> str:
        """Name of the running phase."""
        return self.phases.phase(self._epoch).name

    @property
    def phase_steps(self) -> range:
        """The steps of the running phase, counted as :attr:`global_step` is."""
        return range(
            self.phases.start(self._epoch) * self.steps_per_epoch, self.phases.end(self._epoch) * self.steps_per_epoch
        )

    @property
    def rates(self) -> dict[str, float]:
        """Parameter group -> learning rate of the running step; groups that are frozen have none."""
        return self._rates

    def rate(self, group: str) -> float:
        """Return the learning rate of a parameter group in the running step; InputError where no optimiser names it."""
        for kind in self._kinds.values():
            if group in kind.groups:
                return base_rate(group, kind, self.config) * self._rate_factor(group)
        raise unknown("parameter group", group, [name for kind in self._kinds.values() for name in kind.groups])

    def _rate_factor(self, group: str) -> float:
        return rate_factor(self.config, self._epoch, self.global_step, self.epochs, self.steps_per_epoch, group)

    def begin(self, epoch: int, batch_index: int, rows: int = 0) -> None:
        """Start a step: set its learning rates, and drop the gradients that the previous step did not use.

        ``rows`` are those of the global batch, if they are known before :meth:`backward` is called.
        """
        is_next_epoch = epoch != self._epoch
        self._epoch, self._batch_index, self._rows = epoch, batch_index, rows
        self._updated.clear()
        self._logged.clear()
        self._watch.begin()
        for parameter in self._parameters:
            parameter.grad = None
        self.frozen.begin(epoch)
        entered = self._hooks.enter_phases(self.phases, epoch)
        if any(phase.fresh_optimizers for phase in entered):
            self.optimizers = self._build_optimizers()
        if entered and self.average is not None:
            self.average.restart(self.global_step)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * self._rate_factor(group["name"])
                self._rates[group["name"]] = group["lr"]
        self._hooks.begin_epoch(epoch, self)
        if entered or is_next_epoch:
            self._list_parameters()

    def autocast(self) -> AbstractContextManager[None]:
        """Return the context of a step: the run's precision, on a CPU with gradients that are fast in bf16."""
        return autocast(self.fabric, self.config)

    def backward(
        self, loss: Tensor, batch: DomainBatch, only: Collection[str] | None = None, retain: bool = False
    ) -> None:
        """Add the gradients of a loss that is a mean over ``batch``.

        Processes may hold unequal parts of a batch: each part is weighted by its rows. Raises DivergedError, before any weight
        is changed, where the loss is NaN or infinite on any process; InputError for an unknown optimiser, and for a
        classification loss without the class weights.
        """
        if self._watch.active and self._anywhere(self._watch.is_unweighted(loss, batch)):
            raise self._watch.refusal(self._place)
        self._divergence.note(loss, batch.ids, self._place)
        self._ids = batch.ids
        options: dict[str, Any] = {"retain_graph": True} if retain else {}
        if only is not None:
            names = self._named([only] if isinstance(only, str) else only)
            # Frozen ones may be there in the first epochs.
            options["inputs"] = [
                parameter
                for name in names
                for parameter in self._accumulated[name].parameters
                if parameter.requires_grad
            ]
            if not options["inputs"]:
                return
        random, world = batch.random, self.fabric.world_size
        self._rows = max(self._rows, len(batch) * world if random is None else random.total)
        weight = 1.0 if random is None or world == 1 else random.count * world / random.total
        self.fabric.backward(loss * weight if weight != 1.0 else loss, **options)

    def _named(self, names: Collection[str]) -> list[str]:
        """Return the named optimisers that have parameters to train; raises InputError for unknown ones."""
        for name in names:
            if name not in self._groups:
                raise unknown("optimiser", name, self._groups)
        return [name for name in dict.fromkeys(names) if name in self.optimizers]

    def _anywhere(self, here: bool) -> bool:
        """Whether something holds on any process."""
        if self.fabric.world_size == 1:
            return here
        flag = torch.tensor(int(here), device=self.fabric.device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag)

    @property
    def _place(self) -> str:
        return f"step {self.global_step + 1} (batch {self._batch_index + 1} of epoch {self._epoch + 1})"

    def require(self, value: Tensor, limit: float, batch: DomainBatch, message: Callable[[float], str]) -> None:
        """Raise DivergedError with ``message(value)`` where ``value``, one number, is above ``limit`` or not finite.

        On an accelerator some steps later: see :class:`~domain_masks.training.divergence.DivergenceWatch`.
        """
        self._divergence.note(value, batch.ids, self._place, limit=limit, advice=message)

    def refuse_divergence(self) -> None:
        """Raise DivergedError where a loss so far is NaN or infinite; all processes call it together.

        To be called before anything of the steps is saved.
        """
        self._divergence.read()

    @property
    def at_accumulation_boundary(self) -> bool:
        """Whether the optimisers take a step after this batch, so that no accumulated gradients are left to save."""
        return (self._batch_index + 1) % self.config.accumulate == 0 or self._batch_index + 1 == self.steps_per_epoch

    def update(self, *optimizers: str) -> None:
        """Clip, step and clear the named optimisers (all, where none is named), once enough batches are accumulated.

        The gradient is then the mean over all rows of these batches, which are fewer at the end of an epoch. Raises InputError
        for an unknown optimiser, for one that is updated twice in a step while batches are accumulated, and where the
        classification loss lacks the class weights.
        """
        if self._watch.active and self._anywhere(self._watch.is_passed_by()):
            raise self._watch.refusal(self._place)
        self._refuse_unfrozen()
        stepped = []
        for name in self._named(optimizers or tuple(self._groups)):
            if self.config.accumulate == 1:
                stepped += [name] if self._step(name) else []
                continue
            if name in self._updated:
                raise InputError(
                    f"accumulate: method {self.method.name!r} updates optimiser {name!r} several times per step, whose batches "
                    "cannot be put together: leave accumulate out, and use a larger batch"
                )
            self._updated.add(name)
            self._accumulated[name].add(self._rows or 1)
            if (
                self._accumulated[name].batches == self.config.accumulate
                or self._batch_index + 1 == self.steps_per_epoch
            ):
                self._accumulated[name].assign_mean()
                stepped += [name] if self._step(name) else []
        self._after(stepped)

    def drop(self, *optimizers: str) -> None:
        """Clear the gradients of the named optimisers (all, where none is named) without a step."""
        for name in self._named(optimizers or tuple(self._groups)):
            for parameter in self._accumulated[name].parameters:
                parameter.grad = None

    def _after(self, stepped: Sequence[str]) -> None:
        """Call the method's hook and update the weight average for the optimisers that took a step."""
        if stepped:
            self.method.after_update(self)
        for name in stepped:
            if self.average is not None:
                self.average.update(name, self.global_step, self.phase_steps)

    def finish_epoch(self) -> None:
        """End the epoch: step with the gradients still accumulated, and call the method's hook.

        Running statistics are averaged over all processes. Raises InputError where class weights are set and no step used them.
        """
        self.refuse_divergence()
        stepped = []
        for name, waiting in self._accumulated.items():
            if waiting.batches:
                waiting.assign_mean()
                stepped += [name] if self._step(name) else []
        self._after(stepped)
        self.average_buffers()
        if self._hooks.end_epoch(self._epoch, self):
            self.average_buffers()
        self._watch.begin()
        in_last_phase = self._hooks.phase_index == len(self.phases.phases) - 1
        if self._watch.active and in_last_phase and not self._anywhere(self._watch.used):
            raise self._watch.refusal(f"every step of epoch {self._epoch + 1}")

    def _refuse_unfrozen(self) -> None:
        for name, parameter in self._untrained:
            if parameter.grad is not None:
                raise InputError(
                    f"parameter {name} of method {self.method.name!r} was frozen when training began, and got a gradient at "
                    f"{self._place}: expected it to stay frozen, or not to be frozen but left out of engine.update"
                )

    def _step(self, name: str) -> bool:
        """Step an optimiser; returns whether it took the step."""
        optimizer, parameters = self.optimizers[name], self._accumulated[name].parameters
        if self.fabric.world_size > 1:
            average_gradients(parameters)
        if all(parameter.grad is None for parameter in parameters):
            return False
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if self.config.clip is not None:
            norm = self._clip(optimizer, parameters, self.config.clip)
            # Under a gradient scaler infinite gradients are expected: it skips the step and lowers the scale.
            if scaler is None and norm is not None:
                self._divergence.note(norm, self._ids, self._place, "the norm of the gradient")
        if scaler is None:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            # Autocast keeps 16-bit copies of weights until its context ends: those of before the step.
            torch.clear_autocast_cache()
            return True
        one = torch.ones((), device=self.fabric.device)
        before = scaler.scale(one)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()
        after = scaler.scale(one)
        for waiting in self._accumulated.values():
            waiting.scale(after / before)
        # The scaler lowers the scale where it skipped the step. Read only where it matters: the host waits for the answer.
        return not self._follows_updates or bool(after >= before)

    def _clip(self, optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor], largest: float) -> Tensor | None:
        """Clip the gradients of an optimiser's parameters; returns their norm, in which equal rows count once."""
        stepped = {*parameters}
        repeated = [(parameter, rows) for parameter, rows in self.method.equal_rows().items() if parameter in stepped]
        for parameter, rows in repeated:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * rows**-0.5
        norm = self.fabric.clip_gradients(self.method, optimizer, max_norm=largest, error_if_nonfinite=False)
        for parameter, rows in repeated:
            if parameter.grad is not None:
                parameter.grad = parameter.grad * rows**0.5
        return norm

    @property
    def _follows_updates(self) -> bool:
        return self.average is not None or type(self.method).after_update is not Method.after_update

    def log(self, name: str, value: Tensor | float) -> None:
        """Log a number for ``metrics.csv``, where its mean over the epoch is ``log/NAME``; it is not part of the loss.

        Raises ValueError where it is not one number.
        """
        # Filled on the device: a copy from the host would be a synchronisation.
        device = self.fabric.device
        number = value.detach().float() if isinstance(value, Tensor) else torch.full((), float(value), device=device)
        if number.numel() != 1:
            raise ValueError(f"expected one number to log as {name!r}, got a tensor of shape {tuple(number.shape)}")
        self._logged.setdefault(name, []).append(number.reshape(()))

    @property
    def logged(self) -> dict[str, Tensor]:
        """The numbers logged in the current step; the mean of one that was logged several times."""
        return {name: torch.stack(values).mean() for name, values in self._logged.items()}

    def reduce(self, value: Tensor) -> Tensor:
        """Return the mean of ``value`` over all processes, which call it together; it can be differentiated to any order."""
        if self.fabric.world_size == 1:
            return value
        return sum_over_processes(value.to(self.fabric.device)) / self.fabric.world_size

    def average_buffers(self) -> None:
        """Average the running statistics (batch norm) over all processes, before they are used or saved."""
        if self.fabric.world_size > 1:
            for buffer in self.method.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer.div_(self.fabric.world_size)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the method's weights; all processes call it together."""
        world = self.fabric.world_size
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "waiting": {name: kept.state_dict(world) for name, kept in self._accumulated.items() if kept.batches},
            "processes": world,
            **self._hooks.state_dict(),
            "weighted": self._watch.used or self.method.class_weights_used,
            "precision": self.fabric.strategy.precision.state_dict(),
            **({} if self.average is None else {"average": self.average.state_dict()}),
        }

    def load_state_dict(self, state: Mapping[str, Any], epochs_begun: int) -> None:
        """Load what :meth:`state_dict` returned in this or an older version, when ``epochs_begun`` epochs had started."""
        self._hooks.load_state_dict(state, self.phases, epochs_begun)
        self._watch.used = bool(state.get("weighted", True))
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, kept in state.get("waiting", {}).items():
            self._accumulated[name].load_state_dict(
                kept, self.fabric.global_rank, self.fabric.world_size, state["processes"]
            )
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
