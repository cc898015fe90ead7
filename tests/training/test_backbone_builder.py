"""What a method is told of the run: how its images were normalised, and how to build another backbone like its own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import generated
from domain_masks.batch import DomainBatch
from domain_masks.methods import Aggregate, Context, Phase
from domain_masks.methods.saving import load_model
from domain_masks.networks import build_backbone
from domain_masks.training import run
from domain_masks.training.checkpoints import load_checkpoint
from training import other_methods
from training.test_closed_form import Quiet

BUILT: list[dict[str, Tensor]] = []


class Twins(Aggregate):
    """Two further backbones, of which one is built again when its phase begins."""

    name = "twins"

    def __init__(self, backbone: nn.Module, context: Context, settings: Any) -> None:
        super().__init__(backbone, context, settings)
        BUILT.append({name: value.clone() for name, value in backbone.state_dict().items()})
        self.twins = nn.ModuleList(context.build_backbone() for _ in range(2))
        BUILT.extend({name: value.clone() for name, value in twin.state_dict().items()} for twin in self.twins)

    def training_only(self) -> tuple[str, ...]:
        return ("twins",)

    def phases(self) -> tuple[Phase, ...]:
        return (Phase("first", 0.5), Phase("second", 0.5))

    def begin_phase(self, name: str) -> None:
        if name == "second":
            state = self.context.build_backbone().state_dict()
            BUILT.append(state)
            self.twins[1].load_state_dict(state)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        return {**super().parameter_groups(), "twins": list(self.twins.parameters())}

    def training_loss(self, batch: DomainBatch) -> dict[str, Tensor]:
        logits = self.network.task(self.boundary_features(batch))
        others = sum(twin(batch.images) for twin in self.twins)
        return {**super().training_loss(batch), "twins": functional.mse_loss(others, logits.detach())}


@pytest.fixture(autouse=True, scope="module")
def methods() -> Iterator[None]:
    with other_methods.registered(Twins):
        yield


@pytest.fixture(autouse=True)
def nothing_built() -> None:
    BUILT.clear()


@pytest.fixture(scope="module")
def data() -> Any:
    return generated.dataset(10)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    path = tmp_path / "weights.pt"
    # Of another number of classes, so that heads are initialised again.
    torch.save(build_backbone("small", 9).state_dict(), path)
    return path


def settings_of(weights: Path, **options: Any) -> Any:
    return generated.config(method="twins", weights=str(weights), epochs=2, **options)


def test_further_backbones_begin_like_the_methods_own(data: Any, weights: Path, tmp_path: Path) -> None:
    run(settings_of(weights), tmp_path / "run", dataset=data, reporter=Quiet())
    there = torch.load(weights)
    own, first, second, later = BUILT[:4]
    head = {name for name, value in there.items() if value.shape != own[name].shape}
    assert head == {"classifier.head.weight", "classifier.head.bias"}
    for built in (own, first, second, later):
        assert all(torch.equal(built[name], there[name]) for name in there.keys() - head)
    weight = "classifier.head.weight"
    drawn = [built[weight] for built in (own, first, second, later)]
    assert not any(torch.equal(one, other) for index, one in enumerate(drawn) for other in drawn[:index])


def test_a_run_goes_on_bit_for_bit(data: Any, weights: Path, tmp_path: Path) -> None:
    whole = run(settings_of(weights), tmp_path / "whole", dataset=data, reporter=Quiet())
    with pytest.raises(KeyboardInterrupt):
        run(settings_of(weights), tmp_path / "cut", dataset=data, reporter=Quiet("epoch 1"))
    cut = run(settings_of(weights), tmp_path / "cut", dataset=data, resume=True, reporter=Quiet())
    one, other = (load_checkpoint(there.folder.last)["method"] for there in (whole, cut))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not any("twins" in name for name in load_model(cut.folder.path)[0].state_dict())


def test_they_begin_from_the_model_that_the_run_starts_from(data: Any, tmp_path: Path) -> None:
    settings = generated.config(method="aggregate", epochs=1)
    origin = run(settings, tmp_path / "origin", dataset=data, reporter=Quiet())
    model = load_model(origin.folder.path)[0].network.network.state_dict()
    settings = generated.config(method="twins", epochs=2, init_from=origin.folder.path)
    run(settings, tmp_path / "run", dataset=data, reporter=Quiet())
    for built in BUILT[1:4]:
        assert all(torch.equal(built[name], value) for name, value in model.items())


def test_a_context_is_compared_copied_and_pickled(data: Any, weights: Path, tmp_path: Path) -> None:
    seen: list[Context] = []

    class Seeing(Aggregate):
        name = "seeing"

        def begin_phase(self, name: str) -> None:
            seen.append(self.context)

    with other_methods.registered(Seeing):
        settings = generated.config(method="seeing", weights=str(weights), epochs=1)
        done = run(settings, tmp_path / "run", dataset=data, reporter=Quiet())
        assert load_model(done.folder.path)[0].context.preprocessing is None
    context = seen[0]
    assert context.preprocessing is not None
    assert context.preprocessing.mean == (0.485, 0.456, 0.406)
    assert context.preprocessing.std == (0.229, 0.224, 0.225)
    for twin in (copy.deepcopy(context), pickle.loads(pickle.dumps(context))):
        assert twin == context
        assert hash(twin) == hash(context)
        assert isinstance(twin.build_backbone(), nn.Module)
    assert context == replace(context, preprocessing=None, further_backbone=None)


def test_a_context_made_by_hand_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="a function that builds backbones"):
        Context(("a", "b"), ("x", "y")).build_backbone()
