"""What a benchmark varies: settings that are swept over a grid, and variants that are listed one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Any

from domain_masks.errors import InputError
from domain_masks.records.config import NOT_COMPUTED, RunConfig
from domain_masks.records.spellings import spelled, suggestion
from domain_masks.records.yaml_files import parse_yaml

METHOD = "method."
"""Before the name of a method's own setting, as in its flag."""
_BY_A_LIST = {"method": "--methods", "target": "--targets", "seed": "--seeds"}
_OF_AN_ENTRY = ("name", "methods")
MOST_COMBINATIONS = 10_000


@dataclass(frozen=True)
class Variation:
    """Settings that some runs of a benchmark have in place of the shared ones.

    - ``name``: what a listed variant is called; empty for what is swept, and for the runs without changes
    - ``settings``: name -> value as it was given; a method's own are ``method.NAME``
    - ``methods``: the methods it is for; none for all
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


def read_sweep(given: Any, mistakes: list[str]) -> dict[str, list[Any]]:
    """Return setting -> values, from a mapping or from words like ``lr=1e-4,1e-3``; adds a line per mistake."""
    found: dict[str, list[Any]] = {}
    for name, values in _assignments(given, "sweep", "`--sweep lr=1e-4,1e-3`", mistakes):
        words = values.split(",") if isinstance(values, str) else values if isinstance(values, list) else [values]
        listed = [_plain(value) for value in words]
        if not listed or "" in listed:
            mistakes.append(f"sweep {name}: expected values, as in `--sweep lr=1e-4,1e-3`, got {values!r}")
        elif name in found:
            mistakes.append(f"sweep: {name!r} is named twice: expected every setting once, with all its values")
        elif repeated := [value for value in listed if listed.count(value) > 1]:
            mistakes.append(f"sweep {name}: {repeated[0]!r} is named twice: expected every value once")
        elif not (wrong := _not_to_vary(name)):
            found[name] = listed
        else:
            mistakes.append(f"sweep: {wrong}")
    if (count := prod(map(len, found.values()))) > MOST_COMBINATIONS:
        mistakes.append(f"sweep: {count} combinations: expected at most {MOST_COMBINATIONS}")
        return {}
    return found


def read_variants(given: Any, mistakes: list[str]) -> list[Variation]:
    """Return the listed variants, from mappings or from words like ``optimizer=sgd,lr=1e-3``; adds a line per mistake."""
    found = []
    entries = given if isinstance(given, list) else [] if given is None else [given]
    for entry in entries:
        assigned = entry.split(",") if isinstance(entry, str) else entry
        before = len(mistakes)
        settings = dict(_assignments(assigned, "variants", "`--variants optimizer=sgd,lr=1e-3`", mistakes))
        name, methods = settings.pop("name", ""), settings.pop("methods", [])
        methods = [methods] if isinstance(methods, str) else methods
        if not isinstance(methods, list) or not all(isinstance(method, str) for method in methods):
            mistakes.append(f"variants: expected the names of methods as methods, got {methods!r}")
        mistakes += [f"variants: {wrong}" for setting in settings if (wrong := _not_to_vary(setting))]
        if len(mistakes) == before:
            found.append(Variation(str(name), settings, tuple(methods)))
    names = [variant.name for variant in found]
    mistakes += [
        f"variants: {name!r} is named twice: expected every name once"
        for name in dict.fromkeys(names)
        if name and names.count(name) > 1
    ]
    return found


def _assignments(given: Any, kind: str, example: str, mistakes: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield name and value of each entry of a mapping, or of a list of ``NAME=VALUE``."""
    if isinstance(given, Mapping):
        yield from ((_own_name(str(name)), value) for name, value in given.items())
        return
    for word in [] if given is None else given if isinstance(given, list) else [given]:
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
    """Return a word as the number or truth value that it is, as YAML would take it; any other as it is."""
    if not isinstance(value, str):
        return value
    with suppress(InputError):
        read = parse_yaml(value, "")
        return read if isinstance(read, bool | int | float) else value.strip()
    return value.strip()


def _not_to_vary(name: str) -> str:
    """Say why a setting cannot be varied; nothing where it can. Whether a method has its setting is looked at apart."""
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
