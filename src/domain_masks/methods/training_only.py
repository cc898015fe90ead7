"""Tensors of a method that only training needs: saved in checkpoints, but not in model files, exports or initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.errors import InputError, unknown
from domain_masks.methods.base import Method


def check_training_only(method: Method) -> None:
    """Raise InputError if ``training_only`` has a prefix that matches no tensor of the method's state."""
    state = method.state_dict()
    for prefix in _prefixes(method):
        if not any(_is_below(name, prefix) for name in state):
            parts = dict.fromkeys(name.partition(".")[0] for name in state)
            raise unknown(f"part of method {method.name!r} for training alone", prefix, parts)


def is_training_only(method: Method, name: str) -> bool:
    """Return whether only training needs the tensor ``name`` of the method's state."""
    return any(_is_below(name, prefix) for prefix in _prefixes(method))


def model_state(method: Method) -> Mapping[str, Any]:
    """Return the method's state dict without the tensors that only training needs: the state of its model."""
    state = method.state_dict()
    for name in [name for name in state if is_training_only(method, name)]:
        del state[name]
    return state


def drop_training_only(method: Method) -> None:
    """Replace the modules and tensors of ``method`` that only training needs by None."""
    for prefix in _prefixes(method):
        above, _, last = prefix.rpartition(".")
        try:
            parent = method.get_submodule(above)
        except AttributeError:  # the method does not have this part
            continue
        for members in (parent._modules, parent._parameters, parent._buffers):
            if last in members:
                members[last] = None


def _prefixes(method: Method) -> tuple[str, ...]:
    return tuple(prefix.rstrip(".") for prefix in method.training_only())


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def used_for_prediction(method: Method, reason: str) -> InputError:
    """Return the error for a method that needs parts named in ``training_only`` for prediction."""
    return InputError(
        f"method {method.name!r} has other predictions without {', '.join(_prefixes(method))}, which its training_only() "
        f"excludes from the model ({reason}): expected predict not to use it, or training_only not to name it"
    )
