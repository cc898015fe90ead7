"""Selection among swept settings: a benchmark's runs under a selection rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.evaluation.selection import SelectedResult, selected
from domain_masks.evaluation.selection_rules import ORACLE
from domain_masks.experiments.benchmark_table import accuracy_table
from domain_masks.experiments.plan import PlannedRun, choices
from domain_masks.records.collection import RunRecord

RULE = "chosen by"
CHOSEN = "chosen"


@dataclass
class Selection:
    """The settings that a rule selected for every method and named variant with several settings.

    - ``table``: see :func:`~domain_masks.experiments.benchmark_table.accuracy_table`, with further columns for the
      rule and the selected settings
    - ``problems``: methods without a selection, and why
    """

    rule: str
    table: pd.DataFrame
    problems: list[str] = field(default_factory=list)

    @property
    def is_oracle(self) -> bool:
        """Whether labels of the held-out domains were used."""
        return self.rule == ORACLE


def select(runs: Sequence[tuple[PlannedRun, RunRecord]], rule: str, with_single: bool = False) -> Selection | None:
    """Choose among the variations of every method by ``rule``; None where no method has several.

    Named variants are separate baselines, each selected among its own settings. Methods with one setting are left out unless
    ``with_single``.
    """
    chosen: list[tuple[str, SelectedResult]] = []
    problems = []
    for (method, variant), members in choices([planned for planned, _ in runs], 1 if with_single else 2).items():
        keys = {planned.key for planned in members}
        records = [record for planned, record in runs if planned.key in keys]
        targets = dict.fromkeys(planned.config.target or () for planned in members if not planned.is_inner)
        try:
            chosen += [(variant, result) for result in selected(records, rule, list(targets))]
        except DomainMasksError as error:
            problems.append(f"{' '.join(filter(None, (method, variant)))}: {error}")
    if not chosen and not problems:
        return None
    shown = ORACLE.upper() if rule == ORACLE else rule
    results = [(record.results, variant, entry) for variant, entry in chosen for record in entry.records]
    named = any(variant for _, variant, _ in results)
    table = accuracy_table(
        [result for result, _, _ in results],
        [
            ({"variant": variant} if named else {}) | {RULE: shown, CHOSEN: entry.variant.label}
            for _, variant, entry in results
        ],
    )
    return Selection(rule, table, problems)
