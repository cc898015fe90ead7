"""Convolutions with groups whose derivatives are faster than PyTorch's.

On CPUs with AVX-512 BF16, oneDNN has no fast gradient by the input for depthwise convolutions with strides: that of
MobileNetV2's first one takes 30 times as long as the convolution. In single precision it has.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Numbers = int | tuple[int, ...]
_BYTES = 4 << 20
"""Of an input, in single precision, whose gradient is computed at once by each thread."""


class FastStridedGradients(TorchFunctionMode):
    """Within the block depthwise convolutions with strides in bf16 on a CPU get their gradient by the input in float32.

    It is rounded to bf16 once; all else is PyTorch's, and so is everything where :func:`may_be_replaced` is False.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` or what takes its place."""
        if func is functional.conv2d and may_be_replaced():
            func = strided_convolution
        return func(*args, **(kwargs or {}))


def may_be_replaced() -> bool:
    """Return whether an operation may have derivatives of its own here: one that is differentiated, backwards and by autograd.

    Activation checkpointing computes an operation again, outside the block, and expects it to save the same; ``torch.func``,
    ``torch.compile`` and forward-mode derivatives do not use such derivatives.
    """
    if torch.compiler.is_compiling():
        return False
    return (
        torch.is_grad_enabled()
        and torch._C._autograd._top_saved_tensors_default_hooks(True) is None
        and not torch._C._are_functorch_transforms_active()
        and forward_ad._current_level < 0
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
    replaced = _has_slow_gradient(input.device, _autocast_dtype(input), weight, stride, groups)
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
    padding = 0 if padding == "valid" else padding
    if groups == 1 or isinstance(padding, str) or input.dim() != 4 or kind == "meta":
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    input, weight = input.to(_autocast_dtype(input)), weight.to(_autocast_dtype(weight))
    bias = None if bias is None else bias.to(_autocast_dtype(bias))
    given = (_pair(stride), _pair(padding), _pair(dilation), groups)
    with torch.autocast(kind, enabled=False):
        result: Tensor = _Convolution.apply(input, weight, bias, given)
    return result


def _autocast_dtype(tensor: Tensor) -> torch.dtype:
    """Return the type in which a convolution takes a tensor; autocast leaves double precision and integers as they are."""
    kind = tensor.device.type
    is_cast = torch.is_autocast_enabled(kind) and tensor.is_floating_point() and tensor.dtype != torch.double
    return torch.get_autocast_dtype(kind) if is_cast else tensor.dtype


def _pair(value: Numbers) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (tuple, list)) else (int(value),)
    return values * 2 if len(values) == 1 else values


def convolution_gradients(gradient: Tensor, input: Tensor, weight: Tensor, given: Any, wanted: list[bool]) -> Any:
    """Return the gradients by input, weight and bias that are ``wanted``, None for the others."""
    stride, padding, dilation, groups = given

    def gradients(gradient: Tensor, input: Tensor, weight: Tensor, wanted: list[bool]) -> Any:
        return torch.ops.aten.convolution_backward(
            gradient, input, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
        )

    is_slow = _has_slow_gradient(gradient.device, gradient.dtype, weight, stride, groups)
    if not (is_slow and wanted[0]) or _is_batched(gradient):
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


def _is_batched(tensor: Tensor) -> bool:
    """Return whether a tensor stands for one of many, as with ``is_grads_batched``: it cannot be written into another."""
    of = torch._C._functorch
    return bool(of.is_batchedtensor(tensor) or of.is_legacy_batchedtensor(tensor))


def _has_slow_gradient(device: torch.device, dtype: torch.dtype, weight: Tensor, stride: Numbers, groups: int) -> bool:
    """Return whether the gradient by the input is slow, in bf16, and fast in single precision."""
    is_depthwise = groups > 1 and weight.shape[1] == 1
    in_bf16 = device.type == "cpu" and dtype == torch.bfloat16
    return in_bf16 and is_depthwise and max(_pair(stride)) > 1


class _Convolution(torch.autograd.Function):
    """y = x * w + b."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, given: Any) -> Tensor:
        ctx.given, ctx.biased = given, bias is not None
        ctx.save_for_backward(input, weight)
        ctx.set_materialize_grads(False)
        return torch.conv2d(input, weight, bias, *given)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
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
    def backward(ctx: Any, by_input: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> Any:
        gradient, input, weight = ctx.saved_tensors
        by_gradient = by_x = by_w = None
        if ctx.needs_input_grad[0]:
            terms = [] if by_bias is None else [by_bias[:, None, None].expand_as(gradient)]
            terms += [] if by_input is None else [_Convolution.apply(by_input, weight, None, ctx.given)]
            terms += [] if by_weight is None else [_Convolution.apply(input, by_weight, None, ctx.given)]
            by_gradient = sum(terms) if terms else None
        wanted = [by_weight is not None and ctx.needs_input_grad[1], by_input is not None and ctx.needs_input_grad[2]]
        if any(wanted):
            # One that is missing gives its shape alone, as the gradient that it decides is not wanted.
            u = input if by_input is None else by_input
            v = weight if by_weight is None else by_weight
            by_x, by_w, _ = _ConvolutionGradients.apply(gradient, u, v, ctx.given, [*wanted, False])
        return by_gradient, by_x, by_w, None, None
