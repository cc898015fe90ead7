"""Change the output of a module of a divided network, also where the division enters it, so that it is never called itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from domain_masks.errors import InputError

Change = Callable[[Any], Any]


class Changes:
    """What is to be changed at present in the outputs of modules that the division looks into: name -> functions in order."""

    def __init__(self) -> None:
        self.functions: dict[str, list[Change]] = {}

    def at(self, name: str) -> Change:
        """Return the function that stands behind the module ``name`` in a division that can be changed."""

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
    """Changes the output of a module while it is called; in copies and pickles of the module it does nothing."""

    def __init__(self, function: Change | None = None) -> None:
        self.function = function

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        return None if self.function is None else self.function(output)

    def __reduce__(self) -> Any:
        return _Hook, ()


@contextmanager
def hooked(module: nn.Module, function: Change) -> Iterator[None]:
    """Change the output of a module that is called within the block."""
    handle = module.register_forward_hook(_Hook(function))
    try:
        yield
    finally:
        handle.remove()


class Counted:
    """A change that knows how often it was made."""

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
                f"expected what module {self.name!r} shall give from the function for its output, got None"
            )
        return changed

    def require_made(self, part: str) -> None:
        """Raise InputError where it was never made; ``part`` says to what the module belongs."""
        if self.times == 0:
            raise InputError(
                f"module {self.name!r} gave nothing within the block of on_output, so nothing was changed: expected a module "
                f"that a forward pass calls, and {part}, to which it belongs, to run within the block (frozen features are not "
                "computed again)"
            )
