"""Change the output of a module of a split network, also of a module that is traced into and therefore not called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from domain_masks.errors import InputError

Change = Callable[[Any], Any]


class Changes:
    """The active changes of outputs of modules that are traced into: name -> functions in order."""

    def __init__(self) -> None:
        self.functions: dict[str, list[Change]] = {}

    def at(self, name: str) -> Change:
        """Return the function that changes the output of the module ``name`` in the graph."""

        def changed(output: Any) -> Any:
            for function in self.functions.get(name, ()):
                output = function(output)
            return output

        return changed

    @contextmanager
    def add(self, name: str, function: Change) -> Iterator[None]:
        """Change the output of the module ``name`` within the block."""
        self.functions.setdefault(name, []).append(function)
        try:
            yield
        finally:
            self.functions[name].remove(function)
            if not self.functions[name]:
                del self.functions[name]


class _Hook:
    """A forward hook that changes the output of a module; it does nothing in copies and pickles of the module."""

    def __init__(self, function: Change | None = None) -> None:
        self.function = function

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        return None if self.function is None else self.function(output)

    def __reduce__(self) -> Any:
        return _Hook, ()


@contextmanager
def hooked(module: nn.Module, function: Change) -> Iterator[None]:
    """Change the output of a module within the block with a forward hook."""
    handle = module.register_forward_hook(_Hook(function))
    try:
        yield
    finally:
        handle.remove()


class Counted:
    """A change that counts its calls."""

    def __init__(self, name: str, function: Change) -> None:
        self.name = name
        self.function = function
        self.times = 0

    def __call__(self, output: Any) -> Any:
        """Return the changed output; raises ValueError where that is None."""
        self.times += 1
        changed = self.function(output)
        if changed is None:
            raise ValueError(
                f"expected the function for the output of module {self.name!r} to return the new output, got None"
            )
        return changed

    def require_made(self, part: str) -> None:
        """Raise InputError if it was never called; ``part`` is the part that the module belongs to, F or T."""
        if self.times == 0:
            raise InputError(
                f"module {self.name!r} was not called within the block of on_output, so nothing was changed: expected a module "
                f"that the forward pass calls, and a pass of {part}, to which it belongs, within the block (frozen features "
                "are not computed again)"
            )
