"""A method that starts from the model of another run."""

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
from domain_masks.methods.training_only import lasting
from domain_masks.records.model_card import ModelCard


def load_initial_weights(method: Method, folder: Path, card: ModelCard, masks_alone: bool = False) -> tuple[str, ...]:
    """Start ``method`` from the model in ``folder``; returns the sources whose masks or heads that model did not have.

    The network's weights are taken over whole, masks and heads source by source, under their names. Masks of other sites
    and what another method has besides the network are left out on both sides.

    Raises InputError where the network or the classes differ; with ``masks_alone`` also where the model has masks at some of
    the sites only, so that old masks could neither stay nor be learned.
    """
    path = folder / "model.safetensors"
    there, here = tuple(card.classes), method.context.classes
    if there != here:
        raise InputError(
            f"{folder} was trained on other classes: expected those of the dataset ({_shortened(here)}), got "
            f"{_shortened(there)}"
        )
    tensors, own, per_domain = read_tensors(path), tensors_in(lasting(method)), method.domain_tensors()
    sources, shared = method.context.sources, method.shared_beginnings()
    known = {name: (card.sources.index(name), index) for index, name in enumerate(sources) if name in card.sources}
    taken, odd = {}, []
    for name, value in own.items():
        given = tensors.get(file_name(name))
        rows = len(card.sources)
        if name in per_domain and given is not None and given.shape == (rows, *value.shape[1:]):
            taken[name] = value.clone()
            for before, now in known.values():
                taken[name][now] = given[before].to(value)
        elif name in shared and given is not None and given.shape == value.shape[1:]:
            taken[name] = given.expand_as(value).to(value)
        elif given is not None and given.shape == value.shape and name not in per_domain:
            taken[name] = given
        elif name.startswith(NETWORK) and name not in per_domain:
            odd.append(file_name(name))
    if odd:
        raise InputError(
            f"{path} does not fit: {len(odd)} tensors of the network are missing or of another shape ({', '.join(odd[:3])}"
            f"{', ...' if len(odd) > 3 else ''}). Expected a network with one head on the same backbone, got "
            f"{card.method.name} on {card.backbone}"
        )
    load_tensors(method, taken, strict=False)
    lacking = sorted(file_name(name) for name in per_domain if name not in taken)
    if masks_alone and lacking and len(lacking) < len(per_domain):
        raise InputError(
            f"the model in {folder} has no {', '.join(lacking)}: expected masks at the same sites, so that those of its "
            "sources can stay as they are. Leave out --sites, or learn all"
        )
    adopted = bool(per_domain) and not lacking
    return tuple(name for name in sources if name not in known or not adopted)


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names) - 5} more)" if len(names) > 5 else "")
