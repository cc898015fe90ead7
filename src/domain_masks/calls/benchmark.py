"""``dm.benchmark``, and what ``dmg benchmark`` does before it prints."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from domain_masks.calls.described import plain, with_settings_of
from domain_masks.calls.typed_keywords import BenchmarkKeywords
from domain_masks.errors import combine_errors
from domain_masks.keywords import named_keywords
from domain_masks.records.config import RunConfig, read_settings
from domain_masks.records.counts import counted
from domain_masks.records.notebook_html import html_block, html_lines, html_table
from domain_masks.records.run_folder import RunFolder, folder_name
from domain_masks.records.spellings import canonical
from domain_masks.settings.benchmark import BENCHMARK_LISTS, BenchmarkOptions, BenchmarkRuns
from domain_masks.settings.benchmark_lists import BenchmarkLists, check_benchmark
from domain_masks.settings.command import validated
from domain_masks.settings.main_module import refuse_imported_main
from domain_masks.settings.of_a_run import over

if TYPE_CHECKING:
    import pandas as pd

    from domain_masks.data import ImageDataset
    from domain_masks.experiments import BenchmarkOutcome, PlannedRun
    from domain_masks.experiments.launchers import Launcher
    from domain_masks.experiments.selection import Selection
    from domain_masks.progress import Reporter

OF_ONE_RUN = ("target", "seed")
"""Settings of a run that a benchmark has lists for."""


@dataclass(frozen=True, repr=False)
class Benchmark:
    """The runs of a benchmark and their accuracies.

    - ``out``: the folder of all runs; it is a path to it wherever one is expected, as in ``dm.report(benchmark)``
    - ``plan``: a row per run, with its name, its state before the call and its folder
    - ``table``: a row per finished run and measure; see :func:`domain_masks.experiments.accuracy_table`
    - ``summary``: mean and standard deviation over seeds in percent, a column per held-out domain
    - ``selected``: the rows of ``table`` with the settings that ``select`` chose, where settings were varied
    - ``finished``: how many runs are finished
    - ``failed``: name of a run, or of a method without a selection -> its error
    """

    out: Path
    plan: pd.DataFrame
    table: pd.DataFrame
    summary: pd.DataFrame
    selected: pd.DataFrame
    finished: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        return f"Benchmark({counted(len(self.plan), 'run')}, {self.finished} finished{failed}; {self.out})"

    def __fspath__(self) -> str:
        return str(self.out)

    def _repr_html_(self) -> str:
        from domain_masks.experiments.benchmark_table import overall_in_words  # noqa: PLC0415

        frame = self.summary if len(self.summary) else self.plan
        about = ["planned runs"]
        if len(self.summary):
            about = ["accuracy in percent; columns: held-out domain", *filter(None, [overall_in_words(self.table)])]
        rows = frame.itertuples(index=False, name=None)
        failed = [f"failed: {name}: {message}" for name, message in self.failed.items()]
        return html_block(
            repr(self), html_lines(about), html_table(list(map(str, frame.columns)), rows, 100), html_lines(failed)
        )


@with_settings_of(BenchmarkKeywords, BenchmarkRuns, RunConfig, BenchmarkOptions)
@named_keywords
def benchmark(
    *, config: str | os.PathLike[str] | None = None, quiet: bool = False, **settings: Unpack[BenchmarkKeywords]
) -> Benchmark:
    """Train and measure every method with every domain held out in turn, as ``dmg benchmark`` does.

    - ``config``: settings in YAML, over which the keywords take precedence
    - ``quiet``: whether nothing is printed

    Runs that are done are skipped; one that fails is listed in ``failed`` and does not stop the others. With ``dry_run``
    nothing is computed, and only ``plan`` has rows. With ``jobs`` above 1 each process imports the program's main file, so that
    a script calls this function below ``if __name__ == "__main__":``.

    Raises InputError that lists every mistake in the settings, DiskFullError where the disk is full.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    refuse_imported_main("dm.benchmark")
    reporter = ConsoleReporter(quiet)
    known = (*RunConfig.model_fields, *BENCHMARK_LISTS, *BenchmarkOptions.model_fields)
    given, mistakes = canonical(plain(settings), known)
    options, wrong = validated(
        BenchmarkOptions, {name: given.pop(name) for name in BenchmarkOptions.model_fields if name in given}
    )
    misplaced = [
        f"{name}: a benchmark has several: give {name}s, as in {name}s={example}"
        for name, example in (("target", '["sketch"]'), ("seed", "[0, 1]"))
        if given.pop(name, None) is not None
    ]
    if options is not None and options.print_config:
        misplaced.append("print_config: only the command `dmg benchmark` prints it: use dry_run, or leave it out")
    if config is not None:
        values = read_settings(Path(config), known)
        given = over({name: value for name, value in values.items() if name not in OF_ONE_RUN}, given)
    lists = {name: given.pop(name) for name in BENCHMARK_LISTS if name in given}
    checked, runs = check_benchmark(given, lists, None, [*mistakes, *wrong, *misplaced])
    if options is None:
        raise combine_errors(wrong)
    prepared = prepare(checked, runs, options, reporter)
    if options.dry_run:
        return _result(prepared, None)
    return _result(prepared, execute(prepared, reporter))


@dataclass(frozen=True)
class PreparedBenchmark:
    """A benchmark before it is executed: its checked settings, its dataset, the runs, and ``yaml``, its settings."""

    settings: RunConfig
    lists: BenchmarkLists
    options: BenchmarkOptions
    dataset: ImageDataset
    out: Path
    plan: Sequence[PlannedRun]
    yaml: str


