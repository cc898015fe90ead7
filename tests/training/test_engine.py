"""The engine: rates, accumulation, phases, and independence of the number of processes."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import generated
from domain_masks.batch import DomainBatch
from domain_masks.errors import InputError
from domain_masks.methods import METHODS, Context, Phase
from domain_masks.methods.engine import Optimizer
from domain_masks.methods.method_builder import build_method
from domain_masks.networks import build_backbone, convolutions
from domain_masks.training.engine import TrainingEngine
from domain_masks.training.launching import launch
from domain_masks.training.optimizers import build_optimizer
from domain_masks.training.schedules import rate_factor


def method(name: str = "dmg", **settings: Any) -> Any:
    torch.manual_seed(0)
    context = Context(sources=("a", "b"), classes=("x", "y", "z"), image_size=16)
    return build_method(name, build_backbone("small", 3), context, METHODS[name].Settings(**settings), seed=0)


def batch(rows: int, seed: int = 0) -> DomainBatch:
    random = torch.Generator().manual_seed(seed)
    return DomainBatch(
        images=torch.randn(rows, 3, 16, 16, generator=random),
        labels=torch.randint(0, 3, (rows,), generator=random),
        domains=torch.randint(0, 2, (rows,), generator=random),
        ids=torch.arange(rows),
    )


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("clip", [None, 1.0])
def test_what_follows_an_update_in_a_step_is_computed_with_the_new_weights(precision: str, clip: float | None) -> None:
    config = generated.config(device="cpu", precision=precision, clip=clip, method="aggregate", lr=0.05)
    built = method("aggregate")
    engine = TrainingEngine(launch(config), built, config, epochs=1, steps_per_epoch=1)
    rows = batch(8)

    def logits() -> torch.Tensor:
        with torch.no_grad():
            made: torch.Tensor = built.network(rows.images)
            return made.float()

    built.eval()
    engine.begin(0, 0)
    with engine.autocast():
        before = logits()
        engine.backward(built.training_loss(rows)["classification"], rows)
        engine.update()
        after = logits()
    with engine.autocast():
        expected = logits()
    assert not torch.allclose(before, expected, atol=0.02)
    torch.testing.assert_close(after, expected, rtol=0, atol=0)


def test_a_shared_mask_counts_once_in_the_norm_that_is_clipped() -> None:
    config = generated.config(device="cpu", clip=0.1, optimizer="sgd", momentum=0.0, lr=1.0, weight_decay=0.0)
    built, rows = method(masks="shared"), batch(8)
    engine = TrainingEngine(launch(config), built, config, epochs=1, steps_per_epoch=1)
    before = {name: value.detach().clone() for name, value in built.named_parameters()}
    engine.begin(0, 0)
    # By far the largest gradient, as the norm would otherwise be that of the network.
    engine.backward(100 * sum(logits.square().sum() for logits in built.mask_logits().values()), rows)
    engine.update()
    moved = [value.detach() - before[name] for name, value in built.named_parameters() if ".masks." in name]
    assert all(torch.equal(step, step[:1].expand_as(step)) for step in moved)
    assert torch.cat([step[0] for step in moved]).norm().item() == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "fast", "dtype"),
    [
        ({"precision": "bf16"}, True, torch.bfloat16),
        ({"precision": "32"}, False, torch.float32),
        ({"precision": "bf16", "compile": True}, False, torch.bfloat16),
    ],
)
def test_a_step_has_the_precision_and_gradients_of_the_run(
    changes: dict[str, Any], fast: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[bool] = []

    def convolution(input: torch.Tensor, *others: Any) -> torch.Tensor:
        replaced.append(torch.is_autocast_enabled("cpu"))
        return torch.conv2d(input, *others)

    monkeypatch.setattr(convolutions, "strided_convolution", convolution)
    config = generated.config(device="cpu", **changes)
    engine = TrainingEngine(launch(config), method(), config, epochs=1, steps_per_epoch=1)
    layer = torch.nn.Conv2d(4, 4, 3, 2, groups=4)
    with engine.autocast():
        assert layer(torch.randn(1, 4, 8, 8)).dtype == dtype
    assert replaced == ([True] if fast else [])
    assert layer(torch.randn(1, 4, 8, 8)).dtype == torch.float32
    assert len(replaced) == fast


@pytest.mark.parametrize(
    ("changes", "epoch", "step", "expected"),
    [
        ({"schedule": "constant"}, 7, 70, 1.0),
        ({"schedule": "exponential"}, 10, 100, 0.99**10),
        ({"schedule": "exponential", "schedule_unit": "step"}, 0, 100, 0.99**100),
        ({"schedule": "inverse"}, 49, 0, (1 + 1e-4 * 49) ** -0.75),
        ({"schedule": "inverse", "schedule_unit": "step"}, 0, 5000, 1.5**-0.75),
        ({"schedule": "cosine"}, 25, 0, 0.5),
    ],
)
def test_schedules_are_the_stated_formulas(changes: dict[str, Any], epoch: int, step: int, expected: float) -> None:
    factor = rate_factor(generated.config(**changes), epoch, step, 50, 100)
    assert math.isclose(factor, expected, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("changes", "epoch", "step", "expected"),
    [
        ({"schedule": "constant"}, 0, 0, 1 / 200),
        ({"schedule": "constant"}, 1, 199, 1.0),
        ({"schedule": "cosine"}, 2, 200, 1.0),
        ({"schedule": "cosine"}, 26, 2600, 0.5),
        ({"schedule": "cosine", "schedule_unit": "step"}, 26, 2600, 0.5),
        ({"schedule": "exponential"}, 12, 1200, 0.99**10),
    ],
)
def test_the_schedule_follows_on_the_warm_up(changes: dict[str, Any], epoch: int, step: int, expected: float) -> None:
    settings = generated.config(warmup_epochs=2, **changes)
    assert math.isclose(rate_factor(settings, epoch, step, 50, 100), expected, rel_tol=1e-12)
    assert math.isclose(rate_factor(settings, epoch, step, 50, 100, "masks"), expected, rel_tol=1e-12)


@pytest.mark.parametrize("own", [None, "adamw"])
def test_adamw_decays_the_weights_and_not_the_gradients(own: str | None) -> None:
    settings = generated.config(optimizer="adam" if own else "adamw", lr=0.1, weight_decay=0.5)
    parameter = torch.nn.Parameter(torch.full((3,), 2.0))
    optimizer = build_optimizer({"body": [parameter]}, Optimizer(("body",), kind=own), settings)
    parameter.grad = torch.zeros(3)
    optimizer.step()
    assert parameter.tolist() == pytest.approx([2.0 * (1 - 0.1 * 0.5)] * 3)


def test_groups_have_rates_of_their_own() -> None:
    settings = generated.config(lr=1e-2, lr_head=1e-3, lr_masks=1e-1, schedule="exponential")
    engine = TrainingEngine(launch(settings), method(), settings, epochs=4, steps_per_epoch=5)
    engine.begin(epoch=2, batch_index=3)
    assert engine.rates == pytest.approx({"body": 1e-2 * 0.99**2, "head": 1e-3 * 0.99**2, "masks": 1e-1 * 0.99**2})
    assert engine.global_step == 13
    assert engine.progress == pytest.approx(13 / 20)


def test_layers_below_have_lower_rates() -> None:
    settings = generated.config(lr=1e-2, lr_masks=1e-1, layer_decay=0.5, weight_decay=0.0, schedule="exponential")
    learner = method()
    engine = TrainingEngine(launch(settings), learner, settings, epochs=4, steps_per_epoch=5)
    engine.begin(epoch=2, batch_index=3)
    names = {id(parameter): name for name, parameter in learner.named_parameters()}
    rates = {
        names[id(parameter)]: group["lr"] / 0.99**2
        for group in engine.optimizers["main"].param_groups
        for parameter in group["params"]
    }
    assert rates["network.network.classifier.head.weight"] == pytest.approx(1e-2)
    assert rates["network.network.classifier.hidden.weight"] == pytest.approx(1e-2 / 2)
    assert rates["network.network.features.block3.1.weight"] == pytest.approx(1e-2 / 4)
    assert rates["network.network.features.block1.0.weight"] == pytest.approx(1e-2 / 16)
    assert all(rate == pytest.approx(1e-1) for name, rate in rates.items() if "mask" in name)
    assert set(rates) == set(names.values())
    assert engine.rates == pytest.approx({"body": 1e-2 / 2 * 0.99**2, "head": 1e-2 * 0.99**2, "masks": 1e-1 * 0.99**2})


def test_a_decay_over_layers_reaches_every_method() -> None:
    """Nothing outside of the network is slowed down, nor is a last layer that a method has replaced."""
    settings = generated.config(lr=1e-2, layer_decay=0.5)
    learner = method("multi_headed")
    engine = TrainingEngine(launch(settings), learner, settings, epochs=4, steps_per_epoch=5)
    engine.begin(epoch=0, batch_index=0)
    assert engine.rates == pytest.approx({"body": 1e-2 / 2, "head": 1e-2})


@pytest.mark.parametrize(("unit", "factor"), [("epoch", 0.99**149), ("step", 0.99 ** (149 * 5 + 3))])
def test_masks_may_keep_their_rate_or_follow_a_schedule_of_their_own(unit: str, factor: float) -> None:
    """The authors' code never decays it: after 149 epochs the paper's is 0.22 of theirs."""
    shared = {"lr": 1e-4, "schedule": "exponential", "schedule_unit": unit}
    rates = {}
    for name in ("same", "constant", "cosine"):
        settings = generated.config(**shared, schedule_masks=name)
        engine = TrainingEngine(launch(settings), method(), settings, epochs=150, steps_per_epoch=5)
        engine.begin(epoch=149, batch_index=3)
        assert engine.rates["body"] == engine.rates["head"] == pytest.approx(1e-4 * factor)
        rates[name] = engine.rates["masks"]
    done = 149 / 150 if unit == "epoch" else (149 * 5 + 3) / (150 * 5)
    assert rates["same"] == pytest.approx(1e-4 * factor)
    assert rates["constant"] == 1e-4
    assert rates["cosine"] == pytest.approx(1e-4 * (1 + math.cos(math.pi * done)) / 2)


def test_accumulated_halves_are_the_whole_batch() -> None:
    updates = []
    for accumulate in (1, 2):
        settings = generated.config(lr=0.1, optimizer="sgd", accumulate=accumulate)
        learner = method("aggregate").eval()
        engine = TrainingEngine(launch(settings), learner, settings, epochs=1, steps_per_epoch=accumulate)
        whole = batch(8)
        for index in range(accumulate):
            rows = slice(index * 8 // accumulate, (index + 1) * 8 // accumulate)
            part = DomainBatch(whole.images[rows], whole.labels[rows], whole.domains[rows], whole.ids[rows])
            engine.begin(0, index)
            learner.step(part, engine)
        updates.append({name: value.clone() for name, value in learner.state_dict().items()})
    for name, value in updates[0].items():
        torch.testing.assert_close(value, updates[1][name], msg=name)


def test_phases_share_the_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = method()
    monkeypatch.setattr(type(learner), "phases", lambda self: (Phase("first", 0.3), Phase("second", 0.7)))
    engine = TrainingEngine(launch(generated.config()), learner, generated.config(), epochs=10, steps_per_epoch=1)
    seen = []
    for epoch in range(10):
        engine.begin(epoch, 0)
        seen.append(engine.phase)
    assert seen == ["first"] * 3 + ["second"] * 7


def test_unknown_optimiser_is_named() -> None:
    engine = TrainingEngine(launch(generated.config()), method(), generated.config(), 1, 1)
    with pytest.raises(InputError, match="main"):
        engine.update("mian")


def folder_dataset(root: Path) -> Path:
    random = np.random.default_rng(0)
    for d, domain in enumerate(generated.DOMAINS):
        for c, name in enumerate(generated.CLASSES):
            (root / domain / name).mkdir(parents=True)
            for number in range(10):
                pixels = np.kron(generated.pixels_of(d, c, random), np.ones((2, 2, 1))).astype(np.uint8)
                Image.fromarray(pixels).save(root / domain / name / f"{number}.png")
    return root


INGREDIENTS = (
    *("--freeze_epochs", "1", "--layer_decay", "0.8", "--warmup_epochs", "1", "--label_smoothing", "0.1"),
    *("--auto_augment", "trivialaugment", "--random_erasing", "0.5"),
)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), INGREDIENTS], ids=["plain", "ingredients"])
def test_two_processes_train_the_same_network_as_one(tmp_path: Path, more: tuple[str, ...]) -> None:
    data = folder_dataset(tmp_path / "data")
    command = [
        *(sys.executable, "-m", "domain_masks", "train", "--dataset", str(data), "--target", "stripes"),
        *("--backbone", "squeezenet1_1", "--weights", "none", "--size", "32", "--epochs", "2", "--batch", "13"),
        *("--workers", "0", "--device", "cpu", "--optimizer", "sgd", "--lr", "0.01", "--quiet", *more),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    tensors = []
    for devices in (1, 2):
        out = tmp_path / f"devices-{devices}"
        done = subprocess.run(
            [*command, "--devices", str(devices), "--out", str(out)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("run folder") == 1
        tensors.append(load_file(out / "model.safetensors"))
    one, two = tensors
    assert set(one) == set(two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=2e-5, rtol=1e-3, msg=name)
