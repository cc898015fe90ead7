"""The engine that methods learn on: Lightning Fabric underneath, and nothing of it visible to a method."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, InputError, RunFolderError, unknown
from domain_masks.methods import Method
from domain_masks.records.config import RunConfig
from domain_masks.training.schedules import rate_factor

_NAMED = 64
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def is_main_process() -> bool:
    """Whether this is the first process of a run; known before the others are started."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def launch(config: RunConfig) -> Fabric:
    """Start Lightning Fabric on the devices that the configuration names.

    Raises InputError where a device is not there.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' is not available here: use --device cpu, or auto for the best there is")
    accelerator = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and config.devices > torch.cuda.device_count():
        raise InputError(
            f"expected at most {torch.cuda.device_count()} devices, as many as there are, got {config.devices}"
        )
    if config.precision == "16" and accelerator == "cpu":
        raise InputError("precision '16' needs a GPU: use --precision bf16 or 32 on a CPU")
    fabric = Fabric(
        accelerator=accelerator,
        devices=config.devices,
        strategy="ddp" if config.devices > 1 else "auto",
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


def on_main_process(fabric: Fabric, write: Callable[[], None]) -> None:
    """Let the first process write, and all of them wait; where that fails, all raise the same RunFolderError."""
    problem: RunFolderError | None = None
    if fabric.is_global_zero:
        try:
            write()
        except RunFolderError as error:
            problem = error
    if fabric.world_size > 1:
        problem = fabric.broadcast(problem)
    if problem is not None:
        raise problem


def repeatable(deterministic: bool) -> None:
    """Allow only operations that give the same bits each time on the same device, if that is asked for.

    Where there is no such operation, PyTorch raises an error that names the one it has.
    """
    if not deterministic:
        return
    # cuBLAS reads it when it is first used; it repeats with workspaces of a fixed size alone.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


class TrainingEngine:
    """Optimisers, learning rates, gradients: what a method asks for while it learns (the protocol ``Engine``).

    Gradients are averaged over processes here and not by a wrapper around the method, so that methods may run their
    network in any order, several times, or in inner loops.
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
        self._ids = ids
        self._epoch = 0
        self._batch_index = 0
        self._rates: dict[str, float] = {}
        self.optimizers = self._build_optimizers()

    def _build_optimizers(self) -> dict[str, Any]:
        groups = self.method.parameter_groups()
        rates = {"head": self.config.lr_head, "masks": self.config.lr_masks}
        base = self.config.lr
        if base is None:
            raise ValueError("expected a resolved configuration, got one without a learning rate")
        built = {}
        for name, members in self.method.optimizers().items():
            parameters = []
            for group in members:
                if group not in groups:
                    raise unknown(f"parameter group of optimiser {name!r}", group, groups)
                trained = [parameter for parameter in groups[group] if parameter.requires_grad]
                if trained:
                    rate = rates.get(group) or base
                    parameters.append({"params": trained, "name": group, "lr": rate, "base_lr": rate})
            optimizer = self._optimizer(parameters)
            built[name] = self.fabric.setup_optimizers(optimizer)
        return built

    def _optimizer(self, parameters: list[dict[str, Any]]) -> torch.optim.Optimizer:
        decay = self.config.weight_decay or 0.0
        # One kernel for all parameters; it cannot be combined with clipping under a gradient scaler.
        fused = self.config.precision != "16"
        if self.config.optimizer == "adam":
            return torch.optim.Adam(parameters, weight_decay=decay, fused=fused)
        return torch.optim.SGD(
            parameters, lr=self.config.lr or 0.0, momentum=self.config.momentum, weight_decay=decay, fused=fused
        )

    @property
    def epoch(self) -> int:
        """Index of the running epoch, from 0."""
        return self._epoch

    @property
    def global_step(self) -> int:
        """Index of the running step over all epochs, from 0."""
        return self._epoch * self.steps_per_epoch + self._batch_index

    @property
    def progress(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return self.global_step / max(1, self.epochs * self.steps_per_epoch)

    @property
    def phase(self) -> str:
        """Name of the running phase."""
        done = (self._epoch + 0.5) / max(1, self.epochs)
        phases = list(self.method.phases())
        for phase in phases[:-1]:
            done -= phase.share
            if done < 0:
                return phase.name
        return phases[-1].name

    @property
    def rates(self) -> dict[str, float]:
        """Parameter group -> learning rate of the running step."""
        return self._rates

    def begin(self, epoch: int, batch_index: int) -> None:
        """Note which step begins and set its learning rates."""
        self._epoch, self._batch_index = epoch, batch_index
        factor = rate_factor(self.config, epoch, self.global_step, self.epochs, self.steps_per_epoch)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
                self._rates[group["name"]] = group["lr"]

    def backward(self, loss: Tensor, batch: DomainBatch) -> None:
        """Add the gradients of a loss that is a mean over ``batch``.

        Processes may hold unequal parts of a batch: each part counts by its rows. Raises DivergedError, before any weight
        is changed, where the loss is NaN or infinite on any process.
        """
        self._refuse_infinite(loss, batch)
        weight = 1.0 / self.config.accumulate
        if batch.random is not None and self.fabric.world_size > 1:
            weight *= batch.random.count * self.fabric.world_size / batch.random.total
        self.fabric.backward(loss * weight if weight != 1.0 else loss)

    def _refuse_infinite(self, loss: Tensor, batch: DomainBatch) -> None:
        finite = torch.isfinite(loss.detach()).all()
        everywhere = finite
        if self.fabric.world_size > 1:
            everywhere = finite.to(torch.int32)
            torch.distributed.all_reduce(everywhere, op=torch.distributed.ReduceOp.MIN)
        if bool(everywhere):
            return
        where = f"step {self.global_step + 1} (batch {self._batch_index + 1} of epoch {self._epoch + 1})"
        if bool(finite):
            raise DivergedError(f"the loss became NaN or infinite at {where} on another process")
        rows = batch.ids.tolist()
        names = [self._ids[row] if row < len(self._ids) else f"row {row}" for row in rows[:_NAMED]]
        more = f", ... ({len(rows) - _NAMED} more)" if len(rows) > _NAMED else ""
        raise DivergedError(
            f"the loss is {float(loss.detach())} at {where}, whose pictures are {', '.join(names)}{more}. "
            "No weight was changed. Look at the pictures, or try a lower --lr, --clip 1, or --precision 32."
        )

    @property
    def is_settled(self) -> bool:
        """Whether all gradients so far have been used, so that the optimisers' states are all there is to save."""
        return (self._batch_index + 1) % self.config.accumulate == 0 or self._batch_index + 1 == self.steps_per_epoch

    def update(self, *optimizers: str) -> None:
        """Clip, step and clear the named optimisers (all, where none is named), once enough batches are accumulated."""
        if not self.is_settled:
            return
        for name in optimizers or tuple(self.optimizers):
            if name not in self.optimizers:
                raise unknown("optimiser", name, self.optimizers)
            optimizer = self.optimizers[name]
            if self.fabric.world_size > 1:
                self._average_gradients(group["params"] for group in optimizer.param_groups)
            if self.config.clip is not None:
                self.fabric.clip_gradients(self.method, optimizer, max_norm=self.config.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def reduce(self, value: Tensor) -> Tensor:
        """Return the mean of ``value`` over all processes."""
        if self.fabric.world_size == 1:
            return value
        return self.fabric.all_reduce(value, reduce_op="mean")  # type: ignore[return-value]

    def _average_gradients(self, groups: Iterable[list[nn.Parameter]]) -> None:
        gradients = []
        for group in groups:
            for parameter in group:
                # Every process must bring the same list, also where a parameter got no gradient here.
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                gradients.append(parameter.grad)
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        torch.distributed.all_reduce(flat)
        flat /= self.fabric.world_size
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def average_buffers(self) -> None:
        """Give all processes the mean of their running statistics (batch norm), before they are used or saved."""
        if self.fabric.world_size > 1:
            for buffer in self.method.buffers():
                if buffer.is_floating_point():
                    torch.distributed.all_reduce(buffer)
                    buffer.div_(self.fabric.world_size)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs besides the method's weights."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "precision": self.fabric.strategy.precision.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
