"""Many runs: leave-one-domain-out plans, their execution in one or many processes, and their table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain_masks.lazy import attach

if TYPE_CHECKING:
    from domain_masks.experiments.benchmark import BenchmarkOutcome, execute_plan
    from domain_masks.experiments.benchmark_table import accuracy_table, summary
    from domain_masks.experiments.plan import PlannedRun, leave_one_out, plan

__all__ = ["BenchmarkOutcome", "PlannedRun", "accuracy_table", "execute_plan", "leave_one_out", "plan", "summary"]

attach(__name__)
