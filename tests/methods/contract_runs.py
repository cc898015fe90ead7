"""What every method must do in whole runs of the package's own loop, on made images of three sources."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from domain_masks.data import ImageDataset
from domain_masks.data.dataset import fingerprint_of
from domain_masks.deploy.exporting.export import export_model
from domain_masks.deploy.exporting.export_format import ExportFormat
from domain_masks.deploy.exporting.parity_images import generated_images
from domain_masks.deploy.predicting.model import preprocessing_of
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Method
from domain_masks.methods.saving import load_model
from domain_masks.progress import ConsoleReporter
from domain_masks.records.config import RunConfig, parse_config
from domain_masks.records.metrics_log import MetricsLog
from domain_masks.records.results import Results
from domain_masks.training import run
from domain_masks.training.checkpoints import load_checkpoint
from domain_masks.training.phases import plan_phases
from generated import Opener
from methods.contract import CLASSES, SIZE, learnable, toy_batch
from methods.expected import SOURCES, expected

TARGET = "sketch"
QUIET = ConsoleReporter(quiet=True)
PER_CLASS = 8
EPOCHS, BATCH = 6, 24
"""Of 84 training images, in four steps: three whole batches, and a smaller one where batches are pooled."""
_RUN = sys.modules[run.__module__]


@cache
def toy_dataset() -> ImageDataset:
    """Return four domains, the last held out: classes are told by colour and place, domains by brightness."""
    domains = (*SOURCES, TARGET)
    rows = [(d, c, n) for d in range(len(domains)) for c in range(len(CLASSES)) for n in range(PER_CLASS)]
    random = np.random.default_rng(0)
    pixels = random.integers(0, 60, (len(rows), SIZE, SIZE, 3))
    for place, (domain, label, _) in enumerate(rows):
        pixels[place, (SIZE // 2) * (label // 3) :, :, label % 3] += 110
        pixels[place] += 20 * domain
    labels = np.array([c for _, c, _ in rows], dtype=np.int64)
    indices = np.array([d for d, _, _ in rows], dtype=np.int64)
    content = pixels.astype(np.uint8)
    return ImageDataset(
        name="made",
        classes=CLASSES,
        domains=domains,
        ids=tuple(f"{domains[d]}/{CLASSES[c]}/{n}.png" for d, c, n in rows),
        labels=labels,
        domain_indices=indices,
        splits=None,
        open_image=Opener(content),
        fingerprint=fingerprint_of([domains, CLASSES], [labels, indices], content.tobytes()),
    )


def config(name: str, **changes: Any) -> RunConfig:
    """Return the settings of the suite's runs of a method."""
    own = expected(name)
    settings = {
        "dataset": "made",
        "target": TARGET,
        "augmentation": "none",
        "backbone": "small",
        "weights": "none",
        "size": SIZE,
        "epochs": EPOCHS,
        "batch": BATCH,
        "optimizer": "adam",
        "lr": 3e-3,
        "workers": 0,
        "device": "cpu",
        "method": {"name": name, **own.settings},
    }
    return parse_config({**settings, **own.run, **changes})


def trained(name: str, out: Path, resume: bool = False, **changes: Any) -> Results:
    """Carry out one of the suite's runs; returns its results."""
    return run(config(name, **changes), out, resume=resume, dataset=toy_dataset(), reporter=QUIET).results


@dataclass(frozen=True)
class Whole:
    """A finished run: its folder, the method as it was in memory, before and after, and the results."""

    folder: Path
    before: dict[str, torch.Tensor]
    method: Method
    results: Results


_FOLDERS = TemporaryDirectory(prefix="contract-", ignore_cleanup_errors=True)


@cache
def whole(name: str) -> Whole:
    """Return a finished run of a method, the same one for all checks."""
    folder, seen = Path(_FOLDERS.name) / name, []

    def see(function: str) -> Any:
        original = getattr(_RUN, function)

        def fit(*given: Any) -> Any:
            method = next(value for one in given if isinstance(value := getattr(one, "method", one), Method))
            before = {key: value.clone() for key, value in method.state_dict().items() if torch.is_tensor(value)}
            seen.append((method, before))
            return original(*given)

        return mock.patch.object(_RUN, function, fit)

    with see("fit"), see("fit_closed_form"):
        results = trained(name, folder)
    method, before = seen[0]
    return Whole(folder, before, method, results)


def check_learning(name: str) -> None:
    """It learns to tell the classes, on images of the sources that it has not learned from; its numbers are those promised."""
    results, own = whole(name).results, expected(name)
    assert results.in_domain.accuracy >= own.accuracy
    assert set(results.out_of_domain.by_ensemble) - {"weighted"} == own.ensembles
    assert ("weighted" in results.out_of_domain.by_ensemble) == METHODS[name].predicts_by_domain
    for row in MetricsLog(whole(name).folder / "metrics.csv").read():
        assert np.isfinite(row["loss"])


def check_everything_learns(name: str) -> None:
    """No parameter that is to be trained is, after all epochs of all phases, still as it was in the beginning."""
    if METHODS[name].is_closed_form():
        return
    run_of = whole(name)
    after = load_checkpoint(run_of.folder / "checkpoints" / "last.ckpt")["method"]
    trained_names = [key for key, value in run_of.method.named_parameters() if value.requires_grad]
    assert [key for key in trained_names if torch.equal(after[key], run_of.before[key])] == []


