"""Depthwise convolutions with strides in bf16 on a CPU: where their gradient by the input is replaced, and by what."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from domain_masks.networks import convolutions
from domain_masks.networks.convolutions import FastStridedGradients

DEPTHWISE: list[dict[str, Any]] = [
    {"stride": 2, "padding": 1},
    {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2)},
    {"stride": [3]},
    {"stride": 2, "padding": "valid"},
]


class Kinds(TorchDispatchMode):
    """Notes the type of every gradient that is computed of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.found.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return values.requires_grad_()


def gradients(
    fast: bool, dtype: torch.dtype, autocast: bool = False, biased: bool = True, **given: Any
) -> list[Tensor]:
    """Return the output and the gradients by images, weights and biases of a depthwise convolution, as float64."""
    inputs = [random(5, 4, 9, 8, dtype=dtype), random(4, 1, 3, 3, seed=1, dtype=dtype)]
    if biased:
        inputs.append(random(4, seed=2, dtype=dtype))
    context = FastStridedGradients() if fast else nullcontext()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), context:
        result = functional.conv2d(*inputs, groups=4, **given)
    by = random(*result.shape, seed=3).detach().to(result.dtype)
    with Kinds() as kinds:
        found = torch.autograd.grad(result, inputs, by)
    assert set(kinds.found) == ({torch.float, torch.bfloat16} if fast else {torch.bfloat16})
    return [value.double() for value in (result, *found)]


@pytest.fixture
def replaced() -> Any:
    """Count the convolutions that are replaced."""
    with mock.patch.object(convolutions, "grouped_convolution", wraps=convolutions.grouped_convolution) as calls:
        yield calls


@pytest.mark.parametrize("given", DEPTHWISE, ids=str)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_the_gradient_is_that_in_single_precision_rounded_once(
    given: dict[str, Any], autocast: bool, biased: bool, replaced: Any
) -> None:
    kind = torch.float if autocast else torch.bfloat16
    own = gradients(True, kind, autocast, biased, **given)
    pytorch = gradients(False, kind, autocast, biased, **given)
    assert replaced.call_count == 1
    assert torch.equal(own[0], pytorch[0])
    for value, other in zip(own[2:], pytorch[2:], strict=True):
        torch.testing.assert_close(value, other, rtol=1e-2, atol=1e-2)
    if given.get("padding") != "valid":
        # The values that are multiplied are those in bf16, so that only the sum and its rounding differ.
        images, weight = (
            random(*shape, seed=seed).bfloat16() for seed, shape in enumerate([(5, 4, 9, 8), (4, 1, 3, 3)])
        )
        images = images.detach().double().requires_grad_()
        result = functional.conv2d(images, weight.detach().double(), groups=4, **given)
        by = random(*result.shape, seed=3).detach().bfloat16().double()
        (exact,) = torch.autograd.grad(result, images, by)
        torch.testing.assert_close(own[1], exact, rtol=2**-8, atol=1e-5)


def test_parts_of_a_batch_have_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gradients(True, torch.bfloat16, stride=2)
    monkeypatch.setattr(convolutions, "_BYTES", 2 * 4 * 9 * 8 * 4 // torch.get_num_threads())
    with mock.patch.object(torch, "empty_like", wraps=torch.empty_like) as parts:
        for value, other in zip(gradients(True, torch.bfloat16, stride=2), whole, strict=True):
            assert torch.equal(value, other)
    assert parts.call_count > 2


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({"stride": 1}, torch.bfloat16),
        ({"stride": 2}, torch.float),
        ({"stride": 2, "groups": 2}, torch.bfloat16),
        ({"stride": 2, "groups": 1}, torch.bfloat16),
    ],
    ids=str,
)
def test_what_is_fast_already_is_pytorchs(changes: dict[str, Any], dtype: torch.dtype, replaced: Any) -> None:
    groups = changes.get("groups", 4)
    weight = random(4, 4 // groups, 3, 3, dtype=dtype)
    with FastStridedGradients():
        functional.conv2d(random(2, 4, 9, 9, dtype=dtype), weight, **{"groups": 4, **changes}).sum().backward()
    assert weight.grad is not None
    assert not replaced.called


@pytest.mark.parametrize("around", [torch.no_grad, torch.inference_mode])
def test_without_a_gradient_it_is_pytorchs(around: Any, replaced: Any) -> None:
    with FastStridedGradients(), around():
        layer()(random(2, 4, 9, 9, dtype=torch.bfloat16))
    assert not replaced.called


def layer() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(4, 4, 3, 2, groups=4, dtype=torch.bfloat16)


def test_what_is_checkpointed_is_pytorchs(replaced: Any) -> None:
    images = random(2, 4, 9, 9, dtype=torch.bfloat16)
    with FastStridedGradients():
        checkpoint(layer(), images, use_reentrant=False).sum().backward()
    assert images.grad is not None
    assert not replaced.called


def test_transforms_of_torch_func_are_pytorchs(replaced: Any) -> None:
    images, weight = random(2, 4, 9, 9, dtype=torch.bfloat16).detach(), layer().weight.detach()

    def loss(images: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(images[None], weight, stride=2, groups=4).float().square().sum()

    call = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))
    expected = call(images, weight)
    with FastStridedGradients():
        assert torch.equal(call(images, weight), expected)
    assert not replaced.called


