"""Second derivatives of convolutions with groups and batch norm against PyTorch's own and against differences."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from domain_masks.networks.convolutions import FastStridedGradients
from domain_masks.networks.second_derivatives import FastSecondDerivatives, batch_norm, grouped_convolution

CONVOLUTIONS: list[tuple[int, Any, Any, Any, bool]] = [
    (4, 1, 1, 1, False),
    (4, 2, 1, 1, True),
    (2, (2, 1), (0, 1), (1, 2), True),
    (2, [1], [1], [1], False),
]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double).requires_grad_()


@pytest.mark.parametrize(("groups", "stride", "padding", "dilation", "biased"), CONVOLUTIONS)
def test_convolutions(groups: int, stride: Any, padding: Any, dilation: Any, biased: bool) -> None:
    given = [random(2, 4, 7, 6), random(8, 4 // groups, 3, 3, seed=1), *([random(8, seed=2)] if biased else [])]

    def call(image: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return grouped_convolution(image, weight, bias, stride, padding, dilation, groups)

    expected = functional.conv2d(given[0], given[1], given[2] if biased else None, stride, padding, dilation, groups)
    assert torch.equal(call(*given), expected)
    assert gradcheck(call, given)
    assert gradgradcheck(call, given)


def test_batch_norm() -> None:
    given = random(3, 4, 5, 2), random(4, seed=1), random(4, seed=2)

    def call(image: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return batch_norm(image, None, None, weight, bias, training=True)

    assert gradcheck(call, given)
    assert gradgradcheck(call, given)


@pytest.mark.parametrize("frozen", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize(
    "call",
    [
        lambda *given: grouped_convolution(*given, groups=4),
        lambda x, *given: batch_norm(x, None, None, given[0].flatten(), given[1], training=True),
    ],
    ids=["convolution", "batch norm"],
)
def test_what_is_frozen_has_no_gradient(call: Callable[..., Tensor], frozen: tuple[int, ...]) -> None:
    given = [random(3, 4, 5, 2), random(4, 1, 1, 1, seed=1), random(4, seed=2)]
    for index in frozen:
        given[index].requires_grad_(False)
    assert gradgradcheck(call, given)


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
    ]
    layers += [
        nn.Conv2d(8, 8, 3, padding="same", groups=2),
        nn.BatchNorm2d(8, affine=False),
        nn.Flatten(),
        nn.Linear(128, 3),
    ]
    return nn.Sequential(*layers)


def after_a_step(fast: bool, dtype: torch.dtype = torch.double, lower: bool = False) -> list[Tensor]:
    """Return the buffers and the gradient, through a step of gradient descent, of the loss after it."""
    model = network().to(dtype)
    images, labels = random(6, 3, 8, 8).to(dtype), torch.arange(6) % 3
    weights = dict(model.named_parameters())
    with torch.autocast("cpu", torch.bfloat16, enabled=lower):
        with FastSecondDerivatives() if fast else nullcontext():
            loss = functional.cross_entropy(model(images), labels)
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        stepped = {name: value - 0.1 * by for (name, value), by in zip(weights.items(), gradients, strict=True)}
        with FastSecondDerivatives() if fast else nullcontext():
            after = functional.cross_entropy(torch.func.functional_call(model, stepped, (images.flip(0),)), labels)
        return [*model.buffers(), *torch.autograd.grad(after, list(weights.values()))]


def test_the_gradient_through_a_step_is_pytorchs() -> None:
    for own, expected in zip(after_a_step(True), after_a_step(False), strict=True):
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-12)


def test_under_autocast_it_is_as_near_as_pytorchs() -> None:
    exact, own, other = (
        after_a_step(False, torch.float),
        after_a_step(True, torch.float, True),
        after_a_step(False, torch.float, True),
    )
    assert [value.dtype for value in own] == [value.dtype for value in exact]
    far = [
        torch.stack([(a.double() - b.double()).norm() for a, b in zip(one, exact, strict=True)]).norm()
        for one in (own, other)
    ]
    assert far[0] < 1.5 * far[1] + 1e-6


@pytest.mark.parametrize("training", [True, False])
def test_without_a_gradient_and_by_running_statistics_it_is_pytorch_itself(training: bool) -> None:
    model, images = network().train(training), random(6, 3, 8, 8).float()
    expected = network().train(training)(images)
    with FastSecondDerivatives(), torch.set_grad_enabled(not training):
        torch.testing.assert_close(model(images), expected, rtol=0, atol=0)


def test_what_is_checkpointed_is_left_to_pytorch() -> None:
    found = []
    for fast in (True, False):
        block, images = network()[:6], random(6, 3, 8, 8).float().detach().requires_grad_()
        with FastSecondDerivatives() if fast else nullcontext():
            result = checkpoint(block, images, use_reentrant=False)
        first = torch.autograd.grad(result.pow(2).sum(), images, create_graph=True)[0]
        found.append((first, *torch.autograd.grad(first.pow(2).sum(), [images, *block.parameters()])))
    torch.testing.assert_close(*found)


def test_autocast_leaves_double_precision() -> None:
    image, weight = random(1, 2, 3, 3), random(2, 1, 1, 1, seed=1)
    with torch.autocast("cpu", torch.bfloat16), FastSecondDerivatives():
        assert functional.conv2d(image, weight, groups=2).dtype == torch.double


def test_means_that_are_far_from_zero_cost_no_more_precision_than_pytorchs() -> None:
    errors = []
    for fast, kind in ((False, torch.double), (True, torch.float), (False, torch.float)):
        images, gradient, by = (10 + random(16, 4, 8, 8, seed=seed).detach() for seed in range(3))
        norm, images = nn.BatchNorm2d(4).to(kind), images.to(kind).requires_grad_()
        with FastSecondDerivatives() if fast else nullcontext():
            result = norm(images)
        first = torch.autograd.grad(result, images, gradient.to(kind), create_graph=True)[0]
        errors.append(torch.autograd.grad(first, [images, norm.weight], by.to(kind)))
    for exact, own, other in zip(*errors, strict=True):
        assert (own.double() - exact).norm() < 4 * (other.double() - exact).norm()


def test_one_value_per_channel_is_refused_as_by_pytorch() -> None:
    with FastSecondDerivatives(), pytest.raises(ValueError, match="more than 1 value per channel"):
        nn.BatchNorm2d(3)(torch.randn(1, 3, 1, 1, requires_grad=True))


def composed_batch_norm(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return batch norm of simple operations, as PyTorch's own has no third derivative."""
    variance, mean = torch.var_mean(images, (0, 2, 3), correction=0, keepdim=True)
    return (images - mean) / (variance + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]


