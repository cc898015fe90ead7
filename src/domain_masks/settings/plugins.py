"""The plugins of a run: those of its method, and of other names that this package does not have."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domain_masks.data.registry import AUGMENTATION_NAMES, DATASETS
from domain_masks.errors import InputError
from domain_masks.methods.method_registry import METHODS, described
from domain_masks.methods.plugins import load_plugins, unknown_method
from domain_masks.networks.names import OWN_NAMES
from domain_masks.records.config import RunConfig
from domain_masks.records.identity import SITE_PRESETS
from domain_masks.records.plugins import is_file
from domain_masks.records.setting_types import as_list, augmentation_name
from domain_masks.sampling import SAMPLING
from domain_masks.schedules import SCHEDULES


def load_named(values: Any) -> None:
    """Import the plugins of settings before the others are validated; raises InputError where one cannot be imported."""
    named = as_list(values.get("plugin") or ())
    if isinstance(named, list | tuple) and all(isinstance(name, str) for name in named):
        load_plugins(named)


def needed_plugins(config: RunConfig) -> tuple[str, ...]:
    """Return the plugins that a run uses, files with absolute paths; none for a run that uses nothing of them.

    A benchmark names them for all of its runs, and runs of this package's methods do not depend on them. The plugin of a
    method from an installed package is its module.
    """
    packaged = METHODS.packaged_in(config.method_name)
    own = (str(Path(name).absolute()) if is_file(name) else name for name in config.plugin if name != packaged)
    used = tuple(own) if any(_are_others(config)) else ()
    return used if packaged is None else (*used, packaged)


def _are_others(config: RunConfig) -> Iterator[bool]:
    """Yield, for each method, augmentation and so on that a run uses, whether it is defined outside of this package."""
    yield _is_of_another(described(config.method_name))
    yield _is_of_another(SAMPLING.get(config.sampling))
    for name in (config.schedule, config.schedule_masks):
        yield _is_of_another(SCHEDULES.get(name or ""))
    if config.dataset in DATASETS:
        yield _is_of_another(DATASETS[config.dataset].load)
    yield config.augmentation not in (None, *AUGMENTATION_NAMES)
    # A plugin that adds to these has imported them.
    presets, backbones = (sys.modules.get(f"domain_masks.networks.{name}") for name in ("presets", "backbones"))
    yield presets is not None and any(site in presets.PRESETS and site not in SITE_PRESETS for site in config.sites)
    yield backbones is not None and config.backbone in backbones.BACKBONES and config.backbone not in OWN_NAMES


def _is_of_another(thing: Any) -> bool:
    module = getattr(getattr(thing, "func", thing), "__module__", None) or ""
    return thing is not None and bool(module.partition(".")[0] != "domain_masks")


def require_plugins(values: Mapping[str, Any], folder: Path) -> None:
    """Raise InputError where the run in ``folder`` with these settings uses a plugin that is not imported.

    A plugin is never imported because a folder names it: the folder may be somebody else's.
    """
    method = values.get("method")
    name = method.get("name") if isinstance(method, Mapping) else method
    named = [str(plugin) for plugin in as_list(values.get("plugin") or ())]
    if isinstance(name, str) and name not in METHODS:
        raise InputError(f"{folder}: {unknown_method(name, named)}")
    if not named or not isinstance(name, str):
        return
    used: list[Any] = [described(name), SAMPLING.get(values.get("sampling", ""))]
    used += [SCHEDULES.get(values.get(setting) or "") for setting in ("schedule", "schedule_masks")]
    if not any(map(_is_of_another, used)) and augmentation_name(values.get("augmentation")) in (
        None,
        *AUGMENTATION_NAMES,
    ):
        flags = " ".join(f"--plugin {plugin}" for plugin in named)
        raise InputError(
            f"{folder}: the run is of a plugin that is not imported here: add {flags}, or import it in Python"
        )
