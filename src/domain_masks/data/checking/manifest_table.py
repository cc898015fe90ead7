"""Checks of a manifest, read as the loader reads it, but without stopping at errors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.lists import number_findings
from domain_masks.data.checking.occurrences import Finding, Occurrence, findings
from domain_masks.data.manifest import read_table
from domain_masks.data.manifest_lines import OPTIONAL, REQUIRED, ManifestTable, Mistake
from domain_masks.data.similar_names import outer_form
from domain_masks.errors import nearest


def read_manifest(path: Path, directory: Path) -> tuple[tuple[CheckedImage, ...], list[Finding]]:
    """Return the lines of a manifest that name an image, a label and a domain, and the findings about the table.

    Its paths are relative to ``directory``. Missing files are reported when they are opened. Raises InputError if the file
    is not a table.
    """
    table = read_table(path)
    problems = _columns(table)
    if table.lacking:
        return (), problems
    table.check_cells()
    table.find_files(directory)
    problems += _mistakes(table.mistakes)
    rows = table.rows[(table.rows[list(REQUIRED)] != "").all(axis=1)]
    whole = rows.reindex(columns=[*REQUIRED, *OPTIONAL], fill_value="")
    images = tuple(
        CheckedImage(path, domain, label, split, group)
        for path, label, domain, split, group in whole.itertuples(index=False)
    )
    labels = rows["label"].unique()
    if all(label.isdecimal() for label in labels):
        problems += number_findings({int(label) for label in labels}, "the manifest")
    return images, problems


def _columns(table: ManifestTable) -> list[Finding]:
    if table.lacking:
        places = [
            Occurrence((name,), f"perhaps it is the column {guess!r}" if guess else "")
            for name, guess in table.lacking.items()
        ]
        columns = ", ".join(filter(None, table.columns)) or "none"
        return findings("manifest-column", places, lacking=", ".join(table.lacking), columns=columns)
    lacking = [option for option in OPTIONAL if option not in table.columns]
    used = [name for name in (*REQUIRED, *OPTIONAL) if name in table.columns]
    unused = (Occurrence((name,), _meant(name, used, lacking)) for name in table.unused)
    return findings("manifest-unused", unused)


def _meant(name: str, used: Sequence[str], lacking: Sequence[str]) -> str:
    """Return a guess at the meaning of an unused column; empty without one."""
    form = outer_form(name)
    if form in used:
        return f"differs from the column {form!r}, which is used, in case, blanks or quotes alone"
    guess = nearest(name, lacking)
    return f"perhaps it is {guess}" if guess else ""


def _mistakes(mistakes: Sequence[Mistake]) -> list[Finding]:
    return [
        problem
        for kind in ("blank", "split", "twice")
        for problem in findings(
            f"manifest-{kind}",
            (Occurrence((mistake.subject,), mistake.detail) for mistake in mistakes if mistake.kind == kind),
        )
    ]
