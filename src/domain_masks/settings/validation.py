"""All mistakes in the settings of a run at once: values, names, the method's own settings, contradictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from domain_masks.errors import InputError, combine_errors, unknown
from domain_masks.records.config import RunConfig, check_values
from domain_masks.records.files import is_there
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.setting_types import augmentation_name
from domain_masks.records.spellings import canonical
from domain_masks.settings.benchmark import BENCHMARK_LISTS
from domain_masks.settings.contradictions import contradictions


def check_settings(values: Mapping[str, Any], others: Iterable[str] = (), words: Sequence[str] = ()) -> RunConfig:
    """Return the settings of a run, validated as far as possible without its data.

    - ``others``: earlier mistakes, which are reported together with these
    - ``words``: further names that an unknown setting may be a misspelling of

    Looking names up needs no torch, except for a user's own method, whose plugin is imported first.
    Raises InputError with a line per mistake.
    """
    values, mistakes = canonical(values, (*RunConfig.model_fields, *BENCHMARK_LISTS))
    import_plugins(values)
    mistakes = [*others, *mistakes]
    lists = [name for name in BENCHMARK_LISTS if name in values]
    if lists:
        mistakes.append(
            f"{', '.join(lists)}: only `dmg benchmark` takes such lists: give it the same settings, or name one run by "
            "method, target and seed"
        )
    config, wrong = check_values({name: value for name, value in values.items() if name not in lists}, words)
    mistakes += wrong + unknown_names(values)
    config, wrong = _with_method(config, values.get("method"))
    mistakes += wrong
    if mistakes or config is None:
        raise combine_errors(mistakes)
    return config


def import_plugins(values: Mapping[str, Any]) -> None:
    """Import the plugins of the settings before the others are validated; raises InputError where one cannot be imported."""
    if values.get("plugin"):
        from domain_masks.settings.plugins import load_named  # noqa: PLC0415

        load_named(values)


def unknown_names(values: Mapping[str, Any]) -> list[str]:
    """Return a line for every name of a dataset, augmentation or backbone that does not exist."""
    mistakes = []
    for name, look_up in (("dataset", _dataset), ("augmentation", _augmentation), ("backbone", _backbone)):
        value = values.get(name)
        if isinstance(value, str) and value:
            try:
                look_up(value)
            except InputError as error:
                mistakes.append(f"{name}: {error}")
    return mistakes


def _with_method(config: RunConfig | None, method: Any) -> tuple[RunConfig | None, list[str]]:
    """Return the configuration with the method's settings validated, and a line per mistake and contradiction."""
    from domain_masks.methods.method_registry import described  # noqa: PLC0415
    from domain_masks.methods.settings import check_method  # noqa: PLC0415

    try:
        choice = MethodChoice.read("dmg" if method is None else method)
        kind = described(choice.name)
    except InputError as error:
        return None, [f"method: {error}"]
    except ValueError:
        return None, []  # reported with the values
    settings, mistakes = check_method(choice.name, choice.given)
    if config is None:
        return None, mistakes
    checked = config.model_copy(update={"method": replace(choice, settings=settings)})
    return checked, [*mistakes, *contradictions(config, kind)]


def _dataset(name: str) -> None:
    # Paths, manifests and hf:NAME are checked when they are opened.
    if is_there(name) or Path(name).name != name or "." in name or ":" in name:
        return
    from domain_masks.data.registry import DATASETS  # noqa: PLC0415

    if name not in DATASETS:
        raise InputError(
            f"{unknown('dataset', name, DATASETS)} Or give the path of a folder with domain/class/image files, "
            "of a manifest, or hf:NAME"
        )


def _augmentation(name: str) -> None:
    from domain_masks.data.registry import augmentation_names  # noqa: PLC0415

    if augmentation_name(name) not in (known := augmentation_names()):
        raise unknown("augmentation", name, known)


def _backbone(name: str) -> None:
    from domain_masks.networks.names import check_backbone  # noqa: PLC0415

    check_backbone(name)
