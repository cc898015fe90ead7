"""The table of a run's metrics, a row per epoch, counted from 1."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from domain_masks.errors import InputError, RunFolderError
from domain_masks.records.analysis import SiteEpoch
from domain_masks.records.files import read_bytes, write_whole
from domain_masks.records.results import NEURON_KINDS, SiteMasks, upgraded_masks
from domain_masks.records.validation import describe_mistakes

Value = float | int | str
EPOCH = "epoch"
LOSS = "loss"
VALIDATION_ACCURACY = "validation_accuracy"
_IOU, _ACTIVATED, _KINDS = "mask_iou/", "mask_activated/", "mask_kinds/"
"""Prefixes of the columns of masks: ``mask_iou/SITE``, ``mask_activated/SITE/DOMAIN`` and ``mask_kinds/SITE/KIND``."""
_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")


def overlap_column(site: str) -> str:
    """Return the column of a site's ``overall_iou``."""
    return _IOU + site


def kind_column(site: str, kind: str) -> str:
    """Return the column of the fraction of a site's neurons that are of one of :data:`NEURON_KINDS`."""
    return f"{_KINDS}{site}/{kind}"


def mask_columns(site: str, statistics: Mapping[str, Any]) -> dict[str, float]:
    """Return the columns of a site's masks; ``statistics`` as :func:`~domain_masks.masks.mask_statistics` gives them."""
    overlap = {overlap_column(site): statistics["overall_iou"]} if "overall_iou" in statistics else {}
    activated = {f"{_ACTIVATED}{site}/{domain}": share for domain, share in statistics["activated"].items()}
    return overlap | activated | {kind_column(site, kind): share for kind, share in statistics["kinds"].items()}


def masks_in(row: Mapping[str, Value]) -> dict[str, SiteMasks]:
    """Return site -> its mask statistics in a row, from the columns that :func:`mask_columns` names.

    Raises RunFolderError where a value is not a fraction in [0, 1].
    """
    last = f"/{NEURON_KINDS[-1]}"
    with_iou = {name.removeprefix(_IOU): None for name in row if name.startswith(_IOU)}
    with_kinds = {
        name[len(_KINDS) : -len(last)]: None for name in row if name.startswith(_KINDS) and name.endswith(last)
    }
    by_site = {}
    for site in with_iou | with_kinds:
        start = f"{_ACTIVATED}{site}/"
        kinds = {kind: row.get(kind_column(site, kind)) for kind in NEURON_KINDS}
        masks = {
            "overall_iou": row.get(overlap_column(site)),
            "pairwise_iou": {},
            "activated": {name.removeprefix(start): share for name, share in row.items() if name.startswith(start)},
            "kinds": None if None in kinds.values() else kinds,
        }
        try:
            by_site[site] = SiteMasks.model_validate(masks)
        except ValidationError as error:
            wrong = "; ".join(describe_mistakes(error, ()))
            raise RunFolderError(f"row {row[EPOCH]} of metrics.csv is malformed, masks of {site}: {wrong}") from error
    return by_site


def site_epochs(rows: Iterable[Mapping[str, Value]]) -> list[SiteEpoch]:
    """Return a record per epoch and site from the rows of ``metrics.csv``; epochs without kinds of neurons are left out.

    Raises RunFolderError where a value is not a fraction.
    """
    return [
        SiteEpoch(
            epoch=int(row[EPOCH]),
            site=site,
            activated=masks.activated,
            overall_iou=masks.overall_iou,
            **masks.kinds.by_kind(),
        )
        for row in rows
        for site, masks in masks_in(row).items()
        if masks.kinds is not None
    ]


class MetricsLog:
    """``metrics.csv``: a row per epoch, counted from 1, a column per metric, in the order of their first appearance.

    The file is small, so every change rewrites it whole: a run that is killed leaves no partial row, and a metric that first
    appears later gets its column. A metric without a value in an epoch is an empty cell. Older tables count epochs from 0 and
    are recognised by their epoch 0: their epochs are read as one more, and written so from then on.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def append(self, row: Mapping[str, Value]) -> None:
        """Add ``row``; its "epoch" is a whole number from 1. Raises InputError if it is not."""
        plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in row.items()}
        epoch = plain.get(EPOCH)
        if not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 1:
            raise InputError(f"expected a row with a whole number from 1 as epoch, got {epoch!r} in {plain}")
        self._write([*self.read(), plain])

    def truncate(self, epochs: int) -> bool:
        """Drop the rows after the first ``epochs`` epochs, which a run that is resumed from there writes again.

        Returns whether the table counted epochs from 0, which this call has changed.
        """
        rows, from_zero = self._rows()
        kept = [row for row in rows if int(row[EPOCH]) <= epochs]
        if from_zero or len(kept) < len(rows):
            self._write(kept)
        return from_zero

    def read(self) -> list[dict[str, Value]]:
        """Return all rows, without their empty cells; none if there is no file yet.

        Raises RunFolderError that names the file if it is malformed.
        """
        return self._rows()[0]

    def _rows(self) -> tuple[list[dict[str, Value]], bool]:
        """Return all rows, their epochs from 1, and whether the file counts them from 0."""
        if not self.path.exists():
            return [], False
        try:
            table = csv.reader(io.StringIO(read_bytes(self.path).decode(), newline=""), strict=True)
            header, *lines = list(table) or [[]]
        except (csv.Error, UnicodeDecodeError) as error:
            raise RunFolderError(
                f"{self.path} is malformed: expected a table in CSV, got an error ({error})"
            ) from error
        rows: list[dict[str, Value]] = []
        for number, cells in enumerate(lines, start=2):
            if len(cells) != len(header):
                raise RunFolderError(
                    f"{self.path} is malformed: expected {len(header)} cells in row {number}, got {len(cells)}"
                )
            row = {name: _value(cell) for name, cell in zip(header, cells, strict=True) if cell}
            if not isinstance(row.get(EPOCH), int):
                raise RunFolderError(
                    f"{self.path} is malformed: expected a whole number as epoch in row {number}, "
                    f"got {row.get('epoch')!r}"
                )
            rows.append(row)
        from_zero = any(row[EPOCH] == 0 for row in rows)
        return [_upgraded(row) if from_zero else row for row in rows], from_zero

    def _write(self, rows: list[dict[str, Value]]) -> None:
        header = list(dict.fromkeys(name for row in rows for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_whole(self.path, text.getvalue())


def _upgraded(row: Mapping[str, Value]) -> dict[str, Value]:
    """Return a row of an older version with its epoch counted from 1, and IoU 1 instead of 0 for two empty masks."""
    later = {**row, EPOCH: int(row[EPOCH]) + 1}
    for name in row:
        if name.startswith(_IOU):
            start = name.replace(_IOU, _ACTIVATED, 1) + "/"
            activated = {column.removeprefix(start): row[column] for column in row if column.startswith(start)}
            later[name] = upgraded_masks({"overall_iou": row[name], "activated": activated})["overall_iou"]
    return later


def _value(cell: str) -> Value:
    """Return the number in ``cell``, or its text."""
    if _WHOLE.fullmatch(cell):
        return int(cell)
    return float(cell) if _NUMBER.fullmatch(cell) else cell
