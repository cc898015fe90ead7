"""``benchmark.yaml``: the complete settings of a benchmark, with which it can be repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from domain_masks.experiments.plan import PlannedRun
from domain_masks.methods.settings import complete_method
from domain_masks.records import write_whole
from domain_masks.records.config import SCHEMA, RunConfig
from domain_masks.records.yaml_files import to_yaml
from domain_masks.settings.benchmark_lists import BenchmarkLists
from domain_masks.settings.sweeps import Variation

NAME = "benchmark.yaml"
_OF_ONE_RUN = ("target", "seed", "method")
_AS_GIVEN = ("sites", "lr_masks", "schedule_masks", "average", "workers")
"""Settings that differ between runs without being varied: they depend on the method, or on the machine's cores."""


def benchmark_yaml(base: RunConfig, lists: BenchmarkLists, plan: Sequence[PlannedRun]) -> str:
    """Return a benchmark as YAML: its lists, every method with all its settings, and what the runs share.

    A setting that differs between runs is written as it was given, or left out where it was not: it follows from the method
    or from the varied settings.
    """
    methods = [complete_method(method["name"], _own(method)) for method in lists.methods]
    targets = dict.fromkeys(",".join(planned.config.target or ()) for planned in plan if not planned.is_inner)
    content: dict[str, Any] = {"methods": methods, "targets": list(targets), "seeds": lists.seeds}
    if lists.sweep:
        content["sweep"] = lists.sweep
    if lists.variants:
        content["variants"] = [_entry(variant) for variant in lists.variants]
    if lists.select is not None:
        content["select"] = lists.select
    if lists.search is not None:
        content["search"] = lists.search
    shared = base.to_dict()
    used = [planned.config.to_dict() for planned in plan]
    for name in [*shared]:
        agree = all(settings[name] == used[0][name] for settings in used)
        if name not in _AS_GIVEN and agree:
            shared[name] = used[0][name]
        elif not agree and shared[name] is not None and name not in base.model_fields_set:
            del shared[name]
    rest = {name: value for name, value in shared.items() if name not in _OF_ONE_RUN}
    return to_yaml({"schema": SCHEMA, **content, **rest})


def keep(out: Path, text: str) -> None:
    """Write ``benchmark.yaml``; that of another benchmark in the folder is kept under a name with a hash of its content."""
    path = out / NAME
    with suppress(OSError):
        before = path.read_bytes()
        if before != text.encode():
            digest = hashlib.blake2b(before, digest_size=4).hexdigest()
            path.replace(path.with_name(f"benchmark-{digest}.yaml"))
    write_whole(path, text)


def _own(method: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in method.items() if name != "name"}


def _entry(variant: Variation) -> dict[str, Any]:
    named = {"name": variant.name} if variant.name else {}
    return named | ({"methods": list(variant.methods)} if variant.methods else {}) | dict(variant.settings)
