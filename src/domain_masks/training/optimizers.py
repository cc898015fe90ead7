"""The optimisers of a method: which parameters each one trains, and how it is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import nn

from domain_masks.errors import InputError, unknown
from domain_masks.methods import Method
from domain_masks.methods.engine import Optimizer
from domain_masks.networks.depth import parameter_depths
from domain_masks.records.config import RunConfig

_NAMED = 5


def optimizers_of(method: Method) -> dict[str, Optimizer]:
    """Return a method's optimisers by name, also those that are declared by their groups only."""
    return {
        name: kind if isinstance(kind, Optimizer) else Optimizer(kind) for name, kind in method.optimizers().items()
    }


def trained_groups(method: Method) -> dict[str, dict[str, list[nn.Parameter]]]:
    """Return optimiser -> parameter group -> the parameters that it trains; those that are frozen are left out.

    An optimiser whose parameters are all frozen has no group. Raises InputError where a parameter would be trained by no
    optimiser or by two, or is not a parameter of the method, so that no checkpoint would hold it.
    """
    groups, optimizers = method.parameter_groups(), optimizers_of(method)
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    places: dict[int, str] = {}
    by_optimizer: dict[str, dict[str, list[nn.Parameter]]] = {}
    for optimizer, members in optimizers.items():
        by_optimizer[optimizer] = {}
        for group in members.groups:
            if group not in groups:
                raise unknown(f"parameter group of optimiser {optimizer!r}", group, groups)
            here = f"group {group!r} of optimiser {optimizer!r}"
            trained = []
            for parameter in groups[group]:
                if id(parameter) not in names:
                    raise InputError(
                        f"{here} of method {method.name!r} holds a tensor of shape {tuple(parameter.shape)} that is no "
                        "parameter of the method, so that no checkpoint would keep it: assign it to an attribute"
                    )
                if id(parameter) in places:
                    twice = "twice" if places[id(parameter)] == here else f"and in {places[id(parameter)]}"
                    raise InputError(
                        f"parameter {names[id(parameter)]} of method {method.name!r} is in {here} {twice}: expected every "
                        "parameter in one place"
                    )
                places[id(parameter)] = here
                if parameter.requires_grad:
                    trained.append(parameter)
            if trained:
                by_optimizer[optimizer][group] = trained
    _refuse_left_out(method, places)
    return by_optimizer


def _refuse_left_out(method: Method, placed: Collection[int]) -> None:
    trainable = [(name, parameter) for name, parameter in method.named_parameters() if parameter.requires_grad]
    left_out = [name for name, parameter in trainable if id(parameter) not in placed]
    if left_out:
        more = f", ... ({len(left_out) - _NAMED} more)" if len(left_out) > _NAMED else ""
        raise InputError(
            f"{len(left_out)} parameter{'s' if len(left_out) > 1 else ''} of method {method.name!r} would never be trained: "
            f"{', '.join(left_out[:_NAMED])}{more}. Expected each in a group of parameter_groups() that optimizers() names, or "
            "frozen by requires_grad_(False)"
        )


def base_rate(group: str, kind: Optimizer, config: RunConfig) -> float:
    """Return the learning rate of a parameter group before the schedule: ``--lr_head`` or ``--lr_masks``, else its optimiser's.

    Raises ValueError for a configuration without a learning rate.
    """
    own = {"head": config.lr_head, "masks": config.lr_masks}.get(group) or kind.lr or config.learning_rate
    if own is None:
        raise ValueError("expected a resolved configuration, got one without a learning rate")
    return own


def layer_scales(method: Method, decay: float) -> dict[int, float]:
    """Return id of a parameter -> factor of its learning rate, below 1 for the layers below the last one (BEiT, Section A).

    Each layer or block has ``decay`` times the rate of the one above it. The last layer, masks and parameters outside of the
    network have 1.
    """
    if decay == 1.0:
        return {}
    network = method.network.network
    depths = parameter_depths(network)
    layers = {id(parameter): depths[name] for name, parameter in network.named_parameters() if name in depths}
    head = {id(parameter) for parameter in method.parameter_groups().get("head", ())}
    # A method may have replaced the network's own last layer.
    top = max((layer for key, layer in layers.items() if key in head), default=1 + max(layers.values(), default=0))
    return {key: decay ** (top - layer) for key, layer in layers.items() if key not in head}


def build_optimizer(
    groups: dict[str, list[nn.Parameter]],
    kind: Optimizer,
    config: RunConfig,
    scales: Mapping[int, float] | None = None,
) -> torch.optim.Optimizer:
    """Return the optimiser of the parameter ``groups``, each with its own learning rate; ``kind`` overrides the run's settings.

    - ``scales``: id of a parameter -> factor of its learning rate, 1 where it is missing

    Raises ValueError for a configuration without a learning rate.
    """
    rates = {group: base_rate(group, kind, config) for group in groups}
    parameters = [
        {"params": members, "name": group, "lr": rates[group] * scale, "base_lr": rates[group] * scale}
        for group, trained in groups.items()
        for scale, members in _by_scale(trained, scales or {})
    ]
    decay = (config.weight_decay or 0.0) if kind.weight_decay is None else kind.weight_decay
    # One kernel for all parameters, also under a gradient scaler; there it is incompatible with gradient clipping.
    fused = config.precision != "16" or config.clip is None
    name = kind.kind or config.optimizer
    if name != "sgd":
        adam = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
        return adam(parameters, weight_decay=decay, fused=fused)
    momentum = config.momentum if kind.momentum is None else kind.momentum
    return torch.optim.SGD(parameters, lr=max(rates.values()), momentum=momentum, weight_decay=decay, fused=fused)


def _by_scale(parameters: list[nn.Parameter], scales: Mapping[int, float]) -> list[tuple[float, list[nn.Parameter]]]:
    """Return the parameters by their factor of the learning rate, the largest last: the rate that is logged is its group's."""
    members: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        members.setdefault(scales.get(id(parameter), 1.0), []).append(parameter)
    return sorted(members.items())
