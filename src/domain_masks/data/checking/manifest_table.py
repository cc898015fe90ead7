"""What is wrong with a manifest, as the loader reads it, but without stopping at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from domain_masks.data.checking.findings import Example, Finding, counted
from domain_masks.data.checking.index import CheckedImage
from domain_masks.data.checking.lists import number_findings
from domain_masks.data.dataset import SPLIT_NAMES
from domain_masks.data.manifest import read_table
from domain_masks.data.manifest_lines import OPTIONAL, REQUIRED, ManifestTable, Mistake
from domain_masks.data.names import outer_form
from domain_masks.errors import nearest


def read_manifest(path: Path, directory: Path) -> tuple[tuple[CheckedImage, ...], list[Finding]]:
    """Return the lines of a manifest that name an image, a label and a domain, and what is wrong with the table.

    ``directory`` is what its paths are relative to. Files that are not there are left to whoever opens them. Raises
    InputError if the file is no table at all.
    """
    table = read_table(path)
    found = _columns(table)
    if table.lacking:
        return (), found
    table.check_cells()
    table.find_files(directory)
    found += _mistakes(table.mistakes)
    rows = table.rows[(table.rows[list(REQUIRED)] != "").all(axis=1)]
    for name in OPTIONAL:
        if name not in rows:
            rows = rows.assign(**{name: ""})
    images = tuple(
        CheckedImage(name, domain, label, split, group)
        for name, label, domain, split, group in zip(
            *(rows[name].tolist() for name in (*REQUIRED, *OPTIONAL)), strict=True
        )
    )
    labels = rows["label"].unique()
    if all(label.isdecimal() for label in labels):
        found += number_findings({int(label) for label in labels}, "the manifest")
    return images, found


def _columns(table: ManifestTable) -> list[Finding]:
    if table.lacking:
        examples = tuple(
            Example((name,), f"perhaps it is the column {guess!r}" if guess else "")
            for name, guess in table.lacking.items()
        )
        has = ", ".join(filter(None, table.columns)) or "none"
        what = f"no column {', '.join(table.lacking)} in the manifest, which has {has}"
        advice = f"Name the columns {', '.join(REQUIRED)} and, where there are such, {', '.join(OPTIONAL)}."
        return [Finding("manifest-column", "error", what, advice, examples)]
    strange = table.unused
    if not strange:
        return []
    lacking = [option for option in OPTIONAL if option not in table.columns]
    guesses = {name: _meant(name, table.columns, lacking) for name in strange}
    what = f"{counted(len(strange), 'column')} of the manifest {'is' if len(strange) == 1 else 'are'} not used"
    return [
        Finding(
            "manifest-unused",
            "note",
            what,
            "Nothing, unless one is a split or a group under another name.",
            tuple(Example((name,), guess) for name, guess in guesses.items()),
        )
    ]


def _meant(name: str, columns: Sequence[str], lacking: Sequence[str]) -> str:
    """Say what a column that is not used may be meant as."""
    form = outer_form(name)
    if form in columns:
        return f"differs from the column {form!r}, which is used, in case, blanks or quotes alone"
    guess = nearest(name, lacking)
    return f"perhaps it is {guess}" if guess else ""


def _mistakes(mistakes: list[Mistake]) -> list[Finding]:
    examples = {
        kind: tuple(Example((mistake.subject,), mistake.detail) for mistake in mistakes if mistake.kind == kind)
        for kind in ("blank", "split", "twice")
    }
    count = {kind: len(places) for kind, places in examples.items()}
    splits = ", ".join(SPLIT_NAMES)
    odd = f"{counted(count['split'], 'value')} of the column split that {'is' if count['split'] == 1 else 'are'} none"
    said = {
        "blank": (f"{counted(count['blank'], 'column')} with blank cells", "Fill them in or remove the rows."),
        "split": (odd, f"Write {splits} in every row."),
        "twice": (f"{counted(count['twice'], 'image')} in several rows", "Keep one row for every image."),
    }
    return [
        Finding(f"manifest-{kind}", "error", what, advice, examples[kind])
        for kind, (what, advice) in said.items()
        if examples[kind]
    ]