@pytest.mark.parametrize(
    ("call", "pytorch", "shapes"),
    [
        (
            lambda x, w: grouped_convolution(x, w, groups=2, stride=2),
            lambda x, w: functional.conv2d(x, w, groups=2, stride=2),
            ((2, 4, 5, 5), (4, 2, 3, 3)),
        ),
        (
            lambda x, w: batch_norm(x, None, None, w[0], w[1], training=True),
            lambda x, w: composed_batch_norm(x, *w),
            ((4, 3, 3, 2), (2, 3)),
        ),
    ],
    ids=["convolution", "batch norm"],
)
def test_the_third_derivative_is_right(call: Any, pytorch: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    found = []
    for function in (call, pytorch):
        given = [random(*shape, seed=seed) for seed, shape in enumerate(shapes)]
        value = function(*given).pow(3).sum()
        for order in given:
            value = torch.autograd.grad(value, order, create_graph=True)[0].pow(3).sum()
        found.append(torch.autograd.grad(value, given))
    for own, other in zip(*found, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))


@pytest.mark.parametrize("layer", [lambda: nn.Conv2d(4, 4, 3, groups=4), lambda: nn.BatchNorm2d(4)])
def test_what_no_loss_depends_on_has_no_gradient(layer: Callable[[], nn.Module]) -> None:
    class Ends(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, values: Tensor) -> Tensor:
            return values.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> None:
            return None

    module = layer()
    with FastSecondDerivatives():
        result: Any = Ends.apply(module(torch.randn(2, 4, 5, 5)))
    result.sum().backward()
    assert module.weight.grad is None


@pytest.mark.parametrize("stride", [np.int64(2), (np.int64(2), 1), torch.Size([2])])
def test_strides_may_be_other_integers(stride: Any) -> None:
    image, weight = random(2, 4, 7, 6), random(4, 1, 3, 3, seed=1)
    expected = functional.conv2d(image, weight, stride=stride, groups=4)
    with FastSecondDerivatives(), FastStridedGradients():
        assert torch.equal(functional.conv2d(image, weight, stride=stride, groups=4), expected)


@pytest.mark.parametrize("types", [(torch.uint8, torch.float), (torch.float, torch.double)])
def test_types_that_pytorch_refuses_under_autocast_are_refused(types: tuple[torch.dtype, torch.dtype]) -> None:
    image, weight = (
        torch.ones(shape).to(kind) for shape, kind in zip([(2, 4, 5, 5), (4, 1, 3, 3)], types, strict=True)
    )
    for fast in (True, False):
        modes = FastSecondDerivatives() if fast else nullcontext()
        with modes, torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError):
            functional.conv2d(image, weight, groups=4)


class Counted(TorchDispatchMode):
    """Counts operations, those within PyTorch's own derivatives as well."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def operations(layer: nn.Module, groups: int, fast: bool) -> int:
    """Return the number of operations of a second derivative."""
    images = torch.randn(2, groups, 5, 5, requires_grad=True)
    with FastSecondDerivatives() if fast else nullcontext():
        result = layer(images)
    by = torch.autograd.grad(result.pow(2).sum(), images, create_graph=True)[0]
    with Counted() as counted:
        by.pow(2).sum().backward()
    return counted.count


@pytest.mark.parametrize("layer", [lambda groups: nn.Conv2d(groups, groups, 3, groups=groups), nn.BatchNorm2d])
def test_it_has_few_operations(layer: Callable[[int], nn.Module]) -> None:
    few, many = (operations(layer(groups), groups, fast=True) for groups in (4, 64))
    assert few == many < operations(layer(64), 64, fast=False)
