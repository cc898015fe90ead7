"""Extra state of modules (``get_extra_state``): plain values in ``model.json``, tensors in ``model.safetensors``."""

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
    """Return the parameters and buffers of a state dict, without extra states."""
    return {name: value for name, value in state.items() if not is_extra(name)}


def is_extra(name: str) -> bool:
    """Return whether a name in a state dict is that of a module's extra state."""
    return name.rpartition(".")[2] == _MARK


def check_extra_state(method: nn.Module) -> None:
    """Raise InputError unless the extra state of every module can be saved and restored."""
    for name, module in method.named_modules():
        kind = type(module)
        if kind.get_extra_state is not nn.Module.get_extra_state and kind.set_extra_state is nn.Module.set_extra_state:
            raise InputError(
                f"module {name or kind.__name__} has get_extra_state without set_extra_state: no run could resume with it. "
                "Write both, or keep the state in buffers"
            )
    for name, value in method.state_dict().items():
        if is_extra(name):
            to_json_form(value, name)


def to_json_form(value: Any, name: str) -> tuple[Any, list[Tensor]]:
    """Return a JSON form of ``value``, which refers to tensors by index, and the list of these tensors.

    Supported are None, booleans, numbers, strings and tensors, in lists, tuples and dictionaries. Raises InputError, which
    names ``name``, for other types and for tensors of more than ``MOST_BYTES`` in total.
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
            f"the extra state {name} holds a {type(part).__module__}.{type(part).__qualname__}, which cannot be saved: "
            "expected None, booleans, numbers, strings and tensors, in lists, tuples and dictionaries"
        )

    simple = plain(value)
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if size > MOST_BYTES:
        raise InputError(
            f"the extra state {name} holds {size:,} bytes of tensors: expected at most {MOST_BYTES:,}. Register them as buffers"
        )
    return simple, tensors


def from_json_form(plain: Any, tensors: Mapping[int, Tensor]) -> Any:
    """Return the value that :func:`to_json_form` converted; raises InputError if ``plain`` is invalid."""
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
        items = [from_json_form(item, tensors) for item in content]
        return tuple(items) if kind == "tuple" else items
    if kind == "dict" and isinstance(content, list):
        return {from_json_form(key, tensors): from_json_form(item, tensors) for key, item in content}
    raise InputError(f"expected an extra state in the format that a run writes, got {str(plain)[:80]}")


def extra_cards(state: Mapping[str, Any]) -> dict[str, ExtraState]:
    """Return name -> JSON form and tensor forms of every extra state in a state dict, for ``model.json``."""
    cards = {}
    for name in filter(is_extra, state):
        plain, tensors = to_json_form(state[name], name)
        forms = [TensorForm.of(tensor) for tensor in tensors]
        cards[name] = ExtraState(
            value=plain, tensors=[StoredTensor(dtype=form.dtype, shape=[*form.shape]) for form in forms]
        )
    return cards


def extra_tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of every extra state in a state dict, as ``NAME.INDEX``."""
    return {
        f"{name}.{index}": tensor
        for name in filter(is_extra, state)
        for index, tensor in enumerate(to_json_form(state[name], name)[1])
    }


def extra_forms(cards: Mapping[str, ExtraState]) -> dict[str, TensorForm]:
    """Return the forms of the tensors that :func:`extra_cards` describes, by their names ``NAME.INDEX``."""
    return {
        f"{name}.{index}": TensorForm(form.dtype, tuple(form.shape))
        for name, card in cards.items()
        for index, form in enumerate(card.tensors)
    }


def extra_values(
    cards: Mapping[str, ExtraState], tensors: Mapping[str, Tensor], names: Collection[str], path: Path
) -> dict[str, Any]:
    """Return name -> extra state, from the ``cards`` in ``path`` and the model file's ``tensors``.

    Raises InputError unless the cards' names are those of the extra states among ``names``.
    """
    expected = sorted(filter(is_extra, names))
    if sorted(cards) != expected:
        raise InputError(
            f"{path} does not fit the method: expected extra state of {', '.join(expected) or 'no module'}, got it of "
            f"{', '.join(sorted(cards)) or 'none'}"
        )
    return {
        name: from_json_form(card.value, {index: tensors[f"{name}.{index}"] for index in range(len(card.tensors))})
        for name, card in cards.items()
    }
