"""The result of a finished run, also of one that is resumed."""

from __future__ import annotations

from dataclasses import dataclass

from domain_masks.data import ImageDataset, content_of
from domain_masks.errors import RunFolderError
from domain_masks.progress import Reporter
from domain_masks.records import Results, RunFolder
from domain_masks.records.config import RunConfig, parse_config, read_settings
from domain_masks.records.notebook_html import html_block, html_lines
from domain_masks.records.preparation import as_started
from domain_masks.training.checkpoint_state import refuse_other_settings
from domain_masks.training.contents import refuse_other_content
from domain_masks.training.defaults import resolve

_LENGTH = ("epochs", "patience", "max_time")


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run: its folder and the numbers it ended with. It is a path to its folder wherever one is expected."""

    folder: RunFolder
    results: Results

    def __repr__(self) -> str:
        accuracy = "" if self.out_of_domain is None else f": {100 * self.out_of_domain:.2f} % out of domain"
        return f"{type(self).__name__}({self.results.title}{accuracy}; {self.folder.path})"

    def _repr_html_(self) -> str:
        return html_block(
            self.results.title, *self.results.html_tables(), html_lines([f"run folder {self.folder.path}"])
        )

    def __fspath__(self) -> str:
        return str(self.folder.path)

    @property
    def out_of_domain(self) -> float | None:
        """Accuracy on the held-out domains, in [0, 1]; None where none was held out."""
        return None if self.results.out_of_domain is None else self.results.out_of_domain.accuracy


def refuse_changes(folder: RunFolder, config: RunConfig, dataset: ImageDataset) -> None:
    """Raise RunFolderError where a finished run is resumed with other settings, such as more epochs, patience or time.

    Its schedule is complete and its results have been measured: training further would be another run.
    """
    if not folder.config.is_file():
        return
    started = read_settings(folder.config)
    before = resolve(as_started(parse_config(started), started), dataset)
    refuse_other_settings(config, before.model_dump(mode="json"), folder)
    changed = [
        f"{name} (was {getattr(before, name)}, now {getattr(config, name)})"
        for name in _LENGTH
        if getattr(before, name) != getattr(config, name)
    ]
    if changed:
        raise RunFolderError(
            f"{folder.path} holds a finished run, which is not trained further: {', '.join(changed)}. Train its model further "
            f"in another folder with --init_from {folder.path} and without --resume, or restart with --overwrite"
        )


def computed_later(folder: RunFolder, config: RunConfig) -> list[str]:
    """Return the flags of ``config`` that a finished run did without, and that ``dmg evaluate`` applies to it.

    Raises RunFolderError where its files cannot be read.
    """
    if not folder.config.is_file():
        return []
    before, results = read_settings(folder.config), Results.read(folder.results)
    flags = []
    if config.calibrate and not results.temperatures and not before.get("calibrate"):
        flags.append("--calibrate")
    had_none = before.get("domain_classifier") is False and not results.domain_classifier
    # Only methods with a mask or head per source, which have a nearest one, get a domain classifier.
    if config.domain_classifier and had_none and results.nearest_source:
        flags.append("--domain_classifier")
    return flags


def finished(folder: RunFolder, dataset: ImageDataset, config: RunConfig, reporter: Reporter) -> Run:
    """Return the result of a finished run that is resumed; raises RunFolderError where settings or images differ."""
    refuse_changes(folder, config, dataset)
    refuse_other_content(folder, content_of(dataset))
    reporter.say(f"{folder.path} holds a finished run: nothing to do")
    if flags := " ".join(computed_later(folder, config)):
        reporter.say(
            f"note: {flags} changes nothing here: `dmg evaluate {folder.path} {flags}` applies it to a finished run"
        )
    return Run(folder, Results.read(folder.results))
