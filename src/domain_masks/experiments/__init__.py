"""Many runs: leave-one-domain-out plans, working them off, and their table."""

from domain_masks.experiments.benchmark import Outcome, work_off
from domain_masks.experiments.plan import PlannedRun, leave_one_out
from domain_masks.experiments.table import accuracy_table, summary

__all__ = ["Outcome", "PlannedRun", "accuracy_table", "leave_one_out", "summary", "work_off"]
