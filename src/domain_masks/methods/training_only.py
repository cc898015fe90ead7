"""Parts of a method for training only: saved in checkpoints, but not in model files, exports or initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain_masks.errors import InputError, unknown
from domain_masks.methods.base import Method


def check_training_only(method: Method) -> None:
    """Raise InputError where ``training_only`` names something of which the method's state holds nothing."""
    state = method.state_dict()
    for prefix in _prefixes(method):
        if not any(_is_below(name, prefix) for name in state):
            parts = dict.fromkeys(name.partition(".")[0] for name in state)
            raise unknown(f"part of method {method.name!r} for training alone", prefix, parts)


def is_training_only(method: Method, name: str) -> bool:
    """Whether the tensor ``name`` of the method's state is needed for training alone."""
    return any(_is_below(name, prefix) for prefix in _prefixes(method))


def lasting(method: Method) -> Mapping[str, Any]:
    """Return the method's state dict without what training alone needs: what its model is."""
    state = method.state_dict()
    for name in [name for name in state if is_training_only(method, name)]:
        del state[name]
    return state


def leave_training(method: Method) -> None:
    """Take from ``method`` the modules and tensors that training alone needs; None stands in their places."""
    for prefix in _prefixes(method):
        above, _, last = prefix.rpartition(".")
        try:
            parent = method.get_submodule(above)
        except AttributeError:  # a part that this method has not made
            continue
        for kept in (parent._modules, parent._parameters, parent._buffers):
            if last in kept:
                kept[last] = None


def _prefixes(method: Method) -> tuple[str, ...]:
    return tuple(prefix.rstrip(".") for prefix in method.training_only())


def _is_below(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def needed_to_predict(method: Method, reason: str) -> InputError:
    """Return the error for a method that predicts with what it calls needed for training alone."""
    return InputError(
        f"method {method.name!r} does not predict as before without {', '.join(_prefixes(method))}, which its training_only() "
        f"keeps out of the model ({reason}): expected predict to need nothing of it, or it not to be named there"
    )
