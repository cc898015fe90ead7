"""The variations of a benchmark: settings swept over a grid, variants listed one by one, and the resulting settings of runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from domain_masks.errors import InputError, unknown
from domain_masks.records.config import NOT_COMPUTED, RunConfig, check_values, parse_config
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.spellings import spelled, suggestion
from domain_masks.settings.contradictions import contradictions, sites_matter
from domain_masks.settings.validation import unknown_names

if TYPE_CHECKING:
    from domain_masks.methods import Description

METHOD = "method."
"""Prefix of the name of a method's own setting, as in its flag."""
_BY_A_LIST = {"method": "--methods", "target": "--targets", "seed": "--seeds"}
_OF_AN_ENTRY = ("name", "methods")
MOST_COMBINATIONS = 10_000


@dataclass(frozen=True)
class Variation:
    """Settings of some runs of a benchmark that replace the shared ones.

    - ``name``: of a listed variant; empty for swept settings, and for runs without changes
    - ``settings``: name -> value as it was given; a method's own are ``method.NAME``
    - ``methods``: the methods that it applies to; empty for all
    """

    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ()

    def own(self) -> dict[str, Any]:
        """Return the settings of methods, without the prefix."""
        return {name.removeprefix(METHOD): value for name, value in self.settings.items() if name.startswith(METHOD)}

    def shared(self) -> dict[str, Any]:
        """Return the settings of runs."""
        return {name: value for name, value in self.settings.items() if not name.startswith(METHOD)}


def variations(sweep: Mapping[str, Sequence[Any]], listed: Sequence[Variation]) -> list[Variation]:
    """Return every listed variant (one without changes where none is listed) with every combination of the swept values.

    A value of the sweep wins over one of a variant.
    """
    grid = [dict(zip(sweep, values, strict=True)) for values in product(*sweep.values())]
    return [
        Variation(variant.name, {**variant.settings, **point}, variant.methods)
        for variant in listed or (Variation(),)
        for point in grid
    ]


def read_sweep(entries: Any, mistakes: list[str]) -> dict[str, list[Any]]:
    """Return setting -> values, from a mapping or from words like ``lr=1e-4,1e-3``; adds a line per mistake."""
    sweep: dict[str, list[Any]] = {}
    for name, values in _assignments(entries, "sweep", "`--sweep lr=1e-4,1e-3`", mistakes):
        words = values.split(",") if isinstance(values, str) else values if isinstance(values, list) else [values]
        listed = [_plain(value) for value in words]
        if not listed or "" in listed:
            mistakes.append(f"sweep {name}: expected values, as in `--sweep lr=1e-4,1e-3`, got {values!r}")
        elif name in sweep:
            mistakes.append(f"sweep: {name!r} is named twice: expected every setting once, with all its values")
        elif repeated := [value for value in listed if listed.count(value) > 1]:
            mistakes.append(f"sweep {name}: {repeated[0]!r} is named twice: expected every value once")
        elif not (wrong := _not_to_vary(name)):
            sweep[name] = listed
        else:
            mistakes.append(f"sweep: {wrong}")
    if (count := prod(map(len, sweep.values()))) > MOST_COMBINATIONS:
        mistakes.append(f"sweep: {count} combinations: expected at most {MOST_COMBINATIONS}")
        return {}
    return sweep


def read_variants(entries: Any, mistakes: list[str]) -> list[Variation]:
    """Return the listed variants, from mappings or from words like ``optimizer=sgd,lr=1e-3``; adds a line per mistake."""
    variants = []
    listed = entries if isinstance(entries, list) else [] if entries is None else [entries]
    for entry in listed:
        assigned = entry.split(",") if isinstance(entry, str) else entry
        before = len(mistakes)
        settings = dict(_assignments(assigned, "variants", "`--variants optimizer=sgd,lr=1e-3`", mistakes))
        name, methods = settings.pop("name", ""), settings.pop("methods", [])
        methods = [methods] if isinstance(methods, str) else methods
        if not isinstance(methods, list) or not all(isinstance(method, str) for method in methods):
            mistakes.append(f"variants: expected the names of methods as methods, got {methods!r}")
        mistakes += [f"variants: {wrong}" for setting in settings if (wrong := _not_to_vary(setting))]
        if len(mistakes) == before:
            variants.append(Variation(str(name), settings, tuple(methods)))
    names = [variant.name for variant in variants]
    mistakes += [
        f"variants: {name!r} is named twice: expected every name once"
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]
    return variants


