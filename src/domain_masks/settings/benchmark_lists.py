"""The lists of a benchmark (methods, targets, seeds, sweeps, variants), checked together with the settings of its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain_masks.errors import InputError, combine_errors
from domain_masks.records.config import AUTO, RunConfig, check_values
from domain_masks.records.method_choice import MethodChoice
from domain_masks.records.spellings import canonical, suggestion, underscored
from domain_masks.settings.benchmark import BENCHMARK_LISTS, BenchmarkRuns
from domain_masks.settings.command import validated
from domain_masks.settings.sweeps import Variation, read_sweep, read_variants, settings_of, variations, varied_mistakes
from domain_masks.settings.validation import import_plugins, unknown_names

DEFAULT_METHODS = ("dmg", "aggregate")


@dataclass(frozen=True)
class BenchmarkLists:
    """What a benchmark runs over.

    - ``methods``: the name and own settings of each
    - ``targets``: held-out domains, several of one run joined by commas; none for every domain in turn
    - ``sweep``: setting -> values, every combination of which is run
    - ``variants``: settings that are run one by one, each with every combination of the sweep
    - ``select``: the rule that selects among swept settings; None for the default
    - ``search``: how many settings of each method a random search tries; None for no search
    """

    methods: list[dict[str, Any]]
    targets: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    variants: list[Variation] = field(default_factory=list)
    select: str | None = None
    search: int | None = None

    @property
    def variations(self) -> list[Variation]:
        """The variations of each method, target and seed; one without changes where nothing is varied."""
        return variations(self.sweep, self.variants)


def check_benchmark(
    values: Mapping[str, Any],
    lists: Mapping[str, Any],
    flags: Mapping[str, Any] | None = None,
    others: Iterable[str] = (),
) -> tuple[RunConfig, BenchmarkLists]:
    """Check the shared settings and the lists of a benchmark.

    - ``values``: the shared settings; those of ``method`` go to the methods that have them
    - ``lists``: ``methods`` (names, or mappings of a name and its own settings, which win over the shared ones),
      ``targets``, ``seeds``, ``sweep`` and ``variants`` (see :mod:`domain_masks.settings.sweeps`), ``select``, ``search``;
      None for the default
    - ``flags``: settings of methods that win over both
    - ``others``: earlier mistakes, which are reported together with these

    Raises InputError with a line per mistake.
    """
    values, spellings = canonical(values, RunConfig.model_fields)
    import_plugins(values)
    base, wrong = check_values(values, BENCHMARK_LISTS)
    mistakes = [*others, *spellings, *wrong, *unknown_names(values), *_targets_and_seeds(lists)[1]]
    checked, more = check_lists(base, values.get("method"), lists, flags)
    mistakes += more
    if mistakes or base is None:
        raise combine_errors(list(dict.fromkeys(mistakes)))
    return base, checked


def check_lists(
    base: RunConfig | None, shared: Any, lists: Mapping[str, Any], flags: Mapping[str, Any] | None = None
) -> tuple[BenchmarkLists, list[str]]:
    """Return the lists with every method's own settings, and a line per mistake; see :func:`check_benchmark`.

    With ``base`` None contradictions with the methods are not checked; ``shared`` is its ``method`` as it was given.
    """
    (targets, seeds), mistakes = _targets_and_seeds(lists)
    methods = _methods(_listed(lists, "methods") or list(DEFAULT_METHODS), shared, flags or {}, mistakes)
    names = [method["name"] for method in methods]
    mistakes += _repeated("methods", names)
    sweep, variants = read_sweep(lists.get("sweep"), mistakes), read_variants(lists.get("variants"), mistakes)
    runs, wrong = validated(BenchmarkRuns, lists)
    mistakes += wrong
    rule, search = (None, None) if runs is None else (runs.select, runs.search)
    checked = BenchmarkLists(methods, targets, seeds, sweep, variants, rule, search)
    mistakes += varied_mistakes(base, methods, checked.variations)
    if base is not None:
        mistakes += _not_for_a_benchmark(base, names, checked.variations)
    return checked, mistakes


def _targets_and_seeds(lists: Mapping[str, Any]) -> tuple[tuple[list[str], list[int]], list[str]]:
    mistakes: list[str] = []
    targets = [
        ",".join(map(str, entry)) if isinstance(entry, list) else str(entry) for entry in _listed(lists, "targets")
    ]
    seeds = [_seed(entry, mistakes) for entry in _listed(lists, "seeds") or [0]]
    mistakes += _repeated("targets", targets) + _repeated("seeds", [str(seed) for seed in seeds if seed is not None])
    return (targets, [seed for seed in seeds if seed is not None]), mistakes


def _repeated(kind: str, names: Sequence[str]) -> list[str]:
    repeated = dict.fromkeys(name for name in names if names.count(name) > 1)
    return [f"{kind}: {name!r} is named twice: expected every one once" for name in repeated]


def _not_for_a_benchmark(base: RunConfig, methods: Sequence[str], varied: Sequence[Variation]) -> list[str]:
    from domain_masks.methods.method_registry import described  # noqa: PLC0415

    kinds, mistakes = [described(name) for name in methods], []
    if base.devices != 1:
        mistakes.append(f"devices: expected 1 in a benchmark, whose runs use one device each, got {base.devices}")
    if AUTO in (base.lr, *(variation.settings.get("lr") for variation in varied)):
        mistakes.append(
            "lr: 'auto' would give every run of a benchmark a rate of its own: name the rate that `dmg train --lr auto` found, "
            "sweep lr, or use --search"
        )
    if kinds and not any(kind.has_masks() for kind in kinds):
        of_masks = {"lr_masks": base.lr_masks is not None, "schedule_masks": base.schedule_masks != "same"}
        mistakes += [
            f"{name}: none of the methods has masks: leave it out" for name, is_set in of_masks.items() if is_set
        ]
    return mistakes


def _methods(entries: list[Any], shared: Any, flags: Mapping[str, Any], mistakes: list[str]) -> list[dict[str, Any]]:
    """Return name and own settings of every method that exists; adds a line per mistake."""
    from domain_masks.methods.settings import check_method  # noqa: PLC0415

    if isinstance(shared, MethodChoice):
        shared = {"name": shared.name, **shared.given}
    common = dict(shared) if isinstance(shared, Mapping) else {}
    common_of = {"name": shared} if isinstance(shared, str) else {"name": common.pop("name", "dmg")}
    methods = []
    known: dict[str, None] = {}
    for entry in entries:
        named = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(named, Mapping) or not isinstance(named.get("name"), str):
            mistakes.append(f"methods: expected names, or `{{name: dmg, ...}}`, got {entry!r}")
            continue
        try:
            names = settings_of(named["name"])
        except InputError as error:
            mistakes.append(f"methods: {error}")
            continue
        named, wrong = underscored(named)
        mistakes += [f"methods: {line}" for line in wrong]
        known |= dict.fromkeys(names)
        own = {name: value for name, value in common.items() if name in names}
        own |= {name: value for name, value in named.items() if name != "name"}
        own |= {name: value for name, value in flags.items() if name in names}
        mistakes += check_method(named["name"], own)[1]
        methods.append({"name": named["name"], **own})
    # A file may keep the settings of its own method while other methods are run.
    try:
        known_shared = {*known, *settings_of(str(common_of["name"]))}
    except InputError as error:
        mistakes.append(f"method: {error}")
        known_shared = {*known, *common}
    unused = [name for name in common if name not in known_shared] + [name for name in flags if name not in known]
    for name in dict.fromkeys(unused):
        guess = suggestion(name, known)
        hint = f": did you mean method.{guess}?" if guess else ""
        mistakes.append(f"method.{name}: none of the methods has such a setting{hint}")
    return methods


def _listed(lists: Mapping[str, Any], name: str) -> list[Any]:
    value = lists.get(name)
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _seed(entry: Any, mistakes: list[str]) -> int | None:
    text = str(entry).strip()
    if isinstance(entry, bool) or not text.isdecimal() or int(text) >= 2**63:
        mistakes.append(f"seeds: expected whole numbers from 0, as in `--seeds 0 1 2`, got {entry!r}")
        return None
    return int(text)
