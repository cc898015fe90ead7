"""Notes below the tables of accuracies: how to read them, and why a number is missing."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from domain_masks.evaluation.variants import own_defaults_of
from domain_masks.records.collection import RunRecord
from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.results import IN_DOMAIN, OUT_OF_DOMAIN, WITH_KNOWN_DOMAIN
from domain_masks.report.runs.accuracies import complete_runs, ensembles_of, overall
from domain_masks.report.runs.groups import Group
from domain_masks.report.runs.lines import Line
from domain_masks.report.runs.naming import value_text
from domain_masks.report.tables.table import ORACLE_NOTE

ONE_SEED = (
    "One seed: there is no deviation over seeds, because a sample standard deviation needs at least two runs. Run more "
    "with `dmg train --seed 1`, or all with `dmg benchmark --seeds 0 1 2`."
)


def run_notes(records: Sequence[RunRecord], name: str) -> list[str]:
    """Return the notes of a line's runs, each once, with the number of runs that have it."""
    by_kind: dict[str, list[str]] = {}
    for record in records:
        for note in record.results.notes or ():
            by_kind.setdefault(note.about, []).append(note.text)
    of = f" of {counted(len(records), 'run')} " if len(records) > 1 else ""
    return [f"{name}: {f'in {len(texts)}{of}' if of else ''}{texts[0]}." for texts in by_kind.values()]


def reading(group: Group, frame: pd.DataFrame) -> list[str]:
    """Return notes on how to read the numbers of a group."""
    notes = [
        "Out of domain: on the held-out domains, which were not used for training. In domain: on images of the source domains "
        "that were not used for training. Known domain: as in domain, each image under the mask or head of its own domain.",
        "Accuracy in percent. Overall: the unweighted mean over held-out domains, taken per seed. In brackets: 95 % "
        "bootstrap interval over the test images (10,000 resamples within each domain, with half an image added that is right "
        "and half a one that is not; the predictions of all seeds for an image are resampled together). It covers the "
        "variation over images, not over seeds.",
    ]
    seeds = sorted({record.results.seed for line in group.lines for record in line.records})
    if len(seeds) > 1:
        notes.append(f"±: sample standard deviation over the seeds {', '.join(map(str, seeds))}.")
    notes += _missing_deviations(group, frame)
    notes += _seeds_of_overall(group)
    if (frame["accuracy"].notna() & frame["low"].isna()).any():
        notes.append("No interval is shown if a run's predictions.npz is missing or has other images.")
    if others := group.not_shown:
        verb, them = ("holds", "it is") if len(others) == 1 else ("hold", "they are")
        notes.append(
            f"{counted(len(others), 'run')} {verb} out more domains together than those of this table: {them} in none of its "
            "numbers, see Runs."
        )
    incomplete = [line.label for line in group.lines if not set(line.by_target) >= set(group.main_targets)]
    if incomplete:
        notes.append(f"No overall for {', '.join(incomplete)}: not every domain has been held out yet.")
    if group.published:
        notes.append("The paper's setting: fixed as in the paper (such as λ_O = 0.1), not chosen by the rule.")
    if any(line.oracle for line in group.lines):
        notes.append(ORACLE_NOTE)
    notes += _own_defaults(group)
    return [*notes, *(note for line in group.lines for note in run_notes(line.records, line.label))]


def _own_defaults(group: Group) -> list[str]:
    """Name the settings of runs that have their method's own default, and so differ from those of other methods."""
    lines = []
    for line in group.lines:
        own = {name: value for record in line.records for name, value in own_defaults_of(record).items()}
        if own:
            listed = ", ".join(f"{name} {value_text(value)}" for name, value in own.items())
            lines.append(f"{line.label} ({listed})")
    return [f"Run with defaults of the method instead of the usual ones: {'; '.join(lines)}."] if lines else []


def _missing_deviations(group: Group, frame: pd.DataFrame) -> list[str]:
    """Return why a line has no deviation over seeds, or no overall accuracy although every domain was held out."""
    if frame["deviation"].isna().all():
        return [ONE_SEED]
    rows = overall(frame)
    single = list(dict.fromkeys(rows[rows["deviation"].isna()]["line"]))
    notes = []
    if single:
        notes.append(
            f"No ± for {', '.join(single)}: only one seed has every held-out domain, and a deviation needs two."
        )
    scattered = [
        line.label
        for line in group.lines
        if set(line.by_target) >= set(group.main_targets) and line.label not in set(rows["line"])
    ]
    if scattered:
        notes.append(f"No overall for {', '.join(scattered)}: no single seed has every held-out domain.")
    return notes


def _seeds_of_overall(group: Group) -> list[str]:
    """Name the seeds of an overall accuracy where some seeds lack a held-out domain: it leaves them out, as differences do."""
    notes = []
    for line in group.lines:
        whole = {record.results.seed for record in complete_runs(group, line)}
        if whole and whole != {record.results.seed for record in line.records}:
            names = f"seed{'s' * (len(whole) > 1)} {', '.join(map(str, sorted(whole)))}"
            notes.append(
                f"Overall of {line.label}, its ± and its differences: {names} alone; the other seeds lack a held-out domain. "
                "The numbers of single held-out domains are of all their seeds."
            )
    return notes


def in_part(line: Line, ensemble: str) -> str:
    """Return a note if only some runs of a line have an ensemble, whose number is then missing."""
    if ensemble.startswith(KNOWN_DOMAIN):
        return ""
    have = sum(ensemble in ensembles_of([record], OUT_OF_DOMAIN) for record in line.records)
    if have in (0, len(line.records)):
        return ""
    return (
        f"{ensemble}: {have} of {len(line.records)} runs of {line.label} have it; a number is shown only if all have; "
        "`dmg evaluate RUN` adds it to the others."
    )


def split_notes(group: Group, frame: pd.DataFrame) -> list[str]:
    """Return a note if in-domain numbers are measured on validation images, and what was selected on these."""
    inside = frame[(frame["measure"] == IN_DOMAIN) & frame["accuracy"].notna()]
    splits = list(dict.fromkeys(inside["split"]))
    if splits == ["validation"]:
        more = " (the paper reports no in-domain accuracy on PACS)" if group.dataset == "pacs" else ""
        was_chosen = any(line.chosen for line in group.lines)
        chose = (
            "the epoch and the setting, so these numbers are optimistic, the more so with more settings"
            if was_chosen
            else "the epoch, so these numbers are slightly optimistic"
        )
        return [
            "In domain and known domain: measured on validation images; the dataset has no in-domain test "
            f"split{more}. The same images selected {chose}."
        ]
    return []


def measure_notes(group: Group, frame: pd.DataFrame, measure: str) -> list[str]:
    """Return notes on the images that one measure is evaluated on."""
    notes = {
        OUT_OF_DOMAIN: "Each column: trained without this domain, evaluated on it.",
        IN_DOMAIN: "Each column: trained without this domain, evaluated on the sources (unweighted mean).",
        WITH_KNOWN_DOMAIN: "As in domain, with each image's domain known. Methods without masks or heads have none.",
    }
    rest = split_notes(group, frame) if measure != OUT_OF_DOMAIN else []
    return [notes[measure], *rest]
