"""How a method decides settings of its runs: those that are not given, and the rows of every source that a batch needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain_masks.errors import InputError
from domain_masks.methods.run_defaults import own_defaults
from domain_masks.records.config import RunConfig, check_values
from domain_masks.records.recipes import RECIPES

if TYPE_CHECKING:
    from domain_masks.methods import Description


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
