"""What stands below the tables of accuracies: how they are to be read, and why a number is missing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pandas as pd

from domain_masks.errors import DomainMasksError
from domain_masks.methods.method_registry import described
from domain_masks.records.collection import RunRecord
from domain_masks.records.config import parse_config
from domain_masks.records.counts import counted
from domain_masks.records.ensemble_names import KNOWN_DOMAIN
from domain_masks.records.results import IN_DOMAIN, OUT_OF_DOMAIN, WITH_KNOWN_DOMAIN
from domain_masks.report.runs.accuracies import ensembles_of, overall
from domain_masks.report.runs.groups import Group, Line
from domain_masks.report.runs.naming import value_text
from domain_masks.report.tables.table import ORACLE_NOTE
from domain_masks.settings.by_method import defaults_in_effect

ONE_SEED = (
    "One seed: there is no deviation or interval over seeds, because a sample standard deviation needs at least "
    "two runs. Run more with `dmg train --seed 1`, or all with `dmg benchmark --seeds 0 1 2`."
)


def run_notes(records: Sequence[RunRecord], name: str) -> list[str]:
    """Return what the runs of a line note about themselves, each note once, with how many of them say so."""
    found: dict[str, list[str]] = {}
    for record in records:
        for note in record.results.notes or ():
            found.setdefault(note.about, []).append(note.text)
    of = f" of {counted(len(records), 'run')} " if len(records) > 1 else ""
    return [f"{name}: {f'in {len(texts)}{of}' if of else ''}{texts[0]}." for texts in found.values()]


def reading(group: Group, frame: pd.DataFrame) -> list[str]:
    """Return how the numbers of a group are to be read."""
    notes = [
        "Out of domain: on the held-out domains, no image of which was trained on. In domain: on images of the source "
        "domains that were not trained on. Known domain: as in domain, each image under the mask or head of its own domain.",
        "Accuracy in percent. Overall: the unweighted mean over held-out domains, taken per seed. In brackets: 95 % "
        "bootstrap interval over the test images (10,000 resamples within each domain; all seeds' answers to an "
        "image are drawn together). It says what other images would change, not other seeds.",
    ]
    if len(group.seeds) > 1:
        notes.append(f"±: sample standard deviation over the seeds {', '.join(map(str, group.seeds))}.")
    notes += _missing_deviations(group, frame)
    if (frame["accuracy"].notna() & frame["low"].isna()).any():
        notes.append("No interval is shown where a run's predictions.npz is missing or its images are others.")
    incomplete = [line.label for line in group.lines if set(line.by_target) < set(group.main_targets)]
    if incomplete:
        notes.append(f"No overall for {', '.join(incomplete)}: not every domain has been held out yet.")
    if group.published:
        notes.append(
            "The paper's setting: what the paper fixed beforehand (such as λ_O = 0.1); nothing was chosen in that row."
        )
    if any(line.oracle for line in group.lines):
        notes.append(ORACLE_NOTE)
    notes += _own_defaults(group)
    return [*notes, *(note for line in group.lines for note in run_notes(line.records, line.label))]


def _own_defaults(group: Group) -> list[str]:
    """Say which settings of the runs are defaults of their method, and so differ from those of other methods."""
    lines = []
    for line in group.lines:
        own: dict[str, str] = {}
        for record in line.records:
            with suppress(DomainMasksError):  # of a method or version that is not known here
                config = parse_config(record.config)
                effective = defaults_in_effect(config, described(record.results.method))
                own |= {name: f"{name} {value_text(value)}" for name, value in effective.items()}
        if own:
            lines.append(f"{line.label} ({', '.join(own.values())})")
    return [f"Run with defaults of the method instead of the usual ones: {'; '.join(lines)}."] if lines else []


def _missing_deviations(group: Group, frame: pd.DataFrame) -> list[str]:
    """Say why a line has no deviation over seeds, or no overall accuracy although every domain was held out."""
    if frame["deviation"].isna().all():
        return [ONE_SEED]
    rows = overall(frame)
    single = list(dict.fromkeys(rows[rows["deviation"].isna()]["line"]))
    notes = []
    if single:
        notes.append(
            f"No ± for {', '.join(single)}: only one seed has every held-out domain there, and a deviation needs two."
        )
    scattered = [
        line.label
        for line in group.lines
        if set(line.by_target) >= set(group.main_targets) and line.label not in set(rows["line"])
    ]
    if scattered:
        notes.append(f"No overall for {', '.join(scattered)}: no single seed has every held-out domain.")
    return notes


def in_part(line: Line, ensemble: str) -> str:
    """Say where only some runs of a line have an ensemble, so that no number stands there."""
    if ensemble.startswith(KNOWN_DOMAIN):
        return ""
    have = sum(ensemble in ensembles_of([record], OUT_OF_DOMAIN) for record in line.records)
    if have in (0, len(line.records)):
        return ""
    return (
        f"{ensemble}: {have} of {len(line.records)} runs of {line.label} have it, and numbers stand where all have; "
        "`dmg evaluate RUN` adds it to the others."
    )


def split_notes(group: Group, frame: pd.DataFrame) -> list[str]:
    """Say where in-domain numbers are of validation images, and what these chose."""
    inside = frame[(frame["measure"] == IN_DOMAIN) & frame["accuracy"].notna()]
    splits = list(dict.fromkeys(inside["split"]))
    if splits == ["validation"]:
        more = " (the paper reports no in-domain accuracy on PACS)" if group.dataset == "pacs" else ""
        was_chosen = any(line.chosen for line in group.lines)
        chose = (
            "the epoch and the setting, so these numbers are a little too good, and more so where there was more to choose from"
            if was_chosen
            else "the epoch, so these numbers are a little too good"
        )
        return [
            "In domain and known domain: measured on validation images; the dataset has no in-domain test "
            f"split{more}. The same images chose {chose}."
        ]
    return []


def measure_notes(group: Group, frame: pd.DataFrame, measure: str) -> list[str]:
    """Say what the columns of one measure are measured on."""
    notes = {
        OUT_OF_DOMAIN: "Each column: trained without this domain, measured on it.",
        IN_DOMAIN: "Each column: trained without this domain, measured on the sources, their unweighted mean.",
        WITH_KNOWN_DOMAIN: "As in domain, with each image's domain known. Methods without masks or heads have none.",
    }
    rest = split_notes(group, frame) if measure != OUT_OF_DOMAIN else []
    return [notes[measure], *rest]
