"""Second derivatives of convolutions with groups and of batch norm in few operations, for methods that differentiate steps.

PyTorch differentiates a convolution with groups twice in a loop over the groups, of which the depthwise convolutions of
MobileNetV2 have 7,136 in all, and composes the second derivative of batch norm of many operations, most of
them over all pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Numbers = int | tuple[int, ...]


class FastSecondDerivatives(TorchFunctionMode):
    """Within the block convolutions with groups and batch norm have first and second derivatives of few operations.

    Values and derivatives are PyTorch's but for rounding; a third derivative raises RuntimeError. What is not two-dimensional,
    has no gradient or is checkpointed is left to PyTorch, and so is batch norm by running statistics.

    - ``statistics``: whether batch norm is included. It has to be left out where another mode computes its statistics, as
      over the rows of several processes
    """

    def __init__(self, statistics: bool = True) -> None:
        super().__init__()
        self._replaced: dict[Any, Any] = {functional.conv2d: grouped_convolution}
        if statistics:
            self._replaced[functional.batch_norm] = batch_norm

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func`` or what takes its place."""
        if func in self._replaced and torch.is_grad_enabled() and not _saves_elsewhere():
            func = self._replaced[func]
        return func(*args, **(kwargs or {}))


def _saves_elsewhere() -> bool:
    """Return whether hooks take what is saved for the backward pass.

    Activation checkpointing computes it again, outside the block, and expects what the same operations save.
    """
    return torch._C._autograd._top_saved_tensors_default_hooks(True) is not None


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


def batch_norm(  # noqa: PLR0913, PLR0917
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return ``torch.nn.functional.batch_norm`` of the same arguments; images (N, C, H, W)."""
    if not training or weight is None or bias is None or input.dim() != 4 or input[:, 0].numel() < 2:
        return functional.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    given = (running_mean, running_var, momentum, eps)
    result: Tensor = _BatchNorm.apply(input, weight, bias, given)
    return result


def _pair(value: Numbers) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _convolution_gradients(gradient: Tensor, input: Tensor, weight: Tensor, given: Any, wanted: list[bool]) -> Any:
    """Return the gradients by input, weight and bias that are ``wanted``, None for the others."""
    stride, padding, dilation, groups = given
    return torch.ops.aten.convolution_backward(
        gradient, input, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, wanted
    )


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
        return _convolution_gradients(gradient, input, weight, given, wanted)

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
            by_x, by_w, _ = _convolution_gradients(gradient, u, v, ctx.given, [*wanted, False])
        return by_gradient, by_x, by_w, None, None


class _BatchNorm(torch.autograd.Function):
    """y = γ (x - μ) ρ + β, with mean μ and ρ = 1 / √(variance + ε) of the batch; updates the running statistics."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, given: Any) -> Tensor:
        mean, variance, momentum, ctx.eps = given
        result, saved_mean, saved_scale = torch.native_batch_norm(
            input, weight, bias, mean, variance, True, momentum, ctx.eps
        )
        ctx.save_for_backward(input, weight, saved_mean, saved_scale)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        wanted = list(ctx.needs_input_grad[:3])
        input, weight, *statistics = ctx.saved_tensors
        return (*_BatchNormGradients.apply(gradient, input, weight, (*statistics, ctx.eps), wanted), None)


class _BatchNormGradients(torch.autograd.Function):
    """The gradients of batch norm by its output's gradient g, with z = (x - μ) ρ and means E over a channel.

    g_x = γ ρ (g - E[g] - z E[g z]), g_γ = Σ g z and g_β = Σ g. With v, p and q for the gradients by g_x, g_γ and g_β:

    - by g: γ ρ (v - E[v] - z E[v z]) + p z + q
    - by γ: ρ Σ v (g - E[g] - z E[g z])
    - by x: ρ (h - E[h] - z E[h z]) - γ ρ² z k, with h = p g - γ ρ (v E[g z] + g E[v z]) through z, and
      k = E[v (g - E[g])] - E[v z] E[g z] through ρ
    """

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, input: Tensor, weight: Tensor, given: Any, wanted: list[bool]) -> Any:
        mean, scale, eps = given
        ctx.save_for_backward(gradient, input, weight, mean, scale)
        ctx.set_materialize_grads(False)
        return torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, None, None, mean, scale, True, eps, wanted
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_input: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> Any:
        gradient, input, weight, mean, scale = ctx.saved_tensors
        kind = torch.promote_types(input.dtype, weight.dtype)
        # All values of channels are (1, C, 1, 1).
        gamma, rho, middle = _channels(weight).to(kind), _channels(scale).to(kind), _channels(mean).to(kind)
        g, z = gradient.to(kind), (input - middle) * rho
        slope = gamma * rho
        zero = torch.zeros_like(slope)
        p = zero if by_weight is None else _channels(by_weight).to(kind)
        q = zero if by_bias is None else _channels(by_bias).to(kind)
        g_mean, gz_mean = _mean(g), _mean(g * z)
        v = None if by_input is None else by_input.to(kind)
        v_mean, vz_mean, covariance = (zero,) * 3 if v is None else (_mean(v), _mean(v * z), _mean(v * (g - g_mean)))
        k = rho * covariance.addcmul(vz_mean, gz_mean, value=-1)
        # h = a g - b v, whose means follow from those of g and v.
        a, b = p.addcmul(slope, vz_mean, value=-1), slope * gz_mean
        h_mean = (a * g_mean).addcmul_(b, v_mean, value=-1)
        hz_mean = (a * gz_mean).addcmul_(b, vz_mean, value=-1)
        by_g = q.addcmul(slope, v_mean, value=-1).addcmul(z, a)
        by_x = (-rho * h_mean).addcmul(z, rho * hz_mean + slope * k, value=-1).addcmul_(g, rho * a)
        if v is not None:
            by_g.addcmul_(v, slope)
            by_x.addcmul_(v, rho * b, value=-1)
        by_gamma = k.flatten() * (g.numel() // len(weight))
        return by_g.to(gradient.dtype), by_x.to(input.dtype), by_gamma.to(weight.dtype), None, None


def _mean(values: Tensor) -> Tensor:
    return values.mean((0, 2, 3), keepdim=True)


def _channels(values: Tensor) -> Tensor:
    """Return values (C,) as (1, C, 1, 1)."""
    return values[None, :, None, None]
