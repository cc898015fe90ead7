"""Model files: ``model.safetensors`` with the user's own parameter names, ``model.json`` with what else rebuilds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from domain_masks.errors import InputError, RunFolderError
from domain_masks.methods.base import Context, Method
from domain_masks.methods.build import build_method, method_settings
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.networks import Site, build_backbone
from domain_masks.records.files import check_schema, read_json, write_json, write_whole

FORMAT = 1
_NEEDED = ("backbone", "classes", "sources", "image_size", "boundary", "sites", "method")

_NETWORK = "network.network."
_MASKS = "network.masks.logits."


def model_tensors(method: Method) -> dict[str, Tensor]:
    """Return the tensors of a method under the names that they have in a model file.

    The user's network keeps its own names; the mask logits of a site are ``masks.SITE``; what else a method has is
    ``method.NAME``.
    """
    # Cloned: tensors that share memory (tied weights, slices) are not accepted by safetensors.
    return {
        _file_name(name): tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in method.state_dict().items()
    }


def save_model(folder: Path, method: Method, backbone: str, description: Mapping[str, Any]) -> None:
    """Write ``model.safetensors`` and ``model.json`` into ``folder``, each whole or not at all.

    - ``backbone``: the name from which :func:`build_backbone` makes the network
    - ``description``: further facts for ``model.json``, such as preprocessing and protocol

    The weights carry no metadata but ``format``, so that equal weights are equal files.
    """
    context = method.context
    card = {
        "format": FORMAT,
        "backbone": backbone,
        "classes": list(context.classes),
        "sources": list(context.sources),
        "image_size": context.image_size,
        "boundary": method.network.boundary,
        "sites": [asdict(site) for site in method.network.sites],
        "method": {"name": method.name, **(asdict(method.settings))},
        **description,
    }
    # In memory first: the library's own writer hides what the file system says, such as that the disk is full.
    write_whole(folder / "model.safetensors", save(model_tensors(method), metadata={"format": "pt"}))
    write_json(folder / "model.json", card)


def read_card(folder: Path) -> dict[str, Any]:
    """Return what ``model.json`` in ``folder`` holds.

    Raises RunFolderError where it is missing, describes no model, or has a newer format.
    """
    card = read_json(folder / "model.json")
    check_schema(card.get("format"), FORMAT, folder / "model.json", "write it again with `dmg evaluate RUN`", "format")
    absent = [key for key in _NEEDED if key not in card]
    if absent or "name" not in card["method"]:
        raise RunFolderError(
            f"{folder / 'model.json'} describes no model: expected {', '.join(_NEEDED)} and the method's name, "
            f"got no {', '.join(absent) or 'name'}; write the model anew"
        )
    return card


def adopt(method: Method, folder: Path, card: Mapping[str, Any], masks_alone: bool = False) -> tuple[str, ...]:
    """Start ``method`` from the model in ``folder``; returns the sources whose masks or heads that model did not have.

    The network's weights are taken over whole, masks and heads source by source, under their names. Masks of other sites
    and what another method has besides the network are left out on both sides.

    Raises InputError where the network or the classes differ; with ``masks_alone`` also where the model has masks at some of
    the sites only, so that old masks could neither stay nor be learned.
    """
    path = folder / "model.safetensors"
    there, here = tuple(card["classes"]), method.context.classes
    if there != here:
        raise InputError(
            f"{folder} was trained on other classes: expected those of the dataset ({_shortened(here)}), got "
            f"{_shortened(there)}"
        )
    tensors, own, per_domain = _read_tensors(path), method.state_dict(), method.domain_tensors()
    sources = method.context.sources
    known = {
        name: (list(card["sources"]).index(name), index)
        for index, name in enumerate(sources)
        if name in card["sources"]
    }
    taken, odd = {}, []
    for name, value in own.items():
        found = tensors.get(_file_name(name))
        rows = len(card["sources"])
        if name in per_domain and found is not None and found.shape == (rows, *value.shape[1:]):
            taken[name] = value.clone()
            for before, now in known.values():
                taken[name][now] = found[before].to(value)
        elif found is not None and found.shape == value.shape and name not in per_domain:
            taken[name] = found
        elif name.startswith(_NETWORK) and name not in per_domain:
            odd.append(_file_name(name))
    if odd:
        raise InputError(
            f"{path} does not fit: {len(odd)} tensors of the network are missing or of another shape ({', '.join(odd[:3])}"
            f"{', ...' if len(odd) > 3 else ''}). Expected a network with one head on the same backbone, got "
            f"{card['method']['name']} on {card['backbone']}"
        )
    method.load_state_dict(taken, strict=False)
    lacking = sorted(_file_name(name) for name in per_domain if name not in taken)
    if masks_alone and lacking and len(lacking) < len(per_domain):
        raise InputError(
            f"the model in {folder} has no {', '.join(lacking)}: expected masks at the same sites, so that those of its "
            "sources can stay as they are. Leave out --sites, or learn all"
        )
    adopted = bool(per_domain) and not lacking
    return tuple(name for name in sources if name not in known or not adopted)


def load_model(folder: Path) -> tuple[Method, dict[str, Any]]:
    """Rebuild what :func:`save_model` wrote, in evaluation mode; also returns what ``model.json`` holds.

    Raises RunFolderError for a missing or malformed ``model.json``, InputError where the tensors do not fit it or the
    format is newer.
    """
    card = read_card(folder)
    named = dict(card["method"])
    context = Context(
        sources=tuple(card["sources"]),
        classes=tuple(card["classes"]),
        sites=tuple(Site(**site) for site in card["sites"]),
        boundary=card["boundary"],
        image_size=card["image_size"],
    )
    name = named.pop("name")
    method = build_method(
        name, build_backbone(card["backbone"], len(context.classes)), context, method_settings(name, named)
    )
    tensors = _read_tensors(folder / "model.safetensors")
    found = tensors.get("method.domain_classifier.weight")
    if found is not None and found.dim() == 2 and method.predicts_by_domain:
        method.domain_classifier = DomainClassifier(len(context.sources), found.shape[1])
    own = {_file_name(key): key for key in method.state_dict()}
    expected = {key: tuple(method.state_dict()[inner].shape) for key, inner in own.items()}
    got = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
    if expected != got:
        odd = sorted(key for key in expected.keys() | got.keys() if expected.get(key) != got.get(key))
        raise InputError(
            f"{folder / 'model.safetensors'} does not fit model.json: {len(odd)} tensors are missing, foreign or of "
            f"another shape ({', '.join(odd[:3])}{', ...' if len(odd) > 3 else ''})"
        )
    method.load_state_dict({own[key]: tensor for key, tensor in tensors.items()})
    return method.eval(), card


def read_masks(folder: Path) -> dict[str, Tensor]:
    """Return site -> mask logits (D, K) of the model in ``folder``, without building it; empty for one without masks.

    Raises RunFolderError and InputError as :func:`load_model` does.
    """
    sites = [site["name"] for site in read_card(folder)["sites"]]
    tensors = _read_tensors(folder / "model.safetensors")
    return {site: tensors[f"masks.{site}"] for site in sites if f"masks.{site}" in tensors}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read ({type(error).__name__}: {error}): expected the weights beside model.json"
        ) from error
    return tensors


def _shortened(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names) - 5} more)" if len(names) > 5 else "")


def _file_name(name: str) -> str:
    if name.startswith(_NETWORK):
        return name.removeprefix(_NETWORK)
    if name.startswith(_MASKS):
        return "masks." + name.removeprefix(_MASKS).replace("/", ".")
    return f"method.{name}"
