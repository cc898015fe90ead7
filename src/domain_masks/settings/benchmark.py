"""The settings of ``dmg benchmark`` besides those of its runs; ``benchmark_lists`` checks all of them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from domain_masks.evaluation.selection_rules import SELECTION_RULES, SOURCE_VALIDATION
from domain_masks.records.setting_types import Count, Folder, Metavar, OneOf, PlaceText, setting
from domain_masks.settings.command import CommandSettings

MOST_DRAWS = 1_000


def _number_of_draws(value: Any) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not text.isdecimal() or not 2 <= int(text) <= MOST_DRAWS:
        raise ValueError(
            "expected the number of settings to try of each method, including the defaults: a whole number from 2 to "
            f"{MOST_DRAWS}"
        )
    return int(text)


class BenchmarkRuns(CommandSettings):
    """What a benchmark runs over, as it is given."""

    methods: Any = setting("methods", None, group="runs", metavar="NAME", otherwise="dmg aggregate", several=True)
    targets: Any = setting(
        "held-out domains", None, group="runs", metavar="DOMAIN", otherwise="each in turn", several=True
    )
    seeds: Any = setting("seeds", None, group="runs", metavar="N", otherwise="0", several=True)
    sweep: Any = setting(
        "values of a setting, each of which is run; of several settings every combination",
        None,
        group="runs",
        metavar="NAME=V,V",
        several=True,
        repeats=True,
    )
    variants: Any = setting(
        "settings that are run one by one instead of in every combination; each with the values of --sweep",
        None,
        group="runs",
        metavar="NAME=V,NAME=V",
        several=True,
        repeats=True,
    )
    search: Annotated[int, BeforeValidator(_number_of_draws), Metavar("N")] | None = setting(
        "random search over N settings of every method, its defaults and N - 1 draws from its ranges (see `dmg methods NAME`), "
        "with the first seed; what source validation selects is run with all seeds",
        None,
        group="runs",
    )
    select: Annotated[str, OneOf(lambda: SELECTION_RULES)] | None = setting(
        f"what selects among swept settings: {', '.join(SELECTION_RULES)}",
        None,
        group="runs",
        metavar="RULE",
        otherwise=SOURCE_VALIDATION,
    )

    def contradictions(self) -> Iterator[str]:
        """Yield a line for every setting that contradicts a search."""
        if self.search is None:
            return
        for name in ("sweep", "variants"):
            if getattr(self, name):
                yield f"{name}: settings are either listed or searched for: leave it out, or search"
        if self.select not in (None, SOURCE_VALIDATION):
            yield f"select: a search is decided by {SOURCE_VALIDATION} alone, got {self.select!r}: leave it out"


BENCHMARK_LISTS = tuple(BenchmarkRuns.model_fields)
"""Settings that only a benchmark has."""


class BenchmarkOptions(CommandSettings):
    """Where and how the runs of ``dmg benchmark`` are executed."""

    out: Folder | None = setting("folder of all runs", None, group="output", otherwise="runs/benchmark-DATASET")
    jobs: Count | None = setting(
        "runs in parallel", None, group="hardware", otherwise="1; with ray one per GPU or node"
    )
    launcher: Literal["local", "ray"] | None = setting("this machine, or a Ray cluster", None, group="hardware")
    ray_address: Annotated[PlaceText, Metavar("ADDRESS")] | None = setting(
        "address of the cluster: auto, HOST:PORT, or local to start one here", None, group="hardware"
    )
    dry_run: bool = setting(
        "print the runs and their states, the disk space and the time that the pending ones need, and exit",
        False,
        group="output",
    )
    print_config: bool = setting("print all settings as YAML and exit", False, group="output")

    def contradictions(self) -> Iterator[str]:
        """Yield a line for an address without a cluster."""
        if self.ray_address is not None and self.launcher != "ray":
            yield "ray_address: belongs to --launcher ray: add that, or leave it out"
