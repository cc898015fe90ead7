"""Work a plan off: skip what is done, go on with what was begun, record what fails and carry on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from domain_masks.data import ImageDataset, readable
from domain_masks.errors import DomainMasksError
from domain_masks.experiments.plan import PlannedRun
from domain_masks.progress import Reporter
from domain_masks.records import Results
from domain_masks.training import run


@dataclass
class Outcome:
    """What became of a plan: the results of the finished runs, and the errors of the others by name."""

    results: list[Results] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def work_off(plan: Sequence[PlannedRun], dataset: ImageDataset, reporter: Reporter) -> Outcome:
    """Carry out every run of a plan that is not done yet.

    A run that fails for a reason that its message names is recorded and does not stop the others.

    Raises RunFolderError, before anything is computed, where a folder holds a run with other settings; InputError where
    pictures cannot be read.
    """
    for planned in plan:
        planned.check()
    if waiting := [planned for planned in plan if planned.state != "done"]:
        # Before all runs, which would otherwise all fail for the same pictures; each notes by itself what it leaves out.
        readable(dataset, waiting[0].config, reporter)
    outcome = Outcome()
    for number, planned in enumerate(plan, start=1):
        state = planned.state
        reporter.say(f"[{number}/{len(plan)}] {planned.name}" + (": done already" if state == "done" else ""))
        try:
            if state == "done":
                outcome.results.append(Results.read(planned.folder.results))
                continue
            finished = run(
                planned.config, planned.folder.path, resume=state == "begun", dataset=dataset, reporter=reporter
            )
            outcome.results.append(finished.results)
        except DomainMasksError as error:
            outcome.failed[planned.name] = str(error)
            reporter.say(f"failed: {error}")
    return outcome