def check_saving(name: str) -> None:
    """The model file answers as the method in memory, and holds nothing that training alone needs."""
    run_of = whole(name)
    again, _ = load_model(run_of.folder)
    batch = learnable(run_of.method.eval(), replace(toy_batch(10), random=None))
    with torch.no_grad():
        logits, expected_logits = again.eval().predict(batch), run_of.method.predict(batch)
    assert set(logits) == set(expected_logits)
    assert all(torch.equal(logits[key], value) for key, value in expected_logits.items())
    alone = run_of.method.training_only() if hasattr(run_of.method, "training_only") else ()
    assert not [key for key in again.state_dict() if alone and key.startswith(tuple(alone))]
    kept = load_checkpoint(run_of.folder / "checkpoints" / "last.ckpt")["method"]
    assert all(any(key.startswith(prefix) for key in kept) for prefix in alone)


def check_export(name: str) -> None:
    """It can be exported, and the file answers as the model."""
    method, card = load_model(whole(name).folder)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt2"
        exported = export_model(
            method, card, ExportFormat(format="pt2"), path, generated_images(preprocessing_of(card))
        )
        assert exported.parity.holds


class _StopError(Exception):
    """Ends a run as a machine that fails."""


def check_resuming(name: str) -> None:
    """A run that ends at the beginning of a phase (or epoch) and again within it, and goes on, is bit for bit the same."""
    kind = METHODS[name]
    if kind.is_closed_form():
        return
    undisturbed = whole(name)
    starts = plan_phases(undisturbed.method, config(name).epochs or 0).starts
    steps = int(MetricsLog(undisturbed.folder / "metrics.csv").read()[0]["step"])
    first = steps * (starts[1] if len(starts) > 1 else 1)
    stops = [first, first + 2]
    step = kind.step

    def stopping(self: Method, batch: Any, engine: Any) -> Any:
        if stops and engine.global_step == stops[0]:
            stops.pop(0)
            raise _StopError
        return step(self, batch, engine)

    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        with mock.patch.object(kind, "step", stopping):
            for resume in (False, True):
                with pytest.raises(_StopError):
                    trained(name, out, resume, checkpoint_every=1e-9)
            trained(name, out, True, checkpoint_every=1e-9)
        assert stops == []
        assert (out / "model.safetensors").read_bytes() == (undisturbed.folder / "model.safetensors").read_bytes()
        logs = [MetricsLog(place / "metrics.csv").read() for place in (out, undisturbed.folder)]
        kept = [
            [{key: v for key, v in row.items() if not key.startswith(("seconds", "images"))} for row in log]
            for log in logs
        ]
        assert kept[0] == kept[1]
        ends = [load_checkpoint(place / "checkpoints" / "last.ckpt")["method"] for place in (out, undisturbed.folder)]
        tensors = [{key: value for key, value in end.items() if torch.is_tensor(value)} for end in ends]
        assert tensors[0].keys() == tensors[1].keys()
        assert [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])] == []


def check_average(name: str) -> None:
    """An average of its weights is what is saved, under the same names; a method without steps refuses it."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if METHODS[name].is_closed_form():
            with pytest.raises(InputError, match=r"^average: "):
                trained(name, out, average="ema")
            return
        assert trained(name, out, fast=True, average="ema", average_decay=0.5).average is not None
        raw = load_checkpoint(out / "checkpoints" / "last.ckpt")["method"]
        averaged, learned = load_model(out)[0].state_dict(), dict(whole(name).method.named_parameters())
        moved = [key for key, value in averaged.items() if key in learned and learned[key].requires_grad]
        assert moved
        assert any(not torch.equal(averaged[key], raw[key]) for key in moved)


def check_frozen_features(name: str) -> None:
    """With frozen features it trains, or it needs images and says so."""
    with TemporaryDirectory() as folder:
        if METHODS[name].needs == "images":
            with pytest.raises(InputError, match=r"^freeze_features: [^\n]*trains on images"):
                trained(name, Path(folder) / "run", fast=True, freeze_features=True)
        else:
            assert trained(name, Path(folder) / "run", fast=True, freeze_features=True, views=1).in_domain


def check_class_weights(name: str) -> None:
    """It weights the classes where that is asked for; one with a closed form says that it has no loss."""
    with TemporaryDirectory() as folder:
        if METHODS[name].is_closed_form():
            with pytest.raises(InputError, match=r"^class_weights: [^\n]*"):
                trained(name, Path(folder) / "run", fast=True, class_weights="balanced")
        else:
            assert trained(name, Path(folder) / "run", fast=True, class_weights="balanced").in_domain


def check_too_few(name: str) -> None:
    """Fewer sources, or smaller batches, than it needs are refused in one line, before anything is written."""
    kind = METHODS[name]
    domains = (*SOURCES, TARGET)
    with TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if kind.fewest_sources > 1:
            left = kind.fewest_sources - 1
            with pytest.raises(InputError, match=rf"^[^\n]*got {left}\b[^\n]*$"):
                trained(name, out, target=",".join(domains[left:]))
        if kind.rows_per_domain:
            least = kind.rows_per_domain * len(SOURCES)
            with pytest.raises(InputError, match=rf"^batch: [^\n]*expected {least} or more, got {least - 1}$"):
                trained(name, out, batch=least - 1)
        assert not out.exists()


RUN_CHECKS = (
    check_learning,
    check_everything_learns,
    check_saving,
    check_export,
    check_resuming,
    check_average,
    check_frozen_features,
    check_class_weights,
    check_too_few,
)
