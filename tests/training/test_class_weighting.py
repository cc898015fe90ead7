"""Class weights are used by every method that is trained with them, or it is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Aggregate
from domain_masks.methods.base import labels_of
from domain_masks.training import run
from training import other_methods
from training.other_methods import Alternating, InTurns, OneBranch, OwnCrossEntropy, SometimesWeighted

FROZEN = {"freeze_features": True, "views": 1}


class Quiet:
    def say(self, line: str) -> None:
        pass

    def track(self, items: Iterable[Any], _total: int, _what: str) -> Iterator[Any]:
        yield from items


class ByHand(Aggregate):
    """Writes the cross entropy out."""

    name = "by_hand"

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        scores = self.network.task(self.boundary_features(batch)).log_softmax(1)
        return {"classification": -scores[torch.arange(len(batch)), labels_of(batch)].mean()}


class SoftLabels(Aggregate):
    """Gives the cross entropy shares of classes in the place of their numbers."""

    name = "soft_labels"

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        shares = functional.one_hot(labels_of(batch), len(self.context.classes)).float()
        return {"classification": functional.cross_entropy(self.network.task(self.boundary_features(batch)), shares)}


class Smoothed(Aggregate):
    name = "smoothed"

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        logits = self.network.task(self.boundary_features(batch))
        return {"classification": functional.cross_entropy(logits, labels_of(batch), label_smoothing=0.1)}


class InALaterEpoch(Aggregate):
    """Computes a cross entropy of its own from the second epoch on."""

    name = "in_a_later_epoch"

    def step(self, batch: DomainBatch, engine: Any) -> dict[str, Tensor]:
        logits, labels = self.network.task(self.boundary_features(batch)), labels_of(batch)
        own = functional.cross_entropy if engine.epoch else self.classification_loss
        loss = own(logits, labels)
        engine.backward(loss, batch)
        engine.update()
        return {"classification": loss.detach()}


def trained(kind: Any, folder: Path, **settings: Any) -> Any:
    with other_methods.registered(kind):
        config = generated.config(**{"method": kind.name, "class_weights": "balanced", "epochs": 1, **settings})
        return run(config, folder, dataset=generated.dataset(8), reporter=Quiet())


@pytest.mark.parametrize("frozen", [{}, FROZEN], ids=["images", "frozen"])
@pytest.mark.parametrize("kind", [OwnCrossEntropy, OneBranch, ByHand, SoftLabels, Smoothed])
def test_a_method_that_leaves_them_out_is_refused_before_anything_is_written(
    kind: Any, frozen: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=rf"class_weights: method '{kind.name}' .*self\.classification_loss"):
        trained(kind, tmp_path / "run", **frozen)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("kind", "place"), [(SometimesWeighted, "step 2 "), (InALaterEpoch, r"batch 1 of epoch 2")])
def test_a_step_that_leaves_them_out_is_refused_when_it_comes(kind: Any, place: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"class_weights: .* without them at .*{place}"):
        trained(kind, tmp_path / "run", epochs=2)


def test_a_refused_run_leaves_the_one_that_is_there(tmp_path: Path) -> None:
    config = generated.config(method="aggregate", epochs=1)
    before = run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=Quiet()).folder.model.read_bytes()
    refused = generated.config(method="own_cross_entropy", epochs=1, class_weights="balanced")
    with other_methods.registered(OwnCrossEntropy), pytest.raises(InputError, match="class_weights"):
        run(refused, tmp_path / "run", overwrite=True, dataset=generated.dataset(8), reporter=Quiet())
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    assert (tmp_path / "run" / "results.json").is_file()


BY_GRADIENT = [kind for kind in METHODS.values() if not kind.is_closed_form()]


@pytest.mark.parametrize("kind", [OwnCrossEntropy, OneBranch, ByHand, SoftLabels, Smoothed])
def test_a_method_that_leaves_label_smoothing_out_is_refused(kind: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"label_smoothing: method '{kind.name}' .*self\.classification_loss"):
        trained(kind, tmp_path / "run", class_weights="none", label_smoothing=0.1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_label_smoothing_changes_what_is_learned(weights: str, tmp_path: Path) -> None:
    config = {"method": "aggregate", "fast": True, "class_weights": weights}
    models = [
        run(
            generated.config(**config, label_smoothing=share),
            tmp_path / str(share),
            dataset=generated.dataset(8),
            reporter=Quiet(),
        )
        for share in (0.0, 0.2)
    ]
    first, second = (done.folder.model.read_bytes() for done in models)
    assert first != second


IN_SHORT = ("dmg", "dann")  # the contract of methods trains every one with class weights


@pytest.mark.parametrize(
    "kind",
    [
        *(Alternating, InTurns),
        *(pytest.param(kind, marks=() if kind.name in IN_SHORT else pytest.mark.slow) for kind in BY_GRADIENT),
    ],
    ids=lambda kind: kind.name,
)
def test_methods_that_use_them_are_trained(kind: Any, tmp_path: Path) -> None:
    # Label smoothing, too, in the same run: every method is trained with both.
    config = generated.config(method=kind.name, class_weights="balanced", label_smoothing=0.1, fast=True)
    METHODS.setdefault(kind.name, kind)
    try:
        run(config, tmp_path / "run", dataset=generated.dataset(8), reporter=Quiet())
    finally:
        if kind in (Alternating, InTurns):
            del METHODS[kind.name]


def test_without_weights_a_loss_of_its_own_is_fine(tmp_path: Path) -> None:
    with other_methods.registered(OwnCrossEntropy):
        run(
            generated.config(method="own_cross_entropy", fast=True),
            tmp_path / "r",
            dataset=generated.dataset(8),
            reporter=Quiet(),
        )
