"""Second derivatives of convolutions with groups and of batch norm in few operations, for methods that differentiate steps.

PyTorch differentiates a convolution with groups twice in a loop over the groups, of which the depthwise convolutions of
MobileNetV2 have 7,136 in all, and composes the second derivative of batch norm of many operations, most of
them over all pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from domain_masks.networks.convolutions import grouped_convolution, may_be_replaced


class FastSecondDerivatives(TorchFunctionMode):
    """Within the block convolutions with groups and batch norm have first and second derivatives of few operations.

    Values and derivatives of any order are PyTorch's but for rounding. What is not two-dimensional is left to PyTorch, and so
    is batch norm by running statistics, and everything where :func:`may_be_replaced` is False.

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
        if func in self._replaced and may_be_replaced():
            func = self._replaced[func]
        return func(*args, **(kwargs or {}))


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


class _BatchNorm(torch.autograd.Function):
    """y = γ (x - μ) ρ + β, with mean μ and ρ = 1 / √(variance + ε) of the batch; updates the running statistics."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor, given: Any) -> Tensor:
        mean, variance, momentum, ctx.eps = given
        result, saved_mean, saved_scale = torch.native_batch_norm(
            input, weight, bias, mean, variance, True, momentum, ctx.eps
        )
        ctx.save_for_backward(input, weight, saved_mean, saved_scale)
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> Any:
        if gradient is None:
            return None, None, None, None
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
        mean, scale, ctx.eps = given
        ctx.save_for_backward(gradient, input, weight, mean, scale)
        ctx.set_materialize_grads(False)
        return torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, None, None, mean, scale, True, ctx.eps, wanted
        )

    @staticmethod
    def backward(ctx: Any, by_input: Tensor | None, by_weight: Tensor | None, by_bias: Tensor | None) -> Any:
        gradient, input, weight, mean, scale = ctx.saved_tensors
        kind = torch.promote_types(input.dtype, weight.dtype)
        if torch.is_grad_enabled():
            # A further derivative goes through the statistics.
            mean = input.to(kind).mean((0, 2, 3))
            scale = (input.to(kind).var((0, 2, 3), correction=0) + ctx.eps).rsqrt()
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
