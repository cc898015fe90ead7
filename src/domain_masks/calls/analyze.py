"""``dm.analyze``, and what ``dmg analyze`` does before it prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from domain_masks.calls.described import read_keywords, with_settings_of
from domain_masks.calls.typed_keywords import AnalyzeKeywords
from domain_masks.errors import DomainMasksError, RunFolderError
from domain_masks.keywords import named_keywords
from domain_masks.records import Analysis, Results, RunFolder
from domain_masks.records.notebook_html import html_block, html_image, html_lines, html_table, percent
from domain_masks.settings.finished_runs import AnalyzeSettings

if TYPE_CHECKING:
    from domain_masks.progress import Reporter
    from domain_masks.records.collection import Collection, RunRecord


MOST_FIGURES = 8
"""Figures of a run that a notebook shows; all are in its folder."""


@dataclass(frozen=True, repr=False)
class AnalyzedRun:
    """A run with its analysis: ``analysis.json``, and the figures and tables in ``figures/``."""

    folder: RunFolder
    results: Results
    analysis: Analysis

    def __repr__(self) -> str:
        drawn = sum(name.endswith(".png") for name in self.analysis.figures)
        return f"AnalyzedRun({self.folder.path}: {drawn} figures, {len(self.analysis.figures) - drawn} tables)"

    def _repr_html_(self) -> str:
        table = self.analysis.mask_by_domain
        domains = list(self.analysis.mask_by_domain_splits)
        splits = self.analysis.mask_by_domain_splits
        accuracies = html_table(
            ["accuracy, %", *(f"{domain} ({splits[domain].replace('_', ' ')})" for domain in domains)],
            ([name, *(percent(row.get(domain)) for domain in domains)] for name, row in table.items()),
        )
        drawn = [self.folder.figures / name for name in self.analysis.figures if name.endswith(".png")]
        images = [html_image(path.read_bytes(), "png", path.stem, "30em") for path in drawn[1:] if path.is_file()]
        notes = html_lines(f"note: {note}" for note in self.analysis.notes)
        return html_block(self.results.title, accuracies, *images[:MOST_FIGURES], notes)


class Analyses(list[AnalyzedRun]):
    """The analyzed runs, and a line for every run that was left out.

    - ``several``: whether there were several runs, of which each may fail
    """

    def __init__(self, several: bool, problems: Sequence[str] = ()) -> None:
        super().__init__()
        self.several = several
        self.problems = list(problems)

    def _repr_html_(self) -> str:
        return "".join(run._repr_html_() for run in self) + html_lines(self.problems)


@with_settings_of(AnalyzeKeywords, AnalyzeSettings)
@named_keywords
def analyze(
    runs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    quiet: bool = False,
    **settings: Unpack[AnalyzeKeywords],
) -> Analyses:
    """Analyze what the masks of finished runs learned, and draw it into their folders, as ``dmg analyze`` does.

    - ``runs``: runs, run folders, or folders with runs anywhere below
    - ``quiet``: whether nothing is printed

    Returns the analyzed runs; ``problems`` lists those that were left out. A single run that cannot be analyzed raises its
    error; RunFolderError is also raised where no run can be analyzed, InputError for settings that cannot be used.
    """
    from domain_masks.progress import ConsoleReporter  # noqa: PLC0415

    return analyzed(read_keywords(AnalyzeSettings, {"runs": runs, **settings}), ConsoleReporter(quiet))


def analyzed(
    settings: AnalyzeSettings, reporter: Reporter, show: Callable[[AnalyzedRun, bool], None] | None = None
) -> Analyses:
    """Analyze every run; one that cannot be analyzed is reported, and the others continue.

    - ``show``: called with every run when it is analyzed, and with whether there are several
    """
    from domain_masks.records.collection import collect  # noqa: PLC0415

    collection = collect(settings.runs)
    if not collection.runs:
        raise RunFolderError(_reasons(settings.runs, collection))
    left_out = [f"{entry.path} is left out: {entry.reason}" for entry in (*collection.skipped, *collection.failed)]
    done = Analyses(len(collection.runs) > 1, left_out)
    for line in left_out:
        reporter.say(line)
    if "dataset" in settings.changes or "root" in settings.changes:
        _require_dataset(collection.runs, settings.changes)
    for path in collection.unfinished:
        reporter.say(f"{path} is left out: it is not finished")
    for record in collection.runs:
        try:
            run = _analyzed_run(record, settings, reporter)
        except DomainMasksError as error:
            if not done.several:
                raise
            done.problems.append(f"{record.folder.path} is left out: {error}")
            reporter.say(done.problems[-1])
            continue
        done.append(run)
        if show is not None:
            show(run, done.several)
    return done


def _reasons(paths: Sequence[str], collection: Collection) -> str:
    """Return the message for runs of which none can be analyzed."""
    reasons = [f"{entry.path}: {entry.reason}" for entry in (*collection.skipped, *collection.failed)]
    reasons += [
        f"{path}: not finished; resume it with `dmg train --resume --out {path}`" for path in collection.unfinished
    ]
    if not reasons:
        return (
            f"no run at or below {', '.join(paths)}: expected a folder that `dmg train` or `dmg benchmark` has written"
        )
    return "no run that can be analyzed:\n" + "\n".join(f"  {reason}" for reason in reasons)


def _require_dataset(runs: Sequence[RunRecord], changes: Mapping[str, Any]) -> None:
    """Open the dataset at its new location before anything heavy is imported; raises InputError."""
    from domain_masks.data import load_dataset  # noqa: PLC0415

    config = {**runs[0].config, **changes}
    load_dataset(str(config["dataset"]), config.get("root"))


def _analyzed_run(record: RunRecord, settings: AnalyzeSettings, reporter: Reporter) -> AnalyzedRun:
    from domain_masks.analysis import analyze as analyze_run  # noqa: PLC0415
    from domain_masks.report import draw_analysis  # noqa: PLC0415

    path = record.folder.path
    analyze_run(
        path,
        changes=settings.changes,
        images=None if settings.images == "all" else settings.images,
        heat_maps=settings.heat_maps,
        channels=settings.channels,
        projection=settings.projection,
        with_model=not settings.no_model,
        with_images=not settings.no_images,
        reporter=reporter,
    )
    return AnalyzedRun(record.folder, record.results, draw_analysis(path))
