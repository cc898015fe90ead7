"""The description of a network as data: library, name, and arguments of the builder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from domain_masks.errors import InputError

_LARGEST = 4096
Library = Literal["own", "torchvision", "timm"]

AS_PRETRAINED = "as_pretrained"
"""Argument of timm's networks whose architecture with pretrained weights differs from that without."""


@dataclass(frozen=True)
class Architecture:
    """The description of a network, without its tensors and number of classes.

    - ``library``, ``name``: the library, and the network's name in it, with the tag for timm
    - ``arguments``: the builder's arguments besides the number of classes; pretrained weights can require some, such as
      ``transform_input`` of torchvision's GoogLeNet
    """

    library: Library
    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON file or a checkpoint."""
        return {"builder": self.library, "name": self.name, "arguments": dict(self.arguments)}

    @classmethod
    def from_dict(cls, values: Any) -> Architecture:
        """Rebuild from :meth:`to_dict`; raises InputError for anything else."""
        right = (
            isinstance(values, Mapping)
            and set(values) == {"builder", "name", "arguments"}
            and values["builder"] in get_args(Library)
            and isinstance(values["name"], str)
            and isinstance(values["arguments"], Mapping)
            and all(
                name in _ARGUMENTS[values["builder"]] and _ARGUMENTS[values["builder"]][name](value)
                for name, value in values["arguments"].items()
            )
        )
        if not right:
            raise InputError(
                "expected network as builder (own, torchvision or timm), name and arguments (aux_logits, transform_input, "
                f"image_size and input_size of torchvision, {AS_PRETRAINED} of timm), got {str(values)[:200]}"
            )
        return cls(values["builder"], values["name"], dict(values["arguments"]))


def _is_truth(value: Any) -> bool:
    return isinstance(value, bool)


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _LARGEST


def _are_sides(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_side, value))


_ARGUMENTS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "own": {},
    "torchvision": {
        "aux_logits": _is_truth,
        "transform_input": _is_truth,
        "image_size": _is_side,
        "input_size": _are_sides,
    },
    "timm": {AS_PRETRAINED: _is_truth},
}
"""Allowed arguments: a description may be untrusted, and some arguments of builders download files."""