def _assignments(entries: Any, kind: str, example: str, mistakes: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each entry of a mapping, or of a list of ``NAME=VALUE``."""
    if isinstance(entries, Mapping):
        yield from ((_own_name(str(name)), value) for name, value in entries.items())
        return
    for word in [] if entries is None else entries if isinstance(entries, list) else [entries]:
        if not isinstance(word, str):
            mistakes.append(f"{kind}: expected {example}, or settings by name in YAML, got {word!r}")
            continue
        name, equals, value = word.partition("=")
        if not word.strip():
            continue  # a variant without changes
        if not equals or not name.strip():
            mistakes.append(f"{kind}: expected {example}, got {word!r}")
            continue
        yield _own_name(name.strip()), value.strip() if kind == "sweep" else _plain(value)


def _own_name(name: str) -> str:
    if name.startswith(METHOD):
        return name.replace("-", "_")
    return spelled(name, (*RunConfig.model_fields, *_OF_AN_ENTRY))


def _plain(value: Any) -> Any:
    """Return a word as a number or boolean, as YAML would read it; any other unchanged."""
    if not isinstance(value, str):
        return value

    from domain_masks.records.yaml_files import parse_yaml  # noqa: PLC0415

    with suppress(InputError):
        read = parse_yaml(value, "")
        return read if isinstance(read, bool | int | float) else value.strip()
    return value.strip()


def _not_to_vary(name: str) -> str:
    """Return why a setting cannot be varied; empty where it can. Settings of methods are checked elsewhere."""
    if name.startswith(METHOD):
        return ""
    if name in _BY_A_LIST:
        return f"{name!r} is varied by {_BY_A_LIST[name]}"
    if name == "dataset":
        return "'dataset' is one for all runs: use a benchmark for each"
    if name in NOT_COMPUTED:
        return f"{name!r} does not decide what a run computes: give it once, for all"
    if name not in RunConfig.model_fields:
        guess = suggestion(name, [*RunConfig.model_fields, *_OF_AN_ENTRY])
        return f"{name!r}: there is no such setting" + (f": did you mean {guess!r}?" if guess else "")
    return ""


def without_mask_settings(
    config: RunConfig, method: type[Description], own: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return a benchmark's shared settings without those that do not apply to a method with settings ``own``.

    These are the settings of masks for one that has or learns none, and the average of weights for a closed-form one.
    """
    changes: dict[str, Any] = {}
    if not method.learns_masks(own or {}):
        changes |= {"lr_masks": None, "schedule_masks": "same"}
    if not method.has_sites() and not sites_matter(config):
        changes["sites"] = ()
    if method.is_closed_form():
        changes |= {name: field.default for name, field in RunConfig.model_fields.items() if name.startswith("average")}
    return config.model_copy(update=changes)


def settings_of(method: str) -> list[str]:
    """Return the names of a method's own settings; raises InputError for an unknown method."""
    from domain_masks.methods.method_registry import described  # noqa: PLC0415

    return [setting.name for setting in fields(described(method).Settings)]


def with_variation(
    base: RunConfig, method: Mapping[str, Any], variation: Variation
) -> tuple[RunConfig, tuple[str, ...]] | None:
    """Return the settings of ``method`` under ``variation``, and the names of those that the variation sets.

    - ``base``: the settings that all runs share
    - ``method``: name and own settings

    None where the variation is for other methods. Settings of other methods, and those of masks where there are none, are
    left out. Raises InputError for invalid values.
    """
    from domain_masks.methods.method_registry import described  # noqa: PLC0415

    if variation.methods and method["name"] not in variation.methods:
        return None
    has = settings_of(method["name"])
    own = {name: value for name, value in variation.own().items() if name in has}
    shared = variation.shared()
    # Settings that were not given stay unset: the method may have its own defaults.
    config = parse_config({**base.model_dump(exclude_unset=True), **shared}) if shared else base
    fitting = without_mask_settings(config, described(method["name"]), {**method, **own})
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
    """Yield a line for every mistake in the values of ``variations``, alone or together with the others.

    With ``base`` None contradictions with the shared settings are not checked.
    """
    names = [str(method["name"]) for method in methods]
    for name in dict.fromkeys(name for variation in variations for name in variation.methods if name not in names):
        yield f"variants: {unknown('method', name, names)}"
    wrong = _wrong_values(names, variations)
    yield from dict.fromkeys(line for lines in wrong.values() for line in lines)
    if base is not None:
        # Contradictions are checked without the values that are wrong by themselves.
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
    """Return (name, value) -> its mistakes, for values that are wrong whatever the others are."""
    from domain_masks.methods.settings import check_method  # noqa: PLC0415

    known = {name: settings_of(name) for name in methods}
    wrong = {}
    for name, value in _single(variations):
        own = name.removeprefix(METHOD)
        if not name.startswith(METHOD):
            mistakes = [*check_values({name: value})[1], *unknown_names({name: value})]
        elif having := [method for method in methods if own in known[method]]:
            mistakes = [line for method in having for line in check_method(method, {own: value})[1]]
        else:
            guess = suggestion(own, [setting for settings in known.values() for setting in settings])
            mistakes = [
                f"{name}: none of the methods has such a setting" + (f": did you mean method.{guess}?" if guess else "")
            ]
        if mistakes:
            wrong[name, repr(value)] = mistakes
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
    from domain_masks.methods.method_registry import described  # noqa: PLC0415

    unused = {name: None for variation in variations for name in variation.settings}
    for method in methods:
        for variation in variations:
            varied = with_variation(base, method, variation)
            if varied is not None:
                config, names = varied
                unused = {name: None for name in unused if name not in names}
                setting = ", ".join(f"{name}={variation.settings[name]}" for name in names)
                for line in contradictions(config, described(method["name"])):
                    yield f"{line} (with {setting})" if setting else line
    yield from (f"{name}: none of the methods takes it: leave it out" for name in unused)
