"""Initialise a method with the model of another run."""

from __future__ import annotations

from pathlib import Path

from domain_masks.errors import InputError
from domain_masks.methods.base import Method
from domain_masks.methods.extra_state import tensors_in
from domain_masks.methods.saving import NETWORK, file_name
from domain_masks.methods.tensor_files import (
    load_tensors,
    read_tensors,
)
from domain_masks.methods.training_only import model_state
from domain_masks.records.model_card import ModelCard


def load_initial_weights(method: Method, folder: Path, card: ModelCard, masks_alone: bool = False) -> tuple[str, ...]:
    """Initialise ``method`` with the model in ``folder``; returns the sources without masks or heads in that model.

    All weights of the network are copied, and masks and heads by the name of the source. Masks at other sites, and tensors of
    another method besides the network, are ignored on both sides.

    Raises InputError if the network or the classes differ; with ``masks_alone`` also if the model has masks at only some of
    the sites, so that masks of its sources could be neither kept nor trained.
    """
    path = folder / "model.safetensors"
    model_classes, classes = tuple(card.classes), method.context.classes
    if model_classes != classes:
        raise InputError(
            f"{folder} was trained on other classes: expected those of the dataset ({_shortened(classes)}), got "
            f"{_shortened(model_classes)}"
        )
    tensors, own, per_domain = read_tensors(path), tensors_in(model_state(method)), method.domain_tensors()
    sources, shared = method.context.sources, method.shared_beginnings()
    known = {name: (card.sources.index(name), index) for index, name in enumerate(sources) if name in card.sources}
    initial, mismatched = {}, []
    for name, value in own.items():
        stored = tensors.get(file_name(name))
        rows = len(card.sources)
        if name in per_domain and stored is not None and stored.shape == (rows, *value.shape[1:]):
            initial[name] = value.clone()
            for before, now in known.values():
                initial[name][now] = stored[before].to(value)
        elif name in shared and stored is not None and stored.shape == value.shape[1:]:
            initial[name] = stored.expand_as(value).to(value)
        elif stored is not None and stored.shape == value.shape and name not in per_domain:
            initial[name] = stored
        elif name.startswith(NETWORK) and name not in per_domain:
            mismatched.append(file_name(name))
    if mismatched:
        raise InputError(
            f"{path} does not fit: {len(mismatched)} tensors of the network are missing or of another shape "
            f"({', '.join(mismatched[:3])}{', ...' if len(mismatched) > 3 else ''}). Expected a network with one head on the "
            f"same backbone, got {card.method.name} on {card.backbone}"
        )
    load_tensors(method, initial, strict=False)
    missing = sorted(file_name(name) for name in per_domain if name not in initial)
    if masks_alone and missing and len(missing) < len(per_domain):
        raise InputError(
            f"the model in {folder} has no {', '.join(missing)}: expected masks at the same sites, so that those of its "
            "sources can be kept. Leave out --sites, or use --learn all"
        )
    has_domain_tensors = bool(per_domain) and not missing
    return tuple(name for name in sources if name not in known or not has_domain_tensors)


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names) - 5} more)" if len(names) > 5 else "")
