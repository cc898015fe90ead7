"""What modules keep besides tensors (``get_extra_state``): plain values in ``model.json``, tensors beside the others."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from domain_masks.errors import InputError
from domain_masks.methods.tensor_files import MOST_BYTES, TensorForm
from domain_masks.records.model_card import ExtraState, StoredTensor

_MARK = "_extra_state"


def tensors_in(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return those values of a state dict that are tensors of parameters and buffers."""
    return {name: value for name, value in state.items() if not is_extra(name)}


def is_extra(name: str) -> bool:
    """Whether a name in a state dict is that of a module's extra state."""
    return name.rpartition(".")[2] == _MARK


def check_extra_state(method: nn.Module) -> None:
    """Raise InputError unless the extra state of every module can be kept, and given back."""
    for name, module in method.named_modules():
        kind = type(module)
        if kind.get_extra_state is not nn.Module.get_extra_state and kind.set_extra_state is nn.Module.set_extra_state:
            raise InputError(
                f"module {name or kind.__name__} has get_extra_state without set_extra_state: no run could resume with it. "
                "Write both, or keep the state in buffers"
            )
    for name, value in method.state_dict().items():
        if is_extra(name):
            take_apart(value, name)


def take_apart(value: Any, name: str) -> tuple[Any, list[Tensor]]:
    """Return ``value`` as JSON can hold it, and its tensors in the order in which it names them.

    None, truth values, numbers, texts and tensors, in lists, tuples and dictionaries. Raises InputError for anything else and
    for tensors that are too large, with ``name``, where it was found.
    """
    tensors: list[Tensor] = []

    def plain(part: Any) -> Any:
        if isinstance(part, Tensor):
            tensors.append(part)
            return {"tensor": len(tensors) - 1}
        if isinstance(part, float) and not math.isfinite(part):
            return {"float": str(part)}
        if part is None or type(part) in (bool, int, float, str):
            return part
        if type(part) in (list, tuple):
            return {type(part).__name__: [plain(item) for item in part]}
        if isinstance(part, dict):
            return {"dict": [[plain(key), plain(item)] for key, item in part.items()]}
        raise InputError(
            f"the extra state {name} holds a {type(part).__module__}.{type(part).__qualname__}, which no file of a run keeps: "
            "expected None, truth values, numbers, texts and tensors, in lists, tuples and dictionaries"
        )

    simple = plain(value)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > MOST_BYTES:
        raise InputError(
            f"the extra state {name} holds {size:,} bytes of tensors: expected at most {MOST_BYTES:,}. Register them as buffers"
        )
    return simple, tensors


def put_together(plain: Any, tensors: Mapping[int, Tensor]) -> Any:
    """Return what :func:`take_apart` took apart; raises InputError where ``plain`` is nothing of that kind."""
    if not isinstance(plain, dict):
        return plain
    kind: str
    content: Any
    kind, content = next(iter(plain.items())) if len(plain) == 1 else ("", None)
    if kind == "tensor" and content in tensors:
        return tensors[content]
    if kind == "float":
        return float(content)
    if kind in ("list", "tuple") and isinstance(content, list):
        items = [put_together(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and isinstance(content, list):
        return {put_together(key, tensors): put_together(item, tensors) for key, item in content}
    raise InputError(f"expected an extra state as it was written, got {str(plain)[:80]}")


def extra_cards(state: Mapping[str, Any]) -> dict[str, ExtraState]:
    """Return name -> plain part of every extra state in a state dict, and the forms of its tensors, for ``model.json``."""
    cards = {}
    for name in filter(is_extra, state):
        plain, tensors = take_apart(state[name], name)
        forms = [TensorForm.of(tensor) for tensor in tensors]
        cards[name] = ExtraState(
            value=plain, tensors=[StoredTensor(dtype=form.dtype, shape=[*form.shape]) for form in forms]
        )
    return cards


def extra_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of every extra state in a state dict, numbered below its name."""
    return {
        f"{name}.{index}": tensor
        for name in filter(is_extra, state)
        for index, tensor in enumerate(take_apart(state[name], name)[1])
    }


def extra_forms(cards: Mapping[str, ExtraState]) -> dict[str, TensorForm]:
    """Return the forms of the tensors that :func:`extra_cards` describes, under their names."""
    return {
        f"{name}.{index}": TensorForm(form.dtype, tuple(form.shape))
        for name, card in cards.items()
        for index, form in enumerate(card.tensors)
    }


def extra_values(
    cards: Mapping[str, ExtraState], tensors: Mapping[str, Tensor], names: Collection[str], path: Path
) -> dict[str, Any]:
    """Return name -> extra state, from what :func:`extra_cards` described in ``path`` and the file's tensors.

    Raises InputError unless these are the extra states among ``names``.
    """
    expected = sorted(filter(is_extra, names))
    if sorted(cards) != expected:
        raise InputError(
            f"{path} does not fit the method: expected extra state of {', '.join(expected) or 'no module'}, got it of "
            f"{', '.join(sorted(cards)) or 'none'}"
        )
    return {
        name: put_together(card.value, {index: tensors[f"{name}.{index}"] for index in range(len(card.tensors))})
        for name, card in cards.items()
    }
