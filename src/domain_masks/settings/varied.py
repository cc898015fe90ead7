"""The settings of a benchmark's runs, method by method and variation by variation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from domain_masks.errors import unknown
from domain_masks.records.config import RunConfig, check_values, parse_config
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.spellings import suggestion
from domain_masks.settings.contradictions import contradictions, sites_matter
from domain_masks.settings.sweeps import METHOD, Variation
from domain_masks.settings.validation import unknown_names

if TYPE_CHECKING:
    from domain_masks.methods import Description


def without_mask_settings(config: RunConfig, method: type[Description]) -> RunConfig:
    """Return a benchmark's shared settings without those that a method has no use for.

    Those of masks where it has none, and the average of weights where it is fitted without steps.
    """
    changes: dict[str, Any] = {}
    if not method.has_masks():
        changes |= {"lr_masks": None, "schedule_masks": "same"}
    if not method.has_sites() and not sites_matter(config):
        changes["sites"] = ()
    if method.is_closed_form():
        changes |= {name: field.default for name, field in RunConfig.model_fields.items() if name.startswith("average")}
    return config.model_copy(update=changes)


def settings_of(method: str) -> list[str]:
    """Return the names of a method's own settings; raises InputError for an unknown method."""
    from domain_masks.methods.table import described  # noqa: PLC0415

    return [setting.name for setting in fields(described(method).Settings)]


def with_variation(
    base: RunConfig, method: Mapping[str, Any], variation: Variation
) -> tuple[RunConfig, tuple[str, ...]] | None:
    """Return the settings of ``method`` under ``variation``, and the names of those that it has from there.

    - ``base``: the settings that all runs share
    - ``method``: name and own settings

    None where the variation is for other methods. Settings of other methods, and those of masks where there are none, are
    left out. Raises InputError for values that cannot be used.
    """
    from domain_masks.methods.table import described  # noqa: PLC0415

    if variation.methods and method["name"] not in variation.methods:
        return None
    has = settings_of(method["name"])
    own = {name: value for name, value in variation.own().items() if name in has}
    shared = variation.shared()
    # What was not given stays so: it may have a default of the method's own.
    config = parse_config({**base.model_dump(exclude_unset=True), **shared}) if shared else base
    fitting = without_mask_settings(config, described(method["name"]))
    taken = [name for name in shared if getattr(fitting, name) == getattr(config, name)]
    names = tuple(
        name
        for name in variation.settings
        if name in taken or (name.removeprefix(METHOD) in own and name not in shared)
    )
    return fitting.model_copy(update={"method": MethodChoice.read({**method, **own})}), names


def varied_mistakes(
    base: RunConfig | None, methods: Sequence[Mapping[str, Any]], variations: Sequence[Variation]
) -> Iterator[str]:
    """Yield a line for everything that is wrong with the values of ``variations``, alone or together with the others.

    ``base`` None leaves out what depends on the shared settings.
    """
    names = [str(method["name"]) for method in methods]
    for name in dict.fromkeys(name for variation in variations for name in variation.methods if name not in names):
        yield f"variants: {unknown('method', name, names)}"
    wrong = _wrong_values(names, variations)
    yield from dict.fromkeys(line for lines in wrong.values() for line in lines)
    if base is not None:
        # What the others contradict is looked at without those that are wrong by themselves.
        usable = [
            replace(
                variation,
                settings={
                    name: value for name, value in variation.settings.items() if (name, repr(value)) not in wrong
                },
            )
            for variation in variations
        ]
        yield from dict.fromkeys(_wrong_together(base, methods, usable))


def _wrong_values(methods: Sequence[str], variations: Sequence[Variation]) -> dict[tuple[str, str], list[str]]:
    """Return name and value -> what is wrong with it, for those that are wrong whatever the others are."""
    from domain_masks.methods.settings import check_method  # noqa: PLC0415

    known = {name: settings_of(name) for name in methods}
    wrong = {}
    for name, value in _single(variations):
        own = name.removeprefix(METHOD)
        if not name.startswith(METHOD):
            found = [*check_values({name: value})[1], *unknown_names({name: value})]
        elif having := [method for method in methods if own in known[method]]:
            found = [line for method in having for line in check_method(method, {own: value})[1]]
        else:
            guess = suggestion(own, [setting for settings in known.values() for setting in settings])
            found = [
                f"{name}: none of the methods has such a setting" + (f": did you mean method.{guess}?" if guess else "")
            ]
        if found:
            wrong[name, repr(value)] = found
    return wrong


def _single(variations: Sequence[Variation]) -> Iterator[tuple[str, Any]]:
    """Yield every value of every setting once."""
    seen = set()
    for variation in variations:
        for name, value in variation.settings.items():
            if (name, repr(value)) not in seen:
                seen.add((name, repr(value)))
                yield name, value


def _wrong_together(
    base: RunConfig, methods: Sequence[Mapping[str, Any]], variations: Sequence[Variation]
) -> Iterator[str]:
    from domain_masks.methods.table import described  # noqa: PLC0415

    unused = {name: None for variation in variations for name in variation.settings}
    for method in methods:
        for variation in variations:
            found = with_variation(base, method, variation)
            if found is not None:
                config, names = found
                unused = {name: None for name in unused if name not in names}
                setting = ", ".join(f"{name}={variation.settings[name]}" for name in names)
                for line in contradictions(config, described(method["name"])):
                    yield f"{line} (with {setting})" if setting else line
    yield from (f"{name}: none of the methods takes it: leave it out" for name in unused)
