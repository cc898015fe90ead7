"""Group runs into variants: one method with the same settings, over held-out domains and seeds."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain_masks.errors import DomainMasksError, InputError
from domain_masks.methods.method_registry import described
from domain_masks.methods.run_defaults import defaults_in_effect
from domain_masks.methods.settings import method_defaults
from domain_masks.records.collection import RunRecord
from domain_masks.records.config import NOT_COMPUTED, RunConfig, parse_config
from domain_masks.records.identity import PLUGINS

METHOD = "method."
"""Prefix of a method's own settings, as in their flags."""
_NO_VARIANT = {"seed", "target", "method", *NOT_COMPUTED}
_DEFAULTS = {name: value for name, value in RunConfig().model_dump(mode="json").items() if name not in _NO_VARIANT}


def short_name(setting: str, among: Collection[str] = ()) -> str:
    """Return a setting's name without the prefix of method settings, unless the plain name is ``among`` the run's settings."""
    name = setting.removeprefix(METHOD)
    return setting if name in among else name


@dataclass(frozen=True, eq=False)
class Variant:
    """The runs of one method with the same settings.

    - ``settings``: those that differ between the method's variants, name -> value; a method's own are ``method.NAME``.
      None means off. A setting that an older run did not record was at its default
    - ``label``: the method and these settings, such as "dmg, overlap_weight 0.01"; those that are None are not shown
    - ``records``: the runs, in the order in which they were given; of the same targets and seed only the first
    - ``superseded``: runs of the same settings with other contents of the plugins, or of the run in ``init_from``, than the one
      that was started last; they are not among the records, as they computed something else
    """

    method: str
    settings: Mapping[str, Any]
    label: str
    records: tuple[RunRecord, ...] = field(repr=False)
    superseded: tuple[RunRecord, ...] = field(default=(), repr=False)

    def holding_out(self, targets: Sequence[str]) -> tuple[RunRecord, ...]:
        """Return the runs that hold out exactly these domains, in any order, by seed."""
        wanted = set(targets)
        chosen = [record for record in self.records if set(record.results.targets) == wanted]
        return tuple(sorted(chosen, key=lambda record: record.results.seed))


def variants(records: Sequence[RunRecord]) -> tuple[Variant, ...]:
    """Group the runs of one dataset into variants, method by method in their order, each method's ordered by settings.

    Seed, held-out domain and settings without effect on the result (:data:`~domain_masks.records.config.NOT_COMPUTED`) make
    no variant. Numbers are ordered by value, others as text. Raises InputError for runs of several datasets, which cannot
    be compared.
    """
    datasets = dict.fromkeys(record.results.dataset for record in records)
    if len(datasets) > 1:
        raise InputError(f"expected the runs of one dataset, got {', '.join(datasets)}: look at each by itself")
    contents = {record.content for record in records if record.content is not None}
    if len(contents) > 1:
        raise InputError(
            f"expected the runs of one dataset, got {len(contents)} called {next(iter(datasets))!r} whose images, names or "
            "labels differ: look at each by itself"
        )
    methods: dict[str, list[RunRecord]] = {}
    for record in records:
        methods.setdefault(record.results.method, []).append(record)
    return tuple(variant for method, runs in methods.items() for variant in _of_one_method(method, runs))


def _of_one_method(method: str, records: Sequence[RunRecord]) -> list[Variant]:
    settings = [_settings(record) for record in records]
    names = list(dict.fromkeys(name for values in settings for name in values))
    differing = [name for name in names if len({_order(values.get(name)) for values in settings}) > 1]
    groups: dict[tuple[Any, ...], list[tuple[RunRecord, dict[str, Any]]]] = {}
    for record, values in zip(records, settings, strict=True):
        shown = {name: values.get(name) for name in differing}
        groups.setdefault(tuple(map(_order, shown.values())), []).append((record, shown))
    found = []
    for _, members in sorted(groups.items(), key=lambda group: group[0]):
        newest, superseded = _of_newest_contents([record for record, _ in members])
        shown = members[0][1]
        found.append(Variant(method, shown, _label(method, shown), _once(newest), tuple(superseded)))
    return found


def _settings(record: RunRecord) -> dict[str, Any]:
    """Return all settings that can make a variant; those that an older run did not record were at their defaults."""
    run = {name: value for name, value in record.config.items() if name not in _NO_VARIANT}
    own = {**method_defaults(record.results.method), **record.method_settings}
    method = {METHOD + name: value for name, value in sorted(own.items())}
    # Numbers of another option of test time are not of the same variant.
    if record.results.protocol.test_time is not None:
        run["test_time"] = record.results.protocol.test_time
    # An empty list means that the setting was not given.
    return {name: value if value != [] else None for name, value in (_DEFAULTS | run | method).items()}


def _order(value: Any) -> tuple[int, Any]:
    """Return a sort key of settings: None, booleans, numbers by value, all others by their text."""
    if value is None:
        return 0, 0.0
    if isinstance(value, bool):
        return 1, float(value)
    if isinstance(value, int | float):
        return 2, float(value)
    return 3, value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)


def _label(method: str, settings: Mapping[str, Any]) -> str:
    shown = (f"{name.removeprefix(METHOD)} {_text(value)}" for name, value in settings.items() if value is not None)
    return ", ".join((method, *shown))


def _text(value: Any) -> str:
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)


def _of_newest_contents(records: Sequence[RunRecord]) -> tuple[list[RunRecord], list[RunRecord]]:
    """Divide runs of the same settings into those with the contents of the run that was started last, and the others.

    A run that did not record its contents counts as having them, unless there are several.
    """
    contents = {id(record): _contents(record) for record in records}
    known = [record for record in records if contents[id(record)] is not None]
    if len({contents[id(record)] for record in known}) < 2:
        return list(records), []
    newest = contents[id(max(known, key=lambda record: record.started))]
    return (
        [record for record in records if contents[id(record)] == newest],
        [record for record in records if contents[id(record)] != newest],
    )


def _contents(record: RunRecord) -> str | None:
    """Return what a run recorded of the contents behind the names of plugins and of ``init_from``; None where it did not."""
    if not record.inputs:
        return None
    return json.dumps([record.inputs.get(PLUGINS), record.inputs.get("init_from")])


def _once(records: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Drop runs that repeat the targets and the seed of an earlier one: a copy would count as another seed."""
    first_of: dict[tuple[frozenset[str], int], RunRecord] = {}
    for record in records:
        first_of.setdefault((frozenset(record.results.targets), record.results.seed), record)
    return tuple(first_of.values())


def own_defaults_of(record: RunRecord) -> dict[str, Any]:
    """Return the settings of a run that have its method's own default instead of the usual one; name -> value.

    Empty for a run of a method or a version that is unknown here.
    """
    try:
        return defaults_in_effect(parse_config(record.config), described(record.results.method))
    except DomainMasksError:
        return {}
