"""Model files: ``model.safetensors`` with the user's own parameter names, and ``model.json``, the model card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from domain_masks.errors import InputError
from domain_masks.methods.base import Context, Method
from domain_masks.methods.domain_classifier import DomainClassifier
from domain_masks.methods.extra_state import extra_cards, extra_forms, extra_tensors, extra_values, tensors_in
from domain_masks.methods.method_builder import build_method
from domain_masks.methods.method_registry import METHODS
from domain_masks.methods.plugins import source_of, unknown_method
from domain_masks.methods.prediction_parity import device_of, require_parity
from domain_masks.methods.settings import method_settings
from domain_masks.methods.tensor_files import (
    TensorForm,
    check_forms,
    count_bytes,
    load_tensors,
    read_forms,
    read_tensors,
    require_finite,
)
from domain_masks.methods.training_only import drop_training_only, model_state
from domain_masks.networks import Architecture, Site, architecture_of, build_architecture
from domain_masks.records.environment import version
from domain_masks.records.files import writing
from domain_masks.records.model_card import ModelCard, ModelDescription
from domain_masks.torch_globals import default_tensors

NETWORK = "network.network."
_MASKS = "network.masks.logits."
_CLASSIFIER = "method.domain_classifier.weight"
_MOST_CHANNELS = 2**16
"""Maximum number of input channels of a domain classifier."""


def model_tensors(method: Method) -> dict[str, Tensor]:
    """Return the tensors of a method by their names in a model file.

    The user's network keeps its own names; the mask logits of a site are ``masks.SITE``; other tensors are ``method.NAME``.
    Tensors of a module's extra state are ``NAME.INDEX``. Tensors that only training needs are left out.
    """
    state = _named(model_state(method))
    tensors = tensors_in(state) | extra_tensors(state)
    # Cloned: safetensors does not accept tensors that share memory (tied weights, slices).
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }


def _not_finite(method: Method) -> list[str]:
    """Return the names of buffers with infinite or NaN values, such as initial values that are not yet updated."""
    own = {name for name, _ in method.named_parameters()}
    return [
        file_name(name)
        for name, tensor in tensors_in(model_state(method)).items()
        if name not in own and tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())
    ]


def save_model(
    folder: Path,
    method: Method,
    backbone: str,
    description: ModelDescription,
    check: Callable[[Method], None] | None = None,
) -> None:
    """Write ``model.safetensors`` and ``model.json`` into ``folder``, each atomically.

    - ``backbone``: the name with which :func:`build_backbone` builds the network
    - ``description``: the other fields of ``model.json``; may be another model's card, whose description is copied
    - ``check``: an additional check of the reloaded method

    The only metadata of the weights is ``format``, so that equal weights give equal files. Before existing files are replaced,
    the new ones are loaded and predict a few images: raises ParityError if the predictions differ from those of ``method``,
    and the errors of ``check``.
    """
    context, state = method.context, _named(model_state(method))
    own = {
        "version": version(),
        "backbone": backbone,
        "classes": list(context.classes),
        "sources": list(context.sources),
        "image_size": context.image_size,
        "boundary": method.network.boundary,
        "sites": [asdict(site) for site in method.network.sites],
        "method": {"name": method.name, **asdict(method.settings)},
        "plugin": source_of(type(method)),
        "extra_state": extra_cards(state),
        "not_finite": _not_finite(method),
    }
    card = ModelCard.model_validate(description.model_dump(by_alias=True, exclude_defaults=True) | own)
    stored_card = ModelCard.from_dict(json.loads(json.dumps(card.to_dict(), default=str)))
    with writing(folder / "model.safetensors") as temporary:
        # In memory first: safetensors' own writer hides errors of the file system, such as a full disk.
        temporary.write_bytes(save(model_tensors(method), metadata={"format": "pt"}))
        with default_tensors():
            reloaded = _loaded(stored_card, folder / "model.json", temporary).to(device_of(method))
        require_parity(method, reloaded, folder)
        if check is not None:
            check(reloaded)
    card.write(folder / "model.json")


def network_of(card: ModelCard) -> Architecture:
    """Return the architecture of the network that ``card`` describes.

    Older cards do not contain it; then it is derived from the backbone's name and from whether the initial weights were
    ``imagenet``.

    Raises InputError for an invalid description and an unknown backbone.
    """
    if card.network is not None:
        architecture = Architecture.from_dict(card.network)
        named = card.backbone.rpartition(":")[2]
        if architecture.name.partition(".")[0] != named.partition(".")[0]:
            raise InputError(f"expected the network of backbone {card.backbone!r}, got {architecture.name!r}")
        return architecture
    from_imagenet = card.training is not None and card.training.weights == "imagenet"
    return architecture_of(card.backbone, "imagenet" if from_imagenet else "none")


def load_model(folder: Path) -> tuple[Method, ModelCard]:
    """Load a model that :func:`save_model` wrote, in evaluation mode on the CPU, and its model card.

    The network is first built on the meta device, and the header of the weights file is checked against it before any tensor
    is read. Nothing is downloaded. Raises RunFolderError for a missing or malformed ``model.json`` or a newer format,
    InputError if the tensors do not match it.
    """
    with default_tensors():
        card = ModelCard.read(folder / "model.json")
        return _loaded(card, folder / "model.json", folder / "model.safetensors"), card


def _loaded(card: ModelCard, card_path: Path, path: Path) -> Method:
    """Rebuild the method that ``card`` describes with the tensors in ``path``, in evaluation mode on the CPU."""
    method = _blank(card, card_path)
    drop_training_only(method)
    channels = _classified_channels(method, path)
    _expect_classifier(method, channels)
    names = {file_name(name): name for name in model_state(method)}
    check_forms(path, _forms(method) | extra_forms(card.extra_state))
    tensors = read_tensors(path)
    learned = {file_name(name) for name, _ in method.named_parameters()}
    require_finite(path, tensors, {*card.not_finite} - learned)
    extra = extra_values(card.extra_state, tensors, names, card_path)
    if _keeps_tensors_elsewhere(method):
        method = _built(card, card_path)
        drop_training_only(method)
        _expect_classifier(method, channels)
    # Cloned: the last bits of small matrix products depend on memory alignment, which is arbitrary in the file.
    own = {name: tensor.clone() for name, tensor in tensors.items() if name in names}
    load_tensors(method, {names[name]: value for name, value in (own | extra).items()}, assign=True)
    return method.eval()


def largest_file(card: ModelCard, path: Path) -> int:
    """Return the maximum size in bytes of the weights file of the model that ``card``, read from ``path``, describes."""
    method = _blank(card, path)
    _expect_classifier(method, _MOST_CHANNELS if method.predicts_by_domain else None)
    return count_bytes(_forms(method) | extra_forms(card.extra_state))


def read_masks(folder: Path) -> dict[str, Tensor]:
    """Return site -> mask logits (D, K) of the model in ``folder``, without building it; empty for a model without masks.

    Raises RunFolderError and InputError as :func:`load_model` does.
    """
    sites = [site.name for site in ModelCard.read(folder / "model.json").sites]
    tensors = read_tensors(folder / "model.safetensors")
    return {site: tensors[f"masks.{site}"] for site in sites if f"masks.{site}" in tensors}


def _classified_channels(method: Method, path: Path) -> int | None:
    """Return the number of input channels of the domain classifier in ``path``; None if the file has no valid one."""
    form = read_forms(path).get(_CLASSIFIER)
    if form is None or len(form.shape) != 2 or form.shape[1] > _MOST_CHANNELS or not method.predicts_by_domain:
        return None
    return form.shape[1]


def _expect_classifier(method: Method, channels: int | None) -> None:
    """Give ``method`` an empty domain classifier for the weights in the file, unless ``channels`` is None."""
    if channels is not None:
        with torch.device("meta"):
            method.use_domain_classifier(DomainClassifier(len(method.context.sources), channels))


def _forms(method: Method) -> dict[str, TensorForm]:
    return {name: TensorForm.of(tensor) for name, tensor in tensors_in(_named(model_state(method))).items()}


def _blank(card: ModelCard, path: Path) -> Method:
    """Build the method that ``card`` describes on the meta device: shapes without memory or initial values."""
    try:
        with torch.device("meta"):
            return _made(card)
    except InputError as error:
        if error.__cause__ is None:
            # The card is invalid: building with memory would fail as well, after allocating the network.
            raise InputError(f"{path}: {error}") from error
        return _built(card, path)
    except Exception:  # a network whose constructor computes with values
        return _built(card, path)


def _built(card: ModelCard, path: Path) -> Method:
    """Build the method that ``card`` describes with memory and initial weights."""
    try:
        return _made(card)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        raise InputError(
            f"{path}: the network {card.backbone!r} cannot be built ({type(error).__name__}: {error})"
        ) from error


def _made(card: ModelCard) -> Method:
    name = card.method.name
    if name not in METHODS or (card.plugin is not None and source_of(METHODS[name]) is None):
        raise InputError(unknown_method(name, [card.plugin]))
    make = partial(build_architecture, network_of(card), len(card.classes), card.backbone)
    context = Context(
        sources=tuple(card.sources),
        classes=tuple(card.classes),
        sites=tuple(Site(site.name, site.axis, site.size) for site in card.sites),
        boundary=card.boundary,
        image_size=card.image_size,
        further_backbone=make,
    )
    return build_method(name, make(), context, method_settings(name, card.method.settings))


def _keeps_tensors_elsewhere(method: Method) -> bool:
    """Return whether a method on the meta device has tensors that are not in its state, such as position tables."""
    state = method.state_dict()
    tensors = [buffer for name, buffer in method.named_buffers() if name not in state]
    tensors += [value for module in method.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return any(tensor.is_meta for tensor in tensors)


def _named(state: Mapping[str, Any]) -> dict[str, Any]:
    return {file_name(name): value for name, value in state.items()}


def file_name(name: str) -> str:
    """Return the name of a method's tensor in a model file."""
    if name.startswith(NETWORK):
        return name.removeprefix(NETWORK)
    if name.startswith(_MASKS):
        return "masks." + name.removeprefix(_MASKS).replace("/", ".")
    return f"method.{name}"