def prepare(
    settings: RunConfig, lists: BenchmarkLists, options: BenchmarkOptions, reporter: Reporter
) -> PreparedBenchmark:
    """Open the dataset of a benchmark and plan its runs; nothing is written."""
    from domain_masks.data import load_dataset  # noqa: PLC0415
    from domain_masks.data.splits import check_held_out, domains_named  # noqa: PLC0415
    from domain_masks.data.validation_halves import check_in_domain_test  # noqa: PLC0415
    from domain_masks.data.verification import identified  # noqa: PLC0415
    from domain_masks.experiments.plan import plan  # noqa: PLC0415
    from domain_masks.experiments.settings_file import benchmark_yaml  # noqa: PLC0415
    from domain_masks.training.defaults import note_on_recipe  # noqa: PLC0415
    from domain_masks.training.opening import require_weights  # noqa: PLC0415

    dataset = load_dataset(settings.dataset, settings.root)
    for note in dataset.notes:
        reporter.say(f"note: {note}")
    out = options.out or Path("runs") / f"benchmark-{folder_name(dataset.name)}"
    RunFolder(out).refuse_file()
    require_weights(settings)
    for target in lists.targets:
        check_held_out(dataset, domains_named((target,), dataset.domains), fewest_sources=1)
    check_in_domain_test(dataset, settings.in_domain_test)
    # Runs are identified by the content of their images.
    dataset = identified(
        dataset, settings, reporter, decode_images=False if options.dry_run or options.print_config else None
    )
    planned = plan(settings, dataset, lists, out)
    for note in dict.fromkeys(filter(None, (note_on_recipe(run.config) for run in planned))):
        reporter.say(note)
    return PreparedBenchmark(settings, lists, options, dataset, out, planned, benchmark_yaml(settings, lists, planned))


def execute(prepared: PreparedBenchmark, reporter: Reporter) -> BenchmarkOutcome:
    """Execute the runs that are not done yet, after ``benchmark.yaml`` is written."""
    from domain_masks.experiments import execute_plan  # noqa: PLC0415
    from domain_masks.experiments.search import search  # noqa: PLC0415
    from domain_masks.experiments.settings_file import keep  # noqa: PLC0415

    keep(prepared.out, prepared.yaml)
    dataset = prepared.dataset
    launcher = _launcher(prepared.options, prepared.settings.device != "cpu")
    if prepared.lists.search is None:
        return execute_plan(prepared.plan, dataset, reporter, launcher)
    return search(
        prepared.settings,
        dataset,
        prepared.lists,
        prepared.out,
        lambda runs: execute_plan(runs, dataset, reporter, launcher),
    )


def table_of(outcome: BenchmarkOutcome) -> pd.DataFrame:
    """Return a row per finished run and measure, without the runs that only a selection rule needs."""
    from domain_masks.experiments import accuracy_table  # noqa: PLC0415
    from domain_masks.experiments.plan import varied_texts  # noqa: PLC0415

    shown = [(planned, record) for planned, record in outcome.runs if not planned.is_inner]
    return accuracy_table([record.results for _, record in shown], varied_texts([planned for planned, _ in shown]))


def selection_of(outcome: BenchmarkOutcome, lists: BenchmarkLists) -> Selection | None:
    """Return the settings that the benchmark's rule selects; None where no method has several."""
    from domain_masks.evaluation.selection_rules import SELECTION_RULES  # noqa: PLC0415
    from domain_masks.experiments.selection import select  # noqa: PLC0415

    return select(outcome.runs, lists.select or SELECTION_RULES[0], with_single=lists.search is not None)


def _result(prepared: PreparedBenchmark, outcome: BenchmarkOutcome | None) -> Benchmark:
    import pandas as pd  # noqa: PLC0415

    from domain_masks.experiments import BenchmarkOutcome, summary  # noqa: PLC0415
    from domain_masks.records import write_whole  # noqa: PLC0415
    from domain_masks.report.tables.table import frame_text  # noqa: PLC0415

    rows = [
        {"run": run.name, "state": run.state, "folder": str(run.folder.path), "for the selection rule": run.is_inner}
        for run in prepared.plan
    ]
    table = table_of(BenchmarkOutcome() if outcome is None else outcome)
    chosen = None if outcome is None or table.empty else selection_of(outcome, prepared.lists)
    selected = pd.DataFrame() if chosen is None else chosen.table
    for name, frame in {"accuracies": table, "selected": selected}.items():
        if len(frame):
            write_whole(prepared.out / f"{name}.csv", frame_text(frame))
    problems = {} if chosen is None else dict(problem.partition(": ")[::2] for problem in chosen.problems)
    finished = 0 if outcome is None else len(outcome.runs)
    failed = {**({} if outcome is None else outcome.failed), **problems}
    return Benchmark(prepared.out, pd.DataFrame(rows), table, summary(table), selected, finished, failed)


def _launcher(options: BenchmarkOptions, uses_gpus: bool) -> Launcher | None:
    jobs = options.jobs
    if options.launcher == "ray":
        from domain_masks.experiments.launchers.ray import RayCluster  # noqa: PLC0415

        return RayCluster(options.ray_address or "auto", jobs, uses_gpus)
    if jobs is not None and jobs > 1:
        from domain_masks.experiments.launchers.local import LocalProcesses  # noqa: PLC0415

        return LocalProcesses(jobs, uses_gpus)
    return None
