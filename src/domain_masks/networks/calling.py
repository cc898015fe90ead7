"""Run a module with other weights than its own, as in inner loops, without updating its statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from domain_masks.errors import InputError, unknown

_EAGER: ContextVar[bool] = ContextVar("eager", default=False)


@contextmanager
def eagerly() -> Iterator[None]:
    """Run networks eagerly within the block, also compiled ones."""
    token = _EAGER.set(True)
    try:
        yield
    finally:
        _EAGER.reset(token)


def runs_eagerly() -> bool:
    """Return whether the caller is within a block of :func:`eagerly`."""
    return _EAGER.get()


def call_with(
    module: nn.Module, weights: Mapping[str, Tensor], run: Callable[[Any], Any], update_statistics: bool = False
) -> Any:
    """Return ``run(module)`` with ``weights`` in place of its own parameters and buffers of these names.

    Compiled parts run eagerly, because compiled code has no second derivative. Tied weights stay tied.

    - ``update_statistics``: whether the pass updates buffers that ``weights`` does not name, as in training; otherwise
      they are restored

    Raises InputError for an unknown parameter or buffer, and for a tensor of another shape.
    """
    own = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    for name, value in weights.items():
        if name not in own:
            raise unknown("tensor of the network", name, own)
        if not isinstance(value, Tensor) or value.shape != own[name].shape:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise InputError(f"expected a tensor of the shape {tuple(own[name].shape)} for {name}, got {got}")
    kept = (
        {} if update_statistics else {name: value.clone() for name, value in _changing(module) if name not in weights}
    )
    # By a wrapper module, as functional_call only calls forward.
    around = _Around(module)
    replaced = {f"inside.{name}": value for name, value in {**kept, **weights}.items()}
    with eagerly():
        return functional_call(around, replaced, (run,))


def _changing(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield the buffers of all modules in training mode, which a pass may change."""
    for path, part in module.named_modules():
        if part.training:
            for name, buffer in part.named_buffers(recurse=False):
                yield f"{path}.{name}" if path else name, buffer


class _Around(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, run: Callable[[Any], Any]) -> Any:
        return run(self.inside)
