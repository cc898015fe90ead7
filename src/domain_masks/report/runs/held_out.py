"""The held-out domains of runs: their names, their order and those that tables show."""

from __future__ import annotations

from collections.abc import Sequence

from domain_masks.records.collection import RunRecord
from domain_masks.records.results import held_out_name, main_targets


def target_of(record: RunRecord) -> str:
    """Return the held-out domains of a run, joined by commas."""
    return held_out_name(record.results.targets)


def main_targets_of(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return the held-out domains that tables show, in order; see :func:`.results.main_targets`."""
    main = main_targets({target_of(record): len(record.results.targets) for record in records})
    return tuple(target for target in targets_in_order(records) if target in main)


def targets_in_order(records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Return the held-out domains sorted by the number of domains held out together, then by name."""
    known: list[str] = []
    for record in sorted(records, key=lambda record: -len(record.results.sources)):
        known += [name for name in record.results.sources if name not in known]
    targets = dict.fromkeys(target_of(record) for record in records)
    positions = {name: position for position, name in enumerate(sorted(known))}
    return tuple(sorted(targets, key=lambda t: (_count(t, records), positions.get(t, len(positions)), t)))


def _count(target: str, records: Sequence[RunRecord]) -> int:
    """Return how many domains are held out together; not by splitting, since a name may contain a comma."""
    return next(len(record.results.targets) for record in records if target_of(record) == target)
