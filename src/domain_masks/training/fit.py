"""The training loop: epochs of steps, validation on the sources, the best epoch, and a checkpoint after each epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning.fabric import Fabric
from torch import Tensor

from domain_masks.batch import DomainBatch
from domain_masks.errors import DivergedError, RunFolderError
from domain_masks.masks import mask_statistics
from domain_masks.methods import Method
from domain_masks.progress import Reporter
from domain_masks.records.config import RunConfig
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.run_folder import RunFolder
from domain_masks.training.checkpoints import load_checkpoint, save_checkpoint
from domain_masks.training.engine import TrainingEngine

FAST_BATCHES = 2
_REPEATABLE = {"epochs", "patience", "max_time", "workers", "device", "devices", "root"}
"""Settings that a resumed run may change."""


class EpochLoader(Protocol):
    """The batches of one epoch after another."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


@dataclass(frozen=True)
class Sources:
    """What training and selection see: the sources' pictures and nothing of a held-out domain.

    - ``train``: the training batches, epoch by epoch
    - ``validation``: gives this process's share of the validation batches, with labels and domains
    - ``prepare``: puts a batch on the device, augments its pictures where it is one of training, and normalises them
    """

    names: tuple[str, ...]
    train: EpochLoader
    validation: Callable[[], Iterable[DomainBatch]]
    prepare: Callable[[DomainBatch], DomainBatch]


@dataclass
class Progress:
    """How far a run is."""

    epochs_done: int = 0
    best_epoch: int = -1
    best_accuracy: float = -1.0
    seconds: float = 0.0
    stopped: str = ""
    history: list[float] = field(default_factory=list)


def fit(
    fabric: Fabric, method: Method, sources: Sources, config: RunConfig, folder: RunFolder, reporter: Reporter
) -> Progress:
    """Train ``method`` and leave ``last.ckpt`` and ``best.ckpt`` in the run folder; goes on from ``last.ckpt``.

    The best epoch is the first with the highest mean over source domains of the validation accuracy.

    Raises DivergedError where the loss is NaN or infinite; the checkpoint of the epoch before is kept.
    """
    epochs = 1 if config.fast else (config.epochs or 1)
    steps = min(FAST_BATCHES, len(sources.train)) if config.fast else len(sources.train)
    engine = TrainingEngine(fabric, method, config, epochs, steps)
    progress = _restore(folder.last, method, engine, config) if folder.last.is_file() else Progress()
    log = MetricsLog(folder.metrics)
    if fabric.is_global_zero:
        log.truncate(progress.epochs_done)
    began = time.monotonic() - progress.seconds
    board = _TensorBoard(folder.path / "tensorboard", progress.epochs_done) if fabric.is_global_zero else None
    for epoch in range(progress.epochs_done, epochs):
        if config.patience is not None and epoch - 1 - progress.best_epoch >= config.patience:
            # A run that had lost patience before it was interrupted: it must not train on when it is resumed.
            break
        terms, images_per_second = _train_epoch(fabric, method, engine, sources, epoch, reporter)
        engine.average_buffers()
        accuracies = validate(fabric, method, sources)
        accuracy = sum(accuracies.values()) / len(accuracies)
        progress.seconds = time.monotonic() - began
        progress.epochs_done = epoch + 1
        progress.history.append(accuracy)
        improved = accuracy > progress.best_accuracy
        if improved:
            progress.best_epoch, progress.best_accuracy = epoch, accuracy
        if fabric.is_global_zero:
            row = _row(method, engine, epoch, terms, accuracies, progress)
            # The row first: what is surplus is dropped by a resumed run, what is missing would stay so.
            log.append({**row, "images_per_second": images_per_second})
            _save(folder, method, engine, config, progress, improved)
            if board is not None:
                board.add(row, epoch)
        fabric.barrier()
        reporter.say(
            f"epoch {epoch + 1:>{len(str(epochs))}}/{epochs}  loss {sum(terms.values()):.4f}  validation {accuracy:.4f}"
            f"{' *' if improved else '  '} {progress.seconds:7.1f} s"
        )
        if config.patience is not None and epoch - progress.best_epoch >= config.patience:
            progress.stopped = f"no better epoch for {config.patience} epochs"
        elif config.max_time is not None and progress.seconds >= config.max_time and epoch + 1 < epochs:
            progress.stopped = f"the time of {config.max_time:g} s is over"
        if progress.stopped:
            reporter.say(f"stopped after epoch {epoch + 1}: {progress.stopped}")
            break
    if board is not None:
        board.close()
    return progress


def _train_epoch(
    fabric: Fabric, method: Method, engine: TrainingEngine, sources: Sources, epoch: int, reporter: Reporter
) -> tuple[dict[str, float], float]:
    method.train()
    sources.train.set_epoch(epoch)
    sums: dict[str, Tensor] = {}
    rows = 0
    started = time.monotonic()
    for index, raw in enumerate(reporter.track(sources.train, engine.steps_per_epoch, f"epoch {epoch + 1}")):
        if index == engine.steps_per_epoch:
            break
        if _too_small(raw, fabric.world_size):
            continue
        batch = sources.prepare(raw)
        engine.begin(epoch, index)
        if batch.random is None:
            raise ValueError("expected training batches with random numbers of their own")
        with fabric.autocast(), batch.random.seeded("layers", fabric.device):
            terms = method.step(batch, engine)
        _check_finite(terms, engine.global_step, batch)
        for name, term in terms.items():
            sums[name] = sums.get(name, 0) + term.detach().float() * len(batch)
        rows += len(batch)
    means = {name: float(engine.reduce(total / max(1, rows))) for name, total in sums.items()}
    return means, rows * fabric.world_size / (time.monotonic() - started)