def test_what_is_compiled_is_pytorchs(replaced: Any) -> None:
    images, convolution = random(2, 4, 9, 9, dtype=torch.bfloat16), layer()
    compiled = torch.compile(convolution, backend="aot_eager", fullgraph=True)
    with FastStridedGradients():
        result = compiled(images)
    result.float().square().sum().backward()
    assert images.grad is not None
    assert not replaced.called


@pytest.mark.parametrize("index", [0, 1])
def test_what_is_frozen_has_no_gradient(index: int, replaced: Any) -> None:
    given = [random(2, 4, 9, 9, dtype=torch.bfloat16), random(4, 1, 3, 3, seed=1, dtype=torch.bfloat16)]
    given[index].requires_grad_(False)
    with FastStridedGradients():
        functional.conv2d(given[0], given[1], stride=2, groups=4).sum().backward()
    assert given[index].grad is None
    assert given[1 - index].grad is not None
    assert replaced.called


def test_it_can_be_differentiated_twice(replaced: Any) -> None:
    found = []
    for fast in (True, False):
        images, weight = random(3, 4, 9, 9, dtype=torch.bfloat16), random(4, 1, 3, 3, seed=1, dtype=torch.bfloat16)
        with FastStridedGradients() if fast else nullcontext():
            result = functional.conv2d(images, weight, stride=2, groups=4)
        first = torch.autograd.grad(result.float().square().sum(), images, create_graph=True)[0]
        found.append(torch.autograd.grad(first.float().square().sum(), [images, weight]))
    for own, other in zip(*found, strict=True):
        assert (own - other).float().norm() < 0.02 * other.float().norm()
    assert replaced.call_count == 1


def test_batched_gradients_are_pytorchs(replaced: Any) -> None:
    images, weight = random(2, 4, 9, 9, dtype=torch.bfloat16), random(4, 1, 3, 3, seed=1, dtype=torch.bfloat16)
    by = random(5, 2, 4, 4, 4, seed=2, dtype=torch.bfloat16).detach()
    found = []
    for mode in (nullcontext(), FastStridedGradients()):
        with mode:
            result = functional.conv2d(images, weight, stride=2, groups=4)
        found.append(torch.autograd.grad(result, [images, weight], by, is_grads_batched=True))
    assert replaced.called
    for own, other in zip(*found, strict=True):
        assert torch.equal(own, other)


def test_forward_derivatives_are_pytorchs(replaced: Any) -> None:
    images, weight = random(2, 4, 9, 9).detach(), random(4, 1, 3, 3, seed=1)
    found = []
    for mode in (nullcontext(), FastStridedGradients()):
        with forward_ad.dual_level(), torch.autocast("cpu", torch.bfloat16), mode:
            dual = forward_ad.make_dual(images, images.flip(0))
            found.append(forward_ad.unpack_dual(functional.conv2d(dual, weight, stride=2, groups=4)).tangent)
    assert torch.equal(*found)
    assert not replaced.called
