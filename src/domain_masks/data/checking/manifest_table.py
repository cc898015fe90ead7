"""A manifest read with patience: a table with columns path, label, domain and perhaps split and group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from domain_masks.data.checking.findings import Example, Finding, counted
from domain_masks.data.checking.index import Picture
from domain_masks.data.checking.lists import number_findings
from domain_masks.data.dataset import SPLIT_NAMES
from domain_masks.errors import InputError, nearest

SUFFIXES = (".csv", ".tsv", ".parquet")
REQUIRED = ("path", "label", "domain")
OPTIONAL = ("split", "group")


def read_manifest(path: Path) -> tuple[tuple[Picture, ...], list[Finding]]:
    """Return the rows of a manifest that name a picture, a label and a domain, and what is wrong with the table.

    Raises InputError if the file is no table at all.
    """
    table = _read_table(path)
    lacking = [name for name in REQUIRED if name not in table.columns]
    found = _columns(list(table.columns), lacking)
    if lacking:
        return (), found
    for name in OPTIONAL:
        if name not in table.columns:
            table[name] = ""
    blank = (table[list(REQUIRED)] == "").any(axis=1)
    if blank.any():
        places = [f"line {number + 2}" for number in table.index[blank]]
        what = f"{counted(len(places), 'row')} without a path, label or domain"
        found.append(Finding("manifest-blank", "error", what, "Fill them in or remove the rows.", _examples(places)))
    rows = table[~blank]
    pictures = tuple(
        Picture(name, domain, label, split if split in SPLIT_NAMES else "", group)
        for name, label, domain, split, group in zip(
            *(rows[name].tolist() for name in (*REQUIRED, *OPTIONAL)), strict=True
        )
    )
    found += _splits(rows)
    labels = rows["label"].unique()
    if all(label.isdecimal() for label in labels):
        found += number_findings({int(label) for label in labels}, "the manifest")
    return pictures, found + manifest_findings(pictures)


def manifest_findings(pictures: Sequence[Picture]) -> list[Finding]:
    """Return rows that contradict each other: a picture named twice, and groups that are divided."""
    rows = defaultdict(list)
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for picture in pictures:
        rows[picture.path].append((picture.class_name, picture.domain, picture.split))
        if picture.group:
            groups[picture.group].add(picture.split)
    found = []
    twice = {path: given for path, given in rows.items() if len(given) > 1}
    if twice:
        examples = [
            Example(
                (path,),
                "the same" if len(set(given)) == 1 else "; ".join(", ".join(filter(None, row)) for row in given),
            )
            for path, given in twice.items()
        ]
        what = f"{counted(len(twice), 'picture')} in several rows"
        found.append(Finding("manifest-twice", "error", what, "Keep one row for every picture.", tuple(examples)))
    divided = [Example((name,), ", ".join(sorted(splits))) for name, splits in groups.items() if len(splits) > 1]
    if divided:
        what = f"{counted(len(divided), 'group')} divided between splits, which what is measured leaks through"
        found.append(
            Finding("group-divided", "error", what, "Give all pictures of a group the same split.", tuple(divided))
        )
    return found


def _read_table(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path).astype("string").fillna("").astype(object)
        separator = "\t" if path.suffix.lower() == ".tsv" else ","
        return pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig").fillna("")
    except ImportError as error:
        raise InputError(f"manifest {str(path)!r}: reading .parquet needs pyarrow: pip install pyarrow") from error
    except (OSError, ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(
            f"manifest {str(path)!r} cannot be read: {error}. Expected a table with the columns {', '.join(REQUIRED)} "
            f"and perhaps {', '.join(OPTIONAL)}"
        ) from error


def _columns(columns: list[str], lacking: list[str]) -> list[Finding]:
    found = []
    known = (*REQUIRED, *OPTIONAL)
    strange = [name for name in columns if name not in known]
    if lacking:
        guesses = {name: nearest(name, strange) for name in lacking}
        examples = tuple(
            Example((name,), f"perhaps it is the column {guess!r}" if guess else "") for name, guess in guesses.items()
        )
        what = f"no column {', '.join(lacking)} in the manifest, which has {', '.join(columns) or 'none'}"
        advice = f"Name the columns {', '.join(REQUIRED)} and, where there are such, {', '.join(OPTIONAL)}."
        found.append(Finding("manifest-column", "error", what, advice, examples))
    elif strange:
        guesses = {name: nearest(name, [option for option in OPTIONAL if option not in columns]) for name in strange}
        what = f"{counted(len(strange), 'column')} of the manifest {'is' if len(strange) == 1 else 'are'} not used"
        found.append(
            Finding(
                "manifest-unused",
                "note",
                what,
                "Nothing, unless one is a split or a group under another name.",
                tuple(Example((name,), f"perhaps it is {guess}" if guess else "") for name, guess in guesses.items()),
            )
        )
    return found


def _splits(rows: pd.DataFrame) -> list[Finding]:
    if (rows["split"] == "").all():
        return []
    counts = rows["split"].value_counts()
    odd = [
        Example((str(name) or "(blank)",), f"{count:,} rows")
        for name, count in counts.items()
        if name not in SPLIT_NAMES
    ]
    if not odd:
        return []
    what = f"{counted(len(odd), 'value')} of the column split that {'is' if len(odd) == 1 else 'are'} none"
    return [Finding("manifest-split", "error", what, f"Write {', '.join(SPLIT_NAMES)} in every row.", tuple(odd))]


def _examples(paths: Sequence[str]) -> tuple[Example, ...]:
    return tuple(Example((path,)) for path in paths)
