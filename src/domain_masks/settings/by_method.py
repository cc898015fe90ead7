"""What a method declares about the settings of its runs: its own defaults, and the rows of every source that a batch needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain_masks.errors import InputError
from domain_masks.records.config import RunConfig, check_values
from domain_masks.records.recipes import RECIPES
from domain_masks.records.setting_types import flag_of

if TYPE_CHECKING:
    from domain_masks.methods import Description

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


def defaults_not_given(config: RunConfig, method: type[Description]) -> dict[str, Any]:
    """Return the recipe's settings, and else the method's own defaults, of what is not given in ``config``."""
    own = {name: value for name, value in own_defaults(method).items() if not is_given(config, name)}
    if is_given(config, "optimizer") and config.optimizer != method.defaults.get("optimizer", config.optimizer):
        # They belong to the optimiser that was replaced.
        own = {name: value for name, value in own.items() if name not in ("momentum", "lr")}
    return own | {name: value for name, value in recipe_of(config, method).items() if not is_given(config, name)}


def recipe_of(config: RunConfig, method: type[Description]) -> dict[str, Any]:
    """Return the settings of the run's recipe, validated, without those that do not apply to the method."""
    chosen = dict(RECIPES[config.recipe])
    if not method.learns_masks(config.method.given):
        chosen = {name: value for name, value in chosen.items() if name not in ("lr_masks", "schedule_masks")}
    if method.is_closed_form():
        chosen = {name: value for name, value in chosen.items() if not name.startswith("average")}
    checked, mistakes = check_values(chosen)
    if checked is None or mistakes:
        raise InputError(f"recipe {config.recipe!r} cannot be used: {'; '.join(mistakes)}")
    return {name: getattr(checked, name) for name in chosen}


def is_given(config: RunConfig, name: str) -> bool:
    """Whether a setting was given: otherwise it has its default, or None."""
    return name in config.model_fields_set and getattr(config, name) not in (None, ())


def defaults_in_effect(config: RunConfig, method: type[Description]) -> dict[str, Any]:
    """Return the settings of a complete configuration that have the method's own default instead of the usual one."""
    usual = RunConfig()
    return {
        name: value
        for name, value in own_defaults(method).items()
        if getattr(config, name) == value != getattr(usual, name)
    }


def batch_mistakes(config: RunConfig, method: type[Description], sources: int) -> list[str]:
    """Return a line for each setting with which a batch would lack images of a source that the method needs.

    - ``sources``: how many source domains there are
    """
    rows = method.rows_per_domain
    if not rows:
        return []
    needs = f"method {method.name!r} needs {rows} image{'s' * (rows > 1)} of every source in each batch"
    if config.sampling == "pooled":
        return [f"sampling: {needs}, which pooled batches may lack: use balanced"]
    fewest = rows * sources * config.devices
    if not isinstance(config.batch, int) or config.batch >= fewest:
        return []
    parts = f" on each of {config.devices} devices" if config.devices > 1 else ""
    return [f"batch: {needs}{parts}, and there are {sources}: expected {fewest} or more, got {config.batch}"]
