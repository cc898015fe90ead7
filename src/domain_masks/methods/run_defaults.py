"""A method's own defaults for the settings of its runs, such as its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, check_values
from domain_masks.records.setting_types import flag_of

if TYPE_CHECKING:
    from domain_masks.methods.description import Description

_NOT_A_METHODS = frozenset({"recipe", "class_weights", "fast", "selection", "seed", "max_time"})
"""Settings of the optimisation for which a method cannot have a default of its own."""


def own_defaults(method: type[Description]) -> dict[str, Any]:
    """Return the method's own defaults for settings of runs, validated.

    A method that needs images of every source in each batch has balanced sampling. Raises InputError, which names the method,
    for unknown settings and invalid values.
    """
    own: dict[str, Any] = {"sampling": "balanced"} if method.rows_per_domain else {}
    own |= method.defaults
    config, mistakes = check_values(own)
    mistakes += [f"{name}: is not a setting of the training" for name in own if not _is_a_methods(name)]
    if config is None or mistakes:
        raise InputError(
            f"method {method.name!r} has defaults that cannot be used: {'; '.join(mistakes)}. Expected settings of the "
            "training in its `defaults`, such as lr"
        )
    return {name: getattr(config, name) for name in own}


def _is_a_methods(name: str) -> bool:
    field = RunConfig.model_fields.get(name)
    if field is None or name == "sampling":
        return True  # an unknown name has been reported already
    return flag_of(field).group == "optimisation" and name not in _NOT_A_METHODS


def defaults_in_effect(config: RunConfig, method: type[Description]) -> dict[str, Any]:
    """Return the settings of a complete configuration that have the method's own default instead of the usual one."""
    usual = RunConfig()
    return {
        name: value
        for name, value in own_defaults(method).items()
        if getattr(config, name) == value != getattr(usual, name)
    }
