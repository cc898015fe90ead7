"""Execute a plan: skip what is done, resume what was started, record what fails and continue."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace

from domain_masks.data import ImageDataset, images_stay_in_memory, readable
from domain_masks.errors import DiskFullError, DomainMasksError
from domain_masks.experiments.launchers import InProcess, Job, Launcher
from domain_masks.experiments.plan import PlannedRun
from domain_masks.experiments.run_index import is_of_unknown_content
from domain_masks.experiments.run_locks import is_locked
from domain_masks.keywords import named_keywords
from domain_masks.methods.plugins import is_from_outside
from domain_masks.networks.names import OWN_NAMES, own_names
from domain_masks.progress import Reporter
from domain_masks.records import Results, RunFolder
from domain_masks.records.collection import RunRecord, read_run
from domain_masks.records.config import RunConfig
from domain_masks.training import computed_later

POLL_SECONDS = 2.0
"""Seconds between two checks of the runs that another process executes."""


@dataclass
class BenchmarkOutcome:
    """The outcome of a plan: the finished runs in its order, and the errors of the others by name."""

    runs: list[tuple[PlannedRun, RunRecord]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def results(self) -> list[Results]:
        """The results of the finished runs."""
        return [record.results for _, record in self.runs]


@named_keywords
def execute_plan(
    plan: Sequence[PlannedRun],
    dataset: ImageDataset,
    reporter: Reporter,
    launcher: Launcher | None = None,
) -> BenchmarkOutcome:
    """Execute every run of a plan that is not done yet.

    - ``launcher``: where the runs are executed; by default one after the other in this process

    A run that fails, for whatever reason, is recorded in its folder and does not stop the others; the next call tries it
    again. A run that another benchmark is executing is waited for, and executed here if the other one ends without it.

    Raises InputError where images cannot be read, DiskFullError where the disk is full.
    """
    if not plan:
        return BenchmarkOutcome()
    waiting = [planned for planned in plan if planned.state != "done"]
    if waiting:
        # Before all runs, which would otherwise all fail for the same images; each run records the images that it leaves out.
        readable(dataset, waiting[0].config, reporter)
    _report_done(plan, reporter)
    by_key = {planned.key: planned for planned in plan}
    failed: dict[str, str] = {}
    jobs = _jobs(plan)
    with images_stay_in_memory() if any(job.config.cache == "memory" for job in jobs) else nullcontext():
        while jobs:
            busy = []
            for job, outcome in (launcher or InProcess()).launch(jobs, dataset, reporter):
                planned = by_key[job.key]
                if outcome.folder is not None:
                    # Its folder is known for certain since it was locked.
                    by_key[job.key] = replace(planned, folder=RunFolder(outcome.folder), out=job.out)
                if outcome.state == "full":
                    raise DiskFullError(
                        f"{planned.name}: {outcome.error}. Free some space, and resume with the same command"
                    )
                if outcome.state == "busy":
                    busy.append(job)
                elif outcome.state == "failed":
                    failed[by_key[job.key].name] = outcome.error
                    reporter.say(f"failed: {by_key[job.key].name}: {outcome.error}")
            jobs = _wait_for_others(busy, reporter)
    return _collect_results([by_key[planned.key] for planned in plan], failed)


def _report_done(plan: Sequence[PlannedRun], reporter: Reporter) -> None:
    for number, planned in enumerate(plan, start=1):
        if planned.state == "done":
            reporter.say(f"[{number}/{len(plan)}] {planned.name}: done already")
    unknown = [run.name for run in plan if run.state in ("done", "started") and is_of_unknown_content(run.folder)]
    if unknown:
        reporter.say(
            f"note: {len(unknown)} of these runs, such as {unknown[0]}, were made by a version that did not record what "
            "the images hold: whether they were the same images is unknown. Remove their folders to run them again"
        )
    own = [run.name for run in plan if run.state in ("done", "started") and _is_of_unrecorded_code(run.config)]
    if own:
        reporter.say(
            f"note: {len(own)} of these runs, such as {own[0]}, use a method or network that Python code registered, which is "
            "not recorded: if it has changed, remove their folders to run them again. The code of a plugin is recorded"
        )
    without: dict[str, list[RunFolder]] = {}
    for run in plan:
        if run.state == "done" and (flags := _computed_later(run)):
            without.setdefault(flags, []).append(run.folder)
    for flags, folders in without.items():
        reporter.say(
            f"note: {len(folders)} of these runs were done without {flags}, which is not applied to them: "
            f"`dmg evaluate {folders[0].path} {flags}` does so for the first"
        )


def _computed_later(planned: PlannedRun) -> str:
    with suppress(DomainMasksError):  # Reported where the results are collected.
        return " ".join(computed_later(planned.folder, planned.config))
    return ""


def _is_of_unrecorded_code(config: RunConfig) -> bool:
    own_network = config.backbone in own_names() and config.backbone not in OWN_NAMES
    return not config.plugin and (own_network or is_from_outside(config.method_name))


def _jobs(plan: Sequence[PlannedRun]) -> list[Job]:
    return [
        Job(
            planned.key,
            f"[{number}/{len(plan)}] {planned.name}",
            planned.config,
            planned.folder.path.absolute(),
            planned.out.absolute(),
        )
        for number, planned in enumerate(plan, start=1)
        if planned.state != "done"
    ]


def _wait_for_others(busy: Sequence[Job], reporter: Reporter) -> list[Job]:
    """Wait until one of the runs of other benchmarks is released, finished or not; return all that are waited for."""
    if busy:
        names = ", ".join(job.title for job in busy[:3]) + (f" and {len(busy) - 3} more" if len(busy) > 3 else "")
        reporter.say(f"waiting for another benchmark, which is running {names}")
    while busy and all(is_locked(job.out, job.key) for job in busy):
        time.sleep(POLL_SECONDS)
    return list(busy)


def _collect_results(plan: Sequence[PlannedRun], failed: dict[str, str]) -> BenchmarkOutcome:
    outcome = BenchmarkOutcome(failed=dict(failed))
    for planned in plan:
        if planned.name in failed:
            continue
        try:
            outcome.runs.append((planned, read_run(planned.folder)))
        except DomainMasksError as error:
            outcome.failed[planned.name] = str(error)
    return outcome
