"""Convolutions with groups whose derivatives are faster than PyTorch's.

On CPUs with instructions for bf16, oneDNN has no fast gradient by the input for depthwise convolutions with strides: that of
MobileNetV2's first one takes 30 times as long as the convolution. In single precision it has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Numbers = int | tuple[int, ...]
_BYTES = 4 << 20
"""Of an input, in single precision, whose gradient is computed at once by each thread."""


class FastStridedGradients(TorchFunctionMode):
    """Within the block depthwise convolutions with strides in bf16 on a CPU get their gradient by the input in float32.

    It is rounded to bf16 once; all else is PyTorch's, and so is everything where :func:`may_be_replaced` is False. A third
    derivative of such a convolution raises RuntimeError.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` or what takes its place."""
        if func is functional.conv2d and may_be_replaced():
            func = strided_convolution
        return func(*args, **(kwargs or {}))


def may_be_replaced() -> bool:
    """Return whether an operation may have derivatives of its own here: one that is differentiated, by autograd alone.

    Activation checkpointing computes an operation again, outside the block, and expects it to save the same; ``torch.func``
    and ``torch.compile`` have other derivatives.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        torch.is_grad_enabled()
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        and not torch._C._are_functorch_transforms_active()
    )


def strided_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return ``torch.conv2d`` of the same arguments, with a fast gradient by the input where PyTorch's is slow."""
    lower = torch.is_autocast_enabled("cpu") and input.dtype != torch.double
    dtype = torch.get_autocast_dtype("cpu") if lower else input.dtype
    replaced = _has_slow_gradient(input.device, dtype, weight, _pair(stride), groups)
    convolution = grouped_convolution if replaced else torch.conv2d
    result: Tensor = convolution(input, weight, bias, stride, padding, dilation, groups)
    return result


def grouped_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Numbers = 1,
    padding: Numbers | str = 0,
    dilation: Numbers = 1,
    groups: int = 1,
) -> Tensor:
    """Return ``torch.conv2d`` of the same arguments; images (N, C, H, W) and weights (K, C / groups, h, w)."""
    kind = input.device.type
    if groups == 1 or isinstance(padding, str) or input.dim() != 4 or kind == "meta":
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    # Autocast leaves double precision as it is.
    if torch.is_autocast_enabled(kind) and input.dtype != torch.double:
        lower = torch.get_autocast_dtype(kind)
        input, weight = input.to(lower), weight.to(lower)
        bias = None if bias is None else bias.to(lower)
    given = (_pair(stride), _pair(padding), _pair(dilation), groups)
    with torch.autocast(kind, enabled=False):
        result: Tensor = _Convolution.apply(input, weight, bias, given)
    return result


def _pair(value: Numbers) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def convolution_gradients(gradient: Tensor, input: Tensor, weight: Tensor, given: Any, wanted: list[bool]) -> Any:
    """Return the gradients by input, weight and bias that are ``wanted``, None for the others."""
    stride, padding, dilation, groups = given

    def gradients(gradient: Tensor, input: Tensor, weight: Tensor, wanted: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            gradient, input, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
        )

    if not (wanted[0] and _has_slow_gradient(gradient.device, gradient.dtype, weight, stride, groups)):
        return gradients(gradient, input, weight, wanted)
    others = gradients(gradient, input, weight, [False, *wanted[1:]])[1:] if any(wanted[1:]) else (None, None)
    by_input, exact = torch.empty_like(input), weight.float()
    # A few images at a time, so that their values in single precision stay in the processor's cache.
    few = max(1, _BYTES * torch.get_num_threads() // max(1, 4 * input[:1].numel()))
    for first in range(0, len(input), few):
        result = by_input[first : first + few]
        # Of the input only the shape and the layout matter.
        shape = torch.empty_like(result, dtype=torch.float)
        part = gradient[first : first + few].float()
        result.copy_(gradients(part, shape, exact, [True, False, False])[0])
    return by_input, *others


def _has_slow_gradient(
    device: torch.device, dtype: torch.dtype, weight: Tensor, stride: tuple[int, ...], groups: int
) -> bool:
    """Return whether the gradient by the input is slow in bf16 and fast in single precision."""
    is_depthwise = groups > 1 and weight.shape[1] == 1
    return device.type == "cpu" and dtype == torch.bfloat16 and is_depthwise and max(stride) > 1


class _Convolution(torch.autograd.Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, given: Any) -> Tensor:
        ctx.given, ctx.biased = given, bias is not None
        ctx.save_for_backward(input, weight)
        return torch.conv2d(input, weight, bias, *given)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        wanted = [*ctx.needs_input_grad[:2], ctx.biased and ctx.needs_input_grad[2]]
        return (*_ConvolutionGradients.apply(gradient, *ctx.saved_tensors, ctx.given, wanted), None)


class _ConvolutionGradients(torch.autograd.Function):
    """The gradients g_x, g_w and g_b of a convolution by its output's gradient g.

    g_x is linear in g and w, g_w in g and x, g_b in g: with u, v and s for the gradients by g_x, g_w and g_b, that by g is
    u * w + x * v + s, and those by x and w are the gradients of u * v by u and by v.
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, input: Tensor, weight: Tensor, given: Any, wanted: list[bool]) -> Any:
        ctx.given = given
        ctx.save_for_backward(gradient, input, weight)
        ctx.set_materialize_grads(False)
        return convolution_gradients(gradient, input, weight, given, wanted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_input: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> Any:
        gradient, input, weight = ctx.saved_tensors
        by_gradient = by_x = by_w = None
        if ctx.needs_input_grad[0]:
            terms = [] if by_bias is None else [by_bias[:, None, None].expand_as(gradient)]
            terms += [] if by_input is None else [torch.conv2d(by_input, weight, None, *ctx.given)]
            terms += [] if by_weight is None else [torch.conv2d(input, by_weight, None, *ctx.given)]
            by_gradient = sum(terms) if terms else None
        wanted = [by_weight is not None and ctx.needs_input_grad[1], by_input is not None and ctx.needs_input_grad[2]]
        if any(wanted):
            # One that is missing gives its shape alone, as the gradient that it decides is not wanted.
            u = input if by_input is None else by_input
            v = weight if by_weight is None else by_weight
            by_x, by_w, _ = convolution_gradients(gradient, u, v, ctx.given, [*wanted, False])
        return by_gradient, by_x, by_w, None, None