def _too_small(batch: DomainBatch, world_size: int) -> bool:
    """Whether a last batch has fewer rows than processes, or a single one, of which batch norm takes no statistics."""
    total = len(batch) if batch.random is None else batch.random.total
    return total < max(2, world_size)


def _check_finite(terms: dict[str, Tensor], step: int, batch: DomainBatch) -> None:
    if not all(bool(torch.isfinite(term)) for term in terms.values()):
        values = ", ".join(f"{name} {float(term):g}" for name, term in terms.items())
        rows = ", ".join(str(row) for row in batch.ids[:8].tolist())
        raise DivergedError(
            f"the loss is not finite at step {step} ({values}; rows {rows}{', ...' if len(batch) > 8 else ''} of the "
            "dataset). The checkpoint of the last whole epoch is kept. Try a lower --lr, --clip 1, or --precision 32"
        )


def validate(fabric: Fabric, method: Method, sources: Sources) -> dict[str, float]:
    """Return source -> accuracy on its validation pictures, by the predictions that the method chooses epochs with."""
    correct = torch.zeros(len(sources.names), device=fabric.device)
    count = torch.zeros_like(correct)
    training = method.training
    method.eval()
    with torch.inference_mode(), fabric.autocast():
        for raw in sources.validation():
            batch = sources.prepare(raw)
            if batch.labels is None or batch.domains is None:
                raise ValueError("expected validation batches with labels and domains")
            hits = method.validation_logits(batch).argmax(-1).eq(batch.labels).to(correct.dtype)
            correct.index_add_(0, batch.domains, hits)
            count.index_add_(0, batch.domains, torch.ones_like(hits))
    method.train(training)
    if fabric.world_size > 1:
        correct, count = fabric.all_reduce((correct, count), reduce_op="sum")
    shares = (correct / count.clamp(min=1)).tolist()
    return {name: share for name, share, seen in zip(sources.names, shares, count.tolist(), strict=True) if seen}


def _row(
    method: Method,
    engine: TrainingEngine,
    epoch: int,
    terms: dict[str, float],
    accuracies: dict[str, float],
    progress: Progress,
) -> dict[str, float | int | str]:
    row: dict[str, float | int | str] = {"epoch": epoch, "step": engine.global_step + 1}
    row |= {f"lr/{name}": rate for name, rate in engine.rates.items()}
    row |= {"loss": sum(terms.values())} | {f"loss/{name}": value for name, value in terms.items()}
    row |= {"validation_accuracy": progress.history[-1]}
    row |= {f"validation_accuracy/{name}": value for name, value in accuracies.items()}
    for site, logits in method.mask_logits().items():
        statistics = mask_statistics(logits, method.context.sources)
        if "overall_iou" in statistics:
            row[f"mask_iou/{site}"] = statistics["overall_iou"]
        row |= {f"mask_activated/{site}/{name}": share for name, share in statistics["activated"].items()}
    return row | {"seconds": progress.seconds}


def _save(
    folder: RunFolder, method: Method, engine: TrainingEngine, config: RunConfig, progress: Progress, best: bool
) -> None:
    weights = method.state_dict()
    if best:
        save_checkpoint(folder.best, {"method": weights, "epoch": progress.best_epoch})
    save_checkpoint(
        folder.last,
        {
            "method": weights,
            "engine": engine.state_dict(),
            "progress": vars(progress),
            "config": config.model_dump(mode="json"),
        },
    )


def _restore(path: Path, method: Method, engine: TrainingEngine, config: RunConfig) -> Progress:
    state = load_checkpoint(path)
    here = config.model_dump(mode="json")
    changed = [
        f"{name} (was {state['config'].get(name)!r}, now {value!r})"
        for name, value in here.items()
        if name not in _REPEATABLE and state["config"].get(name) != value
    ]
    if changed:
        raise RunFolderError(
            f"{path.parent.parent} holds a run with other settings: {', '.join(changed)}. Resume with the same settings, or "
            "name another folder with --out"
        )
    method.load_state_dict(state["method"])
    engine.load_state_dict(state["engine"])
    return Progress(**{**state["progress"], "stopped": ""})


class _TensorBoard:
    """The numbers of ``metrics.csv`` for TensorBoard as well."""

    def __init__(self, folder: Path, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415

        self._writer = SummaryWriter(str(folder), purge_step=epochs_done)

    def add(self, row: dict[str, float | int | str], epoch: int) -> None:
        for name, value in row.items():
            if isinstance(value, float):
                self._writer.add_scalar(name, value, epoch)

    def close(self) -> None:
        self._writer.close()
